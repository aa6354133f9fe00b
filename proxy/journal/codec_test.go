package journal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"tokenrelay/shared/journalfile"
	"tokenrelay/shared/usage"
)

// fill sets every field of a struct to a value drawn for its type, so that a field
// that the codec forgets is noticed without this test naming it.
func fill(t *rapid.T, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(t, v.Index(i))
		}
	case reflect.String:
		v.SetString(rapid.StringN(0, 128, 128).Draw(t, "text"))
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		bits := v.Type().Bits()
		v.SetInt(rapid.Int64Range(-1<<(bits-1), 1<<(bits-1)-1).Draw(t, "int"))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(rapid.Uint64Range(0, 1<<v.Type().Bits()-1).Draw(t, "uint"))
	default:
		t.Fatalf("no generator for %s", v.Type())
	}
}

// TestCodecRoundTripD4: every field of every record comes back.
func TestCodecRoundTripD4(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var in, out usage.Record
		fill(t, reflect.ValueOf(&in).Elem())
		in.NumAttempts = uint8(rapid.IntRange(0, usage.MaxAttempts).Draw(t, "attempts"))
		clear(in.Attempts[in.NumAttempts:])
		b := AppendRecord(nil, &in)
		if len(b) > MaxRecord {
			t.Fatalf("%d bytes, MaxRecord is %d", len(b), MaxRecord)
		}
		if err := DecodeRecord(b, &out); err != nil {
			t.Fatal(err)
		}
		if in != out {
			t.Fatalf("got  %+v\nwant %+v", out, in)
		}
		for i := range b { // no prefix is a record
			if DecodeRecord(b[:i], &out) == nil {
				t.Fatalf("the first %d of %d bytes are read as a record", i, len(b))
			}
		}
	})
}

// TestCodecEachField: changing any one field changes the encoding and comes back.
func TestCodecEachField(t *testing.T) {
	base := *record(1)
	var walk func(v reflect.Value, name string)
	walk = func(v reflect.Value, name string) {
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				walk(v.Field(i), name+"."+v.Type().Field(i).Name)
			}
			return
		case reflect.Array:
			for i := range min(v.Len(), 1) { // one attempt is used
				walk(v.Index(i), name)
			}
			return
		}
		if name == ".NumAttempts" {
			return
		}
		old := reflect.ValueOf(v.Interface())
		switch {
		case v.CanInt():
			v.SetInt(v.Int() ^ 1)
		case v.CanUint():
			v.SetUint(v.Uint() ^ 1)
		default:
			v.SetString(v.String() + "x")
		}
		var out usage.Record
		if err := DecodeRecord(AppendRecord(nil, &base), &out); err != nil || out != base {
			t.Errorf("%s does not come back: %v", name, err)
		}
		v.Set(old)
	}
	walk(reflect.ValueOf(&base).Elem(), "")
}

// TestCodecLayouts: a record without a conversation is what an earlier build reads and
// writes, byte for byte; one with a conversation says by its version that it is more. A
// conversation that does not fit is left out: a part of it would be another one.
func TestCodecLayouts(t *testing.T) {
	// record(5) as builds before the second layout have written it.
	const old = "01018bcfe56805000000000000000000000101010106900314283c110ade9c2880897a0a04000a0080897a80897a80897a808080808040000090cef2" +
		"8183898506a413c0843d8008802001020490030114c6010a0004076770742d352d6d696e696661737430303030303035"
	var rec, out usage.Record
	if was, err := hex.DecodeString(old); err != nil || DecodeRecord(was, &out) != nil || out != *record(5) || !bytes.Equal(AppendRecord(nil, record(5)), was) {
		t.Errorf("%+v: %v", out, err)
	}
	rec = *record(0)
	plain := AppendRecord(nil, &rec)
	rec.ConversationID = "trip"
	more := AppendRecord(nil, &rec)
	if plain[0] != 1 || more[0] != 2 || len(more) != len(plain)+1+len("trip") {
		t.Errorf("versions %d and %d, %d and %d bytes", plain[0], more[0], len(plain), len(more))
	}
	if err := DecodeRecord(more, &out); err != nil || out != rec {
		t.Errorf("%+v: %v", out, err)
	}
	more[0] = 1
	if err := DecodeRecord(more, &out); err == nil {
		t.Error("a record of the second layout is read as one of the first")
	}
	rec.ConversationID, rec.ClientRequestID = strings.Repeat("c", 128), strings.Repeat("r", 128)
	for limit := journalfile.HeadMax; limit < 600; limit++ {
		b := journalfile.AppendLimited(nil, &rec, limit, false)
		if err := DecodeRecord(b, &out); err != nil || len(b) > limit || out.ConversationID != "" && out.ConversationID != rec.ConversationID {
			t.Fatalf("within %d bytes: %d bytes, conversation %q, %v", limit, len(b), out.ConversationID, err)
		}
	}
	if out.ConversationID == "" {
		t.Error("there was room for it")
	}
}

// TestCodecUnknownVersion: a later layout is refused by name.
func TestCodecUnknownVersion(t *testing.T) {
	b := AppendRecord(nil, record(1))
	b[0] = 9
	var out usage.Record
	err := DecodeRecord(b, &out)
	var v journalfile.RecordVersionError
	if !errors.As(err, &v) || v != 9 || !strings.Contains(err.Error(), "version 9") {
		t.Fatalf("got %v", err)
	}
}

// TestCodecClipsText: no text can make a record too large, and characters stay whole.
func TestCodecClipsText(t *testing.T) {
	rec := record(1)
	rec.Model = strings.Repeat("é", 3000)
	rec.ClientRequestID = strings.Repeat("x", 1<<20)
	var out usage.Record
	if err := DecodeRecord(AppendRecord(nil, rec), &out); err != nil {
		t.Fatal(err)
	}
	if out.Model != strings.Repeat("é", journalfile.MaxText/2) || len(out.ClientRequestID) != journalfile.MaxText {
		t.Fatalf("%d and %d bytes kept", len(out.Model), len(out.ClientRequestID))
	}
}

// FuzzDecodeRecord: no bytes make the decoder panic, and what it reads it writes
// back to the same record.
func FuzzDecodeRecord(f *testing.F) {
	f.Add(AppendRecord(nil, record(0)))
	f.Add(AppendRecord(nil, record(1)))
	f.Add(AppendRecord(nil, &usage.Record{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var a, c usage.Record
		in := bytes.Clone(b)
		if DecodeRecord(b, &a) != nil {
			return
		}
		if !bytes.Equal(in, b) {
			t.Fatal("input changed")
		}
		if err := DecodeRecord(AppendRecord(nil, &a), &c); err != nil || a != c {
			t.Fatalf("%v: %+v %+v", err, a, c)
		}
	})
}

// FuzzScan: no bytes make the reader of segments panic.
func FuzzScan(f *testing.F) {
	h := journalfile.Header{Number: 1, FirstSeq: 1, Size: 4096}
	seg := h.Append(nil)
	for n := range 3 {
		seg = append(seg, journalfile.FinishFrame(AppendRecord(make([]byte, journalfile.FrameHead), record(n)), journalfile.TypeUsage, uint64(n+1), 0)...)
	}
	f.Add(seg, true)
	f.Add(append(seg, make([]byte, 2000)...), false)
	f.Fuzz(func(t *testing.T, b []byte, last bool) {
		s, err := journalfile.Scan(b, "x", last, func([]byte) error { return nil })
		if err == nil && (s.End > int64(len(b)) || s.Torn != nil && !last) {
			t.Fatalf("%+v", s)
		}
	})
}
