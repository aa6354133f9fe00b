package store

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
	"pgregory.net/rapid"
)

// What a slice is sent as is what pgx's own codec makes of it, byte for byte, behind
// whatever stands in the buffer; slices of another type than the column's go pgx's way.
func TestArraysAreThoseOfPgx(t *testing.T) {
	theirs, ours := pgtype.NewMap(), pgtype.NewMap()
	useArrays(ours)
	same := func(t *rapid.T, oid uint32, value any) {
		for _, format := range []int16{pgtype.BinaryFormatCode, pgtype.TextFormatCode} {
			want, wantErr := theirs.Encode(oid, format, value, []byte("before"))
			got, err := ours.Encode(oid, format, value, []byte("before"))
			if !bytes.Equal(got, want) || (got == nil) != (want == nil) || (err == nil) != (wantErr == nil) {
				t.Fatalf("type %d of %T, format %d: %x, %v; pgx has %x, %v", oid, value, format, got, err, want, wantErr)
			}
		}
	}
	oids := []uint32{pgtype.Int2ArrayOID, pgtype.Int4ArrayOID, pgtype.Int8ArrayOID, pgtype.TextArrayOID, pgtype.UUIDArrayOID}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 40).Draw(t, "elements")
		oid := rapid.SampledFrom(oids).Draw(t, "type")
		same(t, oid, rapid.SliceOfN(rapid.Int16(), n, n).Draw(t, "int16"))
		same(t, oid, rapid.SliceOfN(rapid.Int32(), n, n).Draw(t, "int32"))
		same(t, oid, rapid.SliceOfN(rapid.Int64(), n, n).Draw(t, "int64"))
		same(t, oid, rapid.SliceOfN(rapid.String(), n, n).Draw(t, "texts"))
		same(t, oid, rapid.SliceOfN(rapid.Custom(func(t *rapid.T) (id [16]byte) {
			copy(id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "uuid"))
			return id
		}), n, n).Draw(t, "uuids"))
		for _, value := range []any{[]int16(nil), []int32(nil), []int64(nil), []string(nil), [][16]byte(nil), nil} {
			same(t, oid, value)
		}
	})
}

// What is read of an array with NULLs is what pgx's own codec reads; nothing that is cut off
// is taken.
func TestNullIntsAreThoseOfPgx(t *testing.T) {
	theirs, ours := pgtype.NewMap(), pgtype.NewMap()
	useArrays(ours)
	same := func(t *rapid.T, src []byte) {
		want, got := []*int64{new(int64)}, []*int64{new(int64)}
		wantErr := theirs.Scan(pgtype.Int8ArrayOID, pgtype.BinaryFormatCode, src, &want)
		err := ours.Scan(pgtype.Int8ArrayOID, pgtype.BinaryFormatCode, src, &got)
		if (err == nil) != (wantErr == nil) || err == nil && !reflect.DeepEqual(got, want) {
			t.Fatalf("%x: %v, %v; pgx has %v, %v", src, got, err, want, wantErr)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(rapid.Ptr(rapid.Int64(), true), 0, 20).Draw(t, "list")
		src, err := theirs.Encode(pgtype.Int8ArrayOID, pgtype.BinaryFormatCode, list, []byte{})
		if err != nil {
			t.Fatal(err)
		}
		same(t, src)
		same(t, nil)
		same(t, src[:rapid.IntRange(0, len(src)-1).Draw(t, "cut")])
	})
	text := []*int64{}
	if err := ours.Scan(pgtype.Int8ArrayOID, pgtype.TextFormatCode, []byte("{1,NULL}"), &text); err != nil || len(text) != 2 || *text[0] != 1 || text[1] != nil {
		t.Errorf("of a text: %v, %v", text, err)
	}
}

// BenchmarkArrays encodes the columns of a batch of 250 rows, beside pgx's own codec.
func BenchmarkArrays(b *testing.B) {
	column, texts := make([]int64, 250), make([]string, 250)
	for i := range texts {
		column[i], texts[i] = int64(i)*1e9, "bench-model"
	}
	for _, way := range []string{"pgx", "ours"} {
		b.Run(way, func(b *testing.B) {
			m := pgtype.NewMap()
			if way == "ours" {
				useArrays(m)
			}
			b.ReportAllocs()
			for b.Loop() {
				buf := make([]byte, 0, 256)
				var err error
				for range 24 {
					if buf, err = m.Encode(pgtype.Int8ArrayOID, pgtype.BinaryFormatCode, column, buf); err != nil {
						b.Fatal(err)
					}
				}
				for range 6 {
					if buf, err = m.Encode(pgtype.TextArrayOID, pgtype.BinaryFormatCode, texts, buf); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
