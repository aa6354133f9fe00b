package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"tokenrelay/shared/money"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/usage"
)

// small are options with which a test meets every path quickly.
func small() Options {
	return Options{
		SegmentBytes: 16 << 10, Cells: 64, MinFree: 1, Watch: 10 * time.Millisecond,
		Log: slog.New(slog.DiscardHandler),
	}
}

func mustOpen(t testing.TB, dir string, o Options) (*Journal, *Recovery) {
	t.Helper()
	j, rec, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j, rec
}

// crash ends a journal as a kill would: nothing is written, the lock and the
// mapping go with the process.
func crash(j *Journal) {
	j.mu.Lock()
	j.closed = true
	j.mu.Unlock()
	close(j.stop)
	if j.asker != nil {
		j.alarm.set(0)
	}
	j.done.Wait()
	j.unask()
	j.mu.Lock()
	spare := j.spare
	j.mu.Unlock()
	if spare != nil {
		_ = spare.Close()
	}
	for _, s := range j.pending {
		_ = s.f.Close()
	}
	_ = j.cur.f.Close()
	_ = j.ack.f.Close()
	_ = j.flights.close()
	_ = j.dir.Close()
}

// record makes the nth record, with a size that differs from one to the next. Every third
// is of a conversation, which makes it one of the second layout.
func record(n int) *usage.Record {
	r := rand.New(rand.NewPCG(uint64(n), 7))
	rec := &usage.Record{
		ID: reqid.Min(1_700_000_000_000 + int64(n)), ProxySlot: 3,
		ClientID: 10, WalletID: 20, KeyID: 30,
		Endpoint: 1, Model: "gpt-5-mini", RequestedModel: "fast", ClientRequestID: fmt.Sprintf("%0*d", r.IntN(40), n),
		Status: usage.Success, HTTPStatus: 200, Flags: usage.FlagStream, Source: usage.SourceReported,
		Hold: 1_000_000, Charge: money.Amount(n), Cost: money.Amount(n / 2),
		PriceID: 5, ModelPPM: 1_000_000, GroupPPM: 1_000_000, ClientPPM: 1_000_000, WalletLease: 1 << 40,
		AdmittedMicros: 1_700_000_000_000_000 + int64(n)*1000, FirstTokenMicros: 1234, EndMicros: 1_700_000_000_500_000 + int64(n)*1000,
		BytesIn: 512, BytesOut: 2048, NumAttempts: 1,
	}
	rec.Units[usage.Input] = int64(n)
	rec.Units[usage.Output] = r.Int64N(1 << 20)
	if n%3 == 1 {
		rec.ConversationID = fmt.Sprintf("trip-%d", n)
	}
	rec.Attempts[0] = usage.Attempt{RouteID: 1, ProviderKeyID: 2, HTTPStatus: 200, Outcome: usage.OutcomeOK, StartMicros: 10, EndMicros: 99}
	return rec
}

func appendN(t testing.TB, j *Journal, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		if err := j.Append(record(n)); err != nil {
			t.Fatal(err)
		}
	}
}

// charges reads the whole journal, from the acknowledged position on, and returns
// the charge of every record: records are made with their number as charge.
func charges(t testing.TB, j *Journal) []int {
	t.Helper()
	r := j.NewReader()
	defer r.Close()
	var all []int
	for {
		recs, _, err := r.Next(7)
		if err != nil {
			t.Fatal(err)
		}
		if len(recs) == 0 {
			return all
		}
		for i := range recs {
			all = append(all, int(recs[i].Charge))
		}
	}
}

func numbers(from, to int) []int {
	var all []int
	for n := from; n < to; n++ {
		all = append(all, n)
	}
	return all
}

func wantCharges(t testing.TB, got, want []int) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("records %v, want %v", got, want)
	}
}

// segments returns the paths of all segment files, oldest first.
func segments(t testing.TB, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, subdir, "*.seg"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(paths)
	return paths
}

// copyDir copies a data folder, so that a damaged copy can be opened.
func copyDir(t testing.TB, from string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

func isDamage(err error) bool {
	var d *DamageError
	return errors.As(err, &d) && d.File != ""
}
