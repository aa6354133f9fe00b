package journal

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"tokenrelay/shared/usage"
)

// TestWindowWrites: what is stored through the window is in the file, across its moves.
func TestWindowWrites(t *testing.T) {
	const size = 3*windowBytes + 100
	path := filepath.Join(t.TempDir(), "file")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	var w window
	defer w.close()
	want := make([]byte, size)
	for off := int64(7); off < size; {
		b := bytes.Repeat([]byte{byte(off%250) + 1}, int(1+off*31%9000))
		b = b[:min(int64(len(b)), size-off)]
		if err := w.store(int(f.Fd()), size, b, off); err != nil {
			t.Fatal(err)
		}
		copy(want[off:], b)
		off += int64(len(b))
	}
	if err := w.store(int(f.Fd()), size, []byte{1}, size); err == nil {
		t.Error("a byte behind the end was taken")
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the file differs: %v", err)
	}
}

// TestPageThatTheDiskDoesNotGive is A10 for mapped pages: the journal dies, the process
// does not, and the record goes to the fallback.
func TestPageThatTheDiskDoesNotGive(t *testing.T) {
	dir := t.TempDir()
	j, _, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	var diverted []usage.Record
	j.SetFallback(func(r *usage.Record) error { diverted = append(diverted, *r); return nil })
	if err := j.Append(record(1)); err != nil || len(diverted) != 0 {
		t.Fatal(err, len(diverted))
	}
	if err := os.Truncate(filepath.Join(dir, subdir, "0000000000000001.seg"), 0); err != nil {
		t.Fatal(err)
	}
	if err := j.Append(record(2)); err != nil {
		t.Fatal(err)
	}
	if !j.Dead() || j.Healthy() || len(diverted) != 1 || diverted[0].ID != record(2).ID {
		t.Errorf("dead %v, healthy %v, diverted %d", j.Dead(), j.Healthy(), len(diverted))
	}
	if err := j.Close(); err != nil && !errors.Is(err, ErrDead) {
		t.Error(err)
	}
}
