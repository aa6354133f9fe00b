package journal

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tokenrelay/shared/money"
	"tokenrelay/shared/usage"
)

// child is the proxy process that a test kills. It answers on stdout, one line for
// each thing that has happened.
func child(role string) int {
	o := small()
	o.Mode, _ = ParseMode(os.Getenv("JOURNAL_TEST_MODE"))
	j, _, err := Open(os.Getenv("JOURNAL_TEST_DIR"), o)
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	from, _ := strconv.Atoi(os.Getenv("JOURNAL_TEST_FROM"))
	if role == "append" {
		// Two writers: one of them may be inside write(2) when the kill comes.
		for w := range 2 {
			go func() {
				for n := from + w; ; n += 2 {
					if err := j.Append(record(n)); err != nil {
						fmt.Println("error", err)
						os.Exit(1)
					}
					// One write(2) each: what a killed process had told is complete.
					_, _ = os.Stdout.WriteString(strconv.Itoa(n) + "\n")
				}
			}()
		}
		select {}
	}
	runToPoint(j, role)
	return 1
}

// dieHere is the kill: nothing runs after it, no deferred function, no flush.
func dieHere() { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL); select {} }

// runToPoint runs one request and dies at a crash point of it.
func runToPoint(j *Journal, point string) {
	rec := record(500)
	rec.NumAttempts = 0
	rec.Units = usage.Units{}
	at := func(name string) {
		if point == name {
			dieHere()
		}
	}
	at("K1") // the hold is taken, nothing is written
	f := j.Flights().Acquire()
	at("K1b") // a cell is taken, still empty
	f.Begin(rec)
	at("K2")
	f.Sent(7, 8, 1500)
	at("K3")
	var u usage.Units
	u[usage.Input] = 100
	for n := int64(1); n <= 5; n++ {
		u[usage.Output] = n
		f.Progress(rec.Hold/10*5+1000, &u)
		if n == 1 {
			f.FirstToken(2500)
		}
	}
	at("K4")
	if point == "K4torn" { // between two stores of the next progress
		p := &f.c.progress[f.flip^1]
		p.charge = 999_999
		p.units[usage.Output] = 77
		dieHere()
	}
	u[usage.Output] = 9
	f.Details(12, 5, 3456)
	f.Progress(777, &u) // the provider's own usage
	at("K5")
	final := *record(500)
	final.Charge = 777
	if point == "K6torn" { // amid the writing of the record
		j.o.mapped = false
		j.o.Faults.Pwrite = func(fd int, b []byte, off int64) error {
			_ = pwriteAll(fd, b[:len(b)/2], off)
			dieHere()
			return nil
		}
	}
	if err := j.Append(&final); err != nil {
		fmt.Println("error", err)
	}
	at("K6")
	f.Release()
	at("K7")
	_ = j.sync()
	at("K8")
}

func startChild(t *testing.T, dir, role, mode string, from int) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "JOURNAL_TEST_CHILD="+role, "JOURNAL_TEST_DIR="+dir,
		"JOURNAL_TEST_MODE="+mode, "JOURNAL_TEST_FROM="+strconv.Itoa(from))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewReader(out)
}

