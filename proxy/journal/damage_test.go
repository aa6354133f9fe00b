package journal

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tokenrelay/shared/journalfile"
	"tokenrelay/shared/usage"
)

// crashed makes a folder as a killed proxy leaves it, with records [0, n) in it,
// and the offset of every record in its segment.
func crashed(t *testing.T, o Options, n int) (dir string, offsets []int64) {
	t.Helper()
	dir = t.TempDir()
	j, _ := mustOpen(t, dir, o)
	for i := range n {
		if err := j.Append(record(i)); err != nil {
			t.Fatal(err)
		}
		j.mu.Lock()
		offsets = append(offsets, j.off)
		j.mu.Unlock()
	}
	if o.Mode != ModeProcess {
		if err := j.sync(); err != nil {
			t.Fatal(err)
		}
	}
	crash(j)
	return dir, offsets
}

// TestTornTailA5: a tail cut or zeroed at any byte of the last three records
// loses exactly the records that are not whole, and says how many bytes.
func TestTornTailA5(t *testing.T) {
	o := small()
	o.Mode = ModeProcess
	const n = 8
	dir, ends := crashed(t, o, n)
	path := segments(t, dir)[0]
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := ends[n-4]; cut <= ends[n-1]; cut++ {
		for _, zero := range []bool{false, true} {
			b := append([]byte(nil), whole[:cut]...)
			if zero {
				b = append(b, make([]byte, len(whole)-len(b))...)
			}
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			again := copyDir(t, dir)
			j, rec, err := Open(again, o)
			if err != nil {
				t.Fatalf("cut at %d: %v", cut, err)
			}
			kept := 0
			for kept < n && ends[kept] <= cut {
				kept++
			}
			// Only the trailer is missing and its place is zero: the record is whole.
			if zero && kept < n && ends[kept] == cut+1 {
				kept++
			}
			wantCharges(t, charges(t, j), numbers(0, kept))
			var torn int64
			if end := ends[kept-1]; cut > end {
				torn = journalfile.LastByte(b, end) - end
			}
			if rec.TornBytes != torn {
				t.Fatalf("cut at %d (zero %v): %d bytes told as torn, want %d", cut, zero, rec.TornBytes, torn)
			}
			if err := j.Append(record(kept)); err != nil {
				t.Fatal(err)
			}
			wantCharges(t, charges(t, j), numbers(0, kept+1))
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			// What was repaired opens again without complaint.
			j, rec, err = Open(again, o)
			if err != nil || rec.TornBytes != 0 {
				t.Fatalf("cut at %d: second start: %v, %d bytes torn", cut, err, rec.TornBytes)
			}
			wantCharges(t, charges(t, j), numbers(0, kept+1))
			_ = j.Close()
		}
	}
}

