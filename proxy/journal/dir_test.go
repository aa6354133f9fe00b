package journal

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tokenrelay/shared/usage"
)

// TestIdentitySurvives: a folder keeps its journal id and its proxy name; two
// folders have different ones.
func TestIdentitySurvives(t *testing.T) {
	a, err := Identity(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	b, err := Identity(dir)
	if err != nil {
		t.Fatal(err)
	}
	host, _ := os.Hostname()
	if a == b || len(b.JournalID) != 32 || b.Name != host+"-"+b.JournalID[:8] {
		t.Fatalf("%+v %+v", a, b)
	}
	if again, err := Identity(dir); err != nil || again != b {
		t.Fatalf("%+v %v", again, err)
	}
	j, _ := mustOpen(t, dir, small())
	if j.Ident() != b {
		t.Fatalf("%+v", j.Ident())
	}
	path := filepath.Join(dir, subdir, "identity")
	if err := os.WriteFile(path, []byte("token relay proxy\njournal zz\nname x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Identity(dir); !isDamage(err) || !strings.Contains(err.Error(), path) {
		t.Fatal(err)
	}
}

// TestTwoProcessesA15: a second user of a folder is refused, or waits for the first.
func TestTwoProcessesA15(t *testing.T) {
	dir := t.TempDir()
	j, _ := mustOpen(t, dir, small())
	if _, _, err := Open(dir, small()); !errors.Is(err, ErrInUse) {
		t.Fatalf("second open: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := Claim(ctx, dir); !errors.Is(err, ErrInUse) {
		t.Fatalf("claim with a deadline: %v", err)
	}
	got := make(chan *Dir)
	go func() {
		d, err := Claim(context.Background(), dir)
		if err != nil {
			t.Error(err)
		}
		got <- d
	}()
	appendN(t, j, 0, 3)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	o := small()
	o.Dir = <-got
	j, _ = mustOpen(t, dir, o)
	wantCharges(t, charges(t, j), numbers(0, 3))
}

// TestForeignSegmentRefused: a segment of another journal is not taken for ours.
func TestForeignSegmentRefused(t *testing.T) {
	o := small()
	a, _ := crashed(t, o, 5)
	b, _ := crashed(t, o, 5)
	src, err := os.ReadFile(segments(t, a)[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(segments(t, b)[0], src, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(b, o); !isDamage(err) || !strings.Contains(err.Error(), "another journal") {
		t.Fatal(err)
	}
}

// TestManyRestarts: restarts without a request between them leave no heap of files.
func TestManyRestarts(t *testing.T) {
	dir := t.TempDir()
	for n := range 20 {
		j, _ := mustOpen(t, dir, small())
		appendN(t, j, n, n+1)
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	j, rec := mustOpen(t, dir, small())
	if rec.Pending != 20 {
		t.Fatalf("%d pending", rec.Pending)
	}
	wantCharges(t, charges(t, j), numbers(0, 20))
	for _, path := range segments(t, dir)[:20] {
		if st, err := os.Stat(path); err != nil || st.Size() > 1024 {
			t.Fatalf("%s was not cut to what is in it: %d bytes, %v", path, st.Size(), err)
		}
	}
	for range 2 {
		r := j.NewReader()
		_, pos, err := r.Next(100)
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
		appendN(t, j, 20, 21)
		if err := j.Ack(pos); err != nil {
			t.Fatal(err)
		}
	}
	if got := segments(t, dir); len(got) != 1 {
		t.Fatalf("left: %v", got)
	}
}

// TestClosed: a closed journal refuses by name, and closing twice is harmless.
func TestClosed(t *testing.T) {
	j, _ := mustOpen(t, t.TempDir(), small())
	if !j.Healthy() {
		t.Fatal("not healthy")
	}
	j.SetFallback(func(*usage.Record) error { t.Error("given to a fallback that ends with the process"); return nil })
	f := j.Flights().Acquire()
	f.Begin(record(2))
	if err := errors.Join(j.Close(), j.Close()); err != nil {
		t.Fatal(err)
	}
	f.Progress(22, &usage.Units{}) // a request that outlives the shutdown
	if err := j.Append(record(1)); !errors.Is(err, ErrClosed) || j.Healthy() {
		t.Fatalf("%v", err)
	}
	dir := j.dir.Path
	_, rec := mustOpen(t, dir, small())
	if len(rec.Interrupted) != 1 || rec.Interrupted[0].Charge != 22 {
		t.Fatalf("%d recovered", len(rec.Interrupted))
	}
}

// TestParseMode: the setting's words.
func TestParseMode(t *testing.T) {
	for s, want := range map[string]Mode{"group": ModeGroup, "process": ModeProcess, "sync": ModeSync} {
		if got, err := ParseMode(s); got != want || err != nil {
			t.Errorf("%s: %v %v", s, got, err)
		}
	}
	if _, err := ParseMode("fast"); err == nil {
		t.Error("fast is a mode")
	}
}
