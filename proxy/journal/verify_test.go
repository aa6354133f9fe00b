package journal

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tokenrelay/shared/journalfile"
	"tokenrelay/shared/money"
	"tokenrelay/shared/usage"
)

// TestVerifyFlipEveryByteG27: every byte of a small journal is changed, one at a time,
// and the journal is read as admin journal verify does. Either a segment is named, or
// nothing is lost; what is read in spite of damage is what was written, and at most
// the record that was hit is missing.
func TestVerifyFlipEveryByteG27(t *testing.T) {
	o := small()
	o.SegmentBytes = minSegment
	const n = 60
	dir, _ := crashed(t, o, n)
	paths := segments(t, dir)
	if len(paths) < 2 {
		t.Fatalf("want an older segment too, have %v", paths)
	}
	var sum money.Amount
	for i := range n {
		sum += record(i).Charge
	}
	named, harmless := 0, 0
	for _, path := range []string{paths[0], paths[len(paths)-1]} {
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		used := journalfile.LastByte(whole, 0)
		for at := range min(used+64, int64(len(whole))) {
			b := append([]byte(nil), whole...)
			b[at] ^= []byte{0x01, 0xff, 0x80}[at%3]
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			var odd error
			r, err := journalfile.Read(dir, func(e *journalfile.Entry) error {
				if want := record(int(e.Record.Charge)); e.Record.BytesOut != want.BytesOut || e.Record.Model != want.Model || e.Record.Hold != want.Hold {
					odd = errors.New("a record that was never written")
				}
				return nil
			})
			switch {
			case err != nil || odd != nil:
				t.Fatalf("%s byte %d: %v %v", filepath.Base(path), at, err, odd)
			case r.Whole() && (r.Records != n || r.Charge != sum):
				t.Fatalf("%s byte %d: %d records of %s USD and no damage named", filepath.Base(path), at, r.Records, r.Charge)
			case r.Whole():
				harmless++
			default:
				if !strings.Contains(r.Problems[0].Error(), ".seg") {
					t.Fatalf("%s byte %d: %v names no segment", filepath.Base(path), at, r.Problems)
				}
				if r.Records < n-1 {
					t.Fatalf("%s byte %d: only %d of %d records saved: %v", filepath.Base(path), at, r.Records, n, r.Problems)
				}
				named++
			}
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d changes named, %d harmless", named, harmless)
	if named < 1000 {
		t.Errorf("only %d changes were named", named)
	}
}

// TestReadRunningJournal: a journal is read while its proxy runs; what is acknowledged
// is told from what is not, and running requests are left alone.
func TestReadRunningJournal(t *testing.T) {
	o := small()
	dir := t.TempDir()
	j, _ := mustOpen(t, dir, o)
	appendN(t, j, 0, 300)
	r := j.NewReader()
	defer r.Close()
	recs, pos, err := r.Next(200)
	if err != nil || len(recs) != 200 {
		t.Fatalf("%d records, %v", len(recs), err)
	}
	if err := j.Ack(pos); err != nil {
		t.Fatal(err)
	}
	f := j.Flights().Acquire()
	f.Begin(record(300))
	f.Progress(7, &usage.Units{})
	acked := int64(0)
	rep, err := journalfile.Read(dir, func(e *journalfile.Entry) error {
		if e.Acked {
			acked++
		}
		return nil
	})
	if err != nil || !rep.Whole() || !rep.Running || rep.Flights != 0 || rep.Pending != 100 || rep.Records != acked+100 || rep.Missing != 0 {
		t.Fatalf("%+v, %v", rep, err)
	}
	crash(j)
	rep, err = journalfile.Read(filepath.Join(dir, subdir), nil)
	if err != nil || rep.Running || rep.Flights != 1 || rep.Name == "" {
		t.Fatalf("after the crash: %+v, %v", rep, err)
	}
	if _, err := journalfile.Read(t.TempDir(), nil); !errors.Is(err, journalfile.ErrNone) {
		t.Errorf("an empty folder: %v", err)
	}
}

// TestReadNamesMissingSegment: a segment that is gone is named, its records counted
// as missing, and all others read.
func TestReadNamesMissingSegment(t *testing.T) {
	o := small()
	dir, _ := crashed(t, o, 300)
	paths := segments(t, dir)
	if err := os.Remove(paths[1]); err != nil {
		t.Fatal(err)
	}
	r, err := journalfile.Read(dir, nil)
	if err != nil || len(r.Problems) != 1 || !strings.Contains(r.Problems[0].Error(), filepath.Base(paths[1])) {
		t.Fatalf("%+v, %v", r, err)
	}
	if r.Missing == 0 || r.Records+r.Missing != 300 {
		t.Errorf("%d records, %d missing", r.Records, r.Missing)
	}
}

// TestBlankSegmentOpensTwice: a power loss may take even the header of a new segment.
// The start that seals it leaves what the next start, and a reader, find whole.
func TestBlankSegmentOpensTwice(t *testing.T) {
	o := small()
	dir, _ := crashed(t, o, 300)
	paths := segments(t, dir)
	last := paths[len(paths)-1]
	st, err := os.Stat(last)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(last, make([]byte, st.Size()), 0o600); err != nil {
		t.Fatal(err)
	}
	kept := int64(0)
	for range 3 {
		j, _, err := Open(dir, o)
		if err != nil {
			t.Fatal(err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := journalfile.Read(dir, nil)
		if err != nil || !r.Whole() || r.Records == 0 || kept != 0 && r.Records != kept {
			t.Fatalf("%+v, %v", r, err)
		}
		kept = r.Records
	}
}