// TestFlipEveryByteA6: every byte of a small journal is changed, one at a time.
// Either the file and a place are named, or nothing is lost.
func TestFlipEveryByteA6(t *testing.T) {
	for _, mode := range []Mode{ModeProcess, ModeGroup} {
		o := small()
		o.Mode = mode
		o.SegmentBytes = minSegment
		const n = 60
		dir, _ := crashed(t, o, n)
		paths := segments(t, dir)
		if len(paths) < 2 {
			t.Fatalf("want an older segment too, have %v", paths)
		}
		named, harmless := 0, 0
		for _, path := range []string{paths[0], paths[len(paths)-1]} {
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			used := journalfile.LastByte(whole, 0)
			for at := range used + 64 {
				if at >= int64(len(whole)) {
					break
				}
				for _, mask := range []byte{0x01, 0xff} {
					b := append([]byte(nil), whole...)
					b[at] ^= mask
					if err := os.WriteFile(path, b, 0o600); err != nil {
						t.Fatal(err)
					}
					err := reopen(t, dir, o, n)
					switch {
					case err == nil:
						harmless++
					case isDamage(err), isVersion(err):
						if !strings.Contains(err.Error(), filepath.Base(path)) && !strings.Contains(err.Error(), filepath.Base(paths[1])) {
							t.Errorf("byte %d: %v does not name a segment", at, err)
						}
						named++
					default:
						t.Errorf("mode %d, %s byte %d: %v", mode, filepath.Base(path), at, err)
					}
				}
			}
			if err := os.WriteFile(path, whole, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("mode %d: %d changes named, %d harmless", mode, named, harmless)
	}
}

func isVersion(err error) bool {
	var v *VersionError
	return errors.As(err, &v)
}

// errLost is what must never happen.
var errLost = errors.New("records lost in silence")

// reopen does what Open does with the segments, without writing: it must find all
// n records or an error.
func reopen(t *testing.T, dir string, o Options, n int) error {
	t.Helper()
	id, err := Identity(dir)
	if err != nil {
		return err
	}
	j := &Journal{dir: &Dir{Path: dir, Ident: id}, o: o}
	if err := j.parseID(); err != nil {
		return err
	}
	found, whole := 0, 0
	var prev journalfile.Scanned
	paths := segments(t, dir)
	for i, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		s, err := journalfile.Scan(b, path, i == len(paths)-1, func(p []byte) error {
			var r usage.Record
			found++
			return DecodeRecord(p, &r)
		})
		if err != nil {
			return err
		}
		num, _ := journalfile.SegNumber(path)
		if err := j.checkChain(&s, &prev, path, num, i > 0); err != nil {
			return err
		}
		if s.Torn != nil {
			whole = len(s.Torn.Whole)
		}
		prev = s
	}
	if found+whole != n {
		return errLost
	}
	return nil
}

// TestUnknownVersionRefused: a later segment or record format is refused by name.
func TestUnknownVersionRefused(t *testing.T) {
	o := small()
	dir, ends := crashed(t, o, 3)
	path := segments(t, dir)[0]
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(b []byte){
		"segment version 7 ": func(b []byte) {
			b[8] = 7
			putCRC(b[92:96], b[:92])
		},
		"record version 7 ": func(b []byte) {
			f := b[ends[1]:ends[2]]
			f[journalfile.FrameHead] = 7
			journalfile.FinishFrame(f[:len(f)-1:len(f)], journalfile.TypeUsage, 3, 0)
		},
		"record type version 9 ": func(b []byte) {
			f := b[ends[1]:ends[2]]
			journalfile.FinishFrame(f[:len(f)-1:len(f)], 9, 3, 0)
		},
	} {
		b := append([]byte(nil), whole...)
		change(b)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, err := Open(dir, o)
		if !isVersion(err) || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), path) {
			t.Errorf("want %q, got %v", name, err)
		}
	}
}

func putCRC(dst, of []byte) {
	c := journalfile.CRC(of)
	dst[0], dst[1], dst[2], dst[3] = byte(c), byte(c>>8), byte(c>>16), byte(c>>24)
}

// TestMissingSegmentRefused: a segment that is gone is named.
func TestMissingSegmentRefused(t *testing.T) {
	o := small()
	dir, _ := crashed(t, o, 300)
	paths := segments(t, dir)
	if len(paths) < 3 {
		t.Fatalf("only %v", paths)
	}
	for _, i := range []int{1, len(paths) / 2} {
		again := copyDir(t, dir)
		if err := os.Remove(filepath.Join(again, subdir, filepath.Base(paths[i]))); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Open(again, o); !isDamage(err) || !strings.Contains(err.Error(), filepath.Base(paths[i])) {
			t.Errorf("without %s: %v", paths[i], err)
		}
	}
}

// TestPowerLossHoleA4: after a power loss sectors of the unsynced tail may be
// missing while later ones are there: only what is missing is lost. The same hole
// in synced records is damage.
func TestPowerLossHoleA4(t *testing.T) {
	o := small()
	o.Mode = ModeGroup
	o.SyncEvery = 1 << 40 // the test syncs
	o.SyncBytes = 1 << 40
	dir := t.TempDir()
	j, _ := mustOpen(t, dir, o)
	var ends []int64
	for n := range 24 {
		if n == 8 {
			if err := j.sync(); err != nil {
				t.Fatal(err)
			}
		}
		appendN(t, j, n, n+1)
		ends = append(ends, j.off)
	}
	path := segments(t, dir)[0]
	crash(j)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := int64(0); at+journalfile.Sector <= ends[23]; at += journalfile.Sector {
		b := append([]byte(nil), whole...)
		clear(b[at : at+journalfile.Sector])
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		again := copyDir(t, dir)
		j, rec, err := Open(again, o)
		if at < ends[7] {
			if !isDamage(err) {
				t.Fatalf("sector at %d was synced and is gone: %v", at, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("sector at %d was not synced: %v", at, err)
		}
		var want []int
		for n := range 24 {
			begin := int64(journalfile.HeaderSize)
			if n > 0 {
				begin = ends[n-1]
			}
			if ends[n] <= at || begin >= at+journalfile.Sector {
				want = append(want, n)
			}
		}
		wantCharges(t, charges(t, j), want)
		if rec.TornBytes == 0 {
			t.Error("nothing told as torn")
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