// TestKillA1A3: a process that writes records is killed 100 times. Every Append
// that returned is in the journal, once, and the journal always opens.
func TestKillA1A3(t *testing.T) {
	dir := t.TempDir()
	acked := map[int]bool{}
	modes := []string{"process", "group", "sync"}
	torn := 0
	for round := range 100 {
		from := round * 1_000_000
		cmd, out := startChild(t, dir, "append", modes[round%3], from)
		// Kill it after a number of records that differs from round to round.
		for range 1 + round*7%300 {
			if !readAck(t, out, acked) {
				break
			}
		}
		_ = cmd.Process.Kill()
		for readAck(t, out, acked) {
		}
		_ = cmd.Wait()

		if round%10 != 9 {
			continue
		}
		j, rec := mustOpen(t, dir, small())
		seen := map[int]bool{}
		for _, n := range charges(t, j) {
			if seen[n] {
				t.Fatalf("record %d is there twice", n)
			}
			seen[n] = true
		}
		for n := range acked {
			if !seen[n] {
				t.Fatalf("round %d: record %d was journaled and is gone", round, n)
			}
		}
		if len(seen) < len(acked) || len(seen) > len(acked)+2*(round+1) {
			t.Fatalf("%d records, %d were told", len(seen), len(acked))
		}
		if rec.TornBytes > 0 {
			torn++
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("100 kills, %d records told as journaled, 0 lost, 0 double, %d torn tails seen", len(acked), torn)
	if len(acked) < 5000 {
		t.Fatalf("only %d records: the children did not write", len(acked))
	}
}

func readAck(t *testing.T, out *bufio.Reader, acked map[int]bool) bool {
	line, err := out.ReadString('\n')
	if err != nil {
		return false
	}
	n, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatalf("child: %s", line)
	}
	acked[n] = true
	return true
}

// supplied is what Details notes.
type supplied struct {
	cost           money.Amount
	price, written int64
}

// TestCrashPointsA2A3: a request's process dies at every crash point of it; the
// next start charges exactly what was owed there, once, and a third start nothing.
func TestCrashPointsA2A3(t *testing.T) {
	interrupted := func(charge, output int64, details supplied) func(*testing.T, *Recovery, []usage.Record) {
		return func(t *testing.T, rec *Recovery, all []usage.Record) {
			if len(all) != 1 || len(rec.Interrupted) != 1 {
				t.Fatalf("%d records, %+v", len(all), rec)
			}
			want := *record(500)
			got := all[0]
			if got.ID != want.ID || got.Status != usage.Interrupted || int64(got.Charge) != charge ||
				got.Units[usage.Output] != output || got.Units[usage.Input] != 100 || got.Source != usage.SourceEstimated ||
				(supplied{got.Cost, got.CostPriceID, got.BytesOut}) != details {
				t.Fatalf("got %+v", got)
			}
			if got.ProxySlot != want.ProxySlot || got.ClientID != want.ClientID || got.WalletID != want.WalletID ||
				got.KeyID != want.KeyID || got.Endpoint != want.Endpoint || got.Model != want.Model ||
				got.RequestedModel != want.RequestedModel || got.ClientRequestID != want.ClientRequestID ||
				got.Hold != want.Hold || got.PriceID != want.PriceID || got.ModelPPM != want.ModelPPM ||
				got.GroupPPM != want.GroupPPM || got.ClientPPM != want.ClientPPM || got.WalletLease != want.WalletLease ||
				got.AdmittedMicros != want.AdmittedMicros || got.BytesIn != want.BytesIn || got.Flags != want.Flags {
				t.Fatalf("got %+v", got)
			}
			if got.FirstTokenMicros != 2500 || got.EndMicros < got.AdmittedMicros || got.NumAttempts != 1 ||
				got.Attempts[0].RouteID != 7 || got.Attempts[0].ProviderKeyID != 8 || got.Attempts[0].StartMicros != 1500 {
				t.Fatalf("got %+v", got)
			}
			if time.Since(time.UnixMicro(got.EndMicros)).Abs() > time.Minute {
				t.Fatalf("ended at %v", time.UnixMicro(got.EndMicros))
			}
		}
	}
	exact := func(t *testing.T, rec *Recovery, all []usage.Record) {
		if len(all) != 1 || len(rec.Interrupted) != 0 || all[0].Charge != 777 || all[0].Status != usage.Success {
			t.Fatalf("%+v %+v", rec, all)
		}
	}
	for point, check := range map[string]func(*testing.T, *Recovery, []usage.Record){
		"K1": func(t *testing.T, rec *Recovery, all []usage.Record) {
			if len(all)+rec.Voided+rec.SentUnknown+rec.Seen != 0 {
				t.Fatalf("%+v", rec)
			}
		},
		"K1b": func(t *testing.T, rec *Recovery, all []usage.Record) {
			if len(all)+rec.Voided+rec.SentUnknown+rec.Seen != 0 {
				t.Fatalf("%+v", rec)
			}
		},
		"K2": func(t *testing.T, rec *Recovery, all []usage.Record) {
			if len(all) != 0 || rec.Voided != 1 {
				t.Fatalf("%+v", rec)
			}
		},
		"K3": func(t *testing.T, rec *Recovery, all []usage.Record) {
			if len(all) != 0 || rec.SentUnknown != 1 || rec.Voided != 0 {
				t.Fatalf("%+v", rec)
			}
		},
		"K4":     interrupted(501_000, 5, supplied{}),
		"K4torn": interrupted(501_000, 5, supplied{}),
		"K5":     interrupted(777, 9, supplied{12, 5, 3456}),
		"K6torn": interrupted(777, 9, supplied{12, 5, 3456}),
		"K6": func(t *testing.T, rec *Recovery, all []usage.Record) {
			exact(t, rec, all)
			if rec.Seen != 1 {
				t.Fatalf("%+v", rec)
			}
		},
		"K7": exact,
		"K8": exact,
	} {
		t.Run(point, func(t *testing.T) {
			dir := t.TempDir()
			cmd, out := startChild(t, dir, point, "group", 0)
			if line, err := out.ReadString('\n'); err == nil {
				t.Fatalf("child: %s", line)
			}
			_ = cmd.Wait()
			if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); !ws.Signaled() {
				t.Fatalf("child ended by itself: %v", cmd.ProcessState)
			}
			j, rec := mustOpen(t, dir, small())
			check(t, rec, read(t, j))
			if point == "K6torn" && rec.TornBytes == 0 {
				t.Fatal("no torn tail")
			}
			want := len(charges(t, j))
			crash(j)
			// Once more: what was recovered is not recovered again.
			j, rec = mustOpen(t, dir, small())
			if n := len(rec.Interrupted) + rec.Voided + rec.SentUnknown + rec.Seen; n != 0 || len(charges(t, j)) != want {
				t.Fatalf("second start: %+v, %d records, want %d", rec, len(charges(t, j)), want)
			}
		})
	}
}

// read returns all records from the acknowledged position on.
func read(t *testing.T, j *Journal) (all []usage.Record) {
	t.Helper()
	r := j.NewReader()
	defer r.Close()
	for {
		recs, _, err := r.Next(100)
		if err != nil {
			t.Fatal(err)
		}
		if len(recs) == 0 {
			return all
		}
		all = append(all, recs...)
	}
}
