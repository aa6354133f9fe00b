package ship

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"tokenrelay/proxy/journal"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// child is the proxy process that is killed: it writes records, tells each, and
// ships them into a file, one write(2) for each transaction.
func child() int {
	dir := os.Getenv("SHIP_TEST_DIR")
	j, _, err := journal.Open(dir, journal.Options{SegmentBytes: 64 << 10, Cells: 16, MinFree: 1, Log: quiet()})
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	o := fast()
	o.Batch = 20
	s := New(j, fileSink(filepath.Join(dir, "db")), o)
	go func() { _ = s.Run(context.Background()) }()
	from, _ := strconv.Atoi(os.Getenv("SHIP_TEST_FROM"))
	for n := from; ; n++ {
		if err := j.Append(record(n)); err != nil {
			fmt.Println("error", err)
			return 1
		}
		_, _ = os.Stdout.WriteString(strconv.Itoa(n) + "\n")
	}
}

// fileSink is a database that survives its client: a transaction is one append.
func fileSink(path string) Sink {
	return sinkFunc(func(_ context.Context, _ int16, recs []usage.Record) (store.SettleResult, error) {
		var b bytes.Buffer
		for i := range recs {
			fmt.Fprintln(&b, int(recs[i].Charge))
		}
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return store.SettleResult{}, err
		}
		defer f.Close()
		_, err = f.Write(b.Bytes())
		return store.SettleResult{Inserted: len(recs)}, err
	})
}

// TestKillWhileShippingA3: a process that writes and ships is killed 30 times, also
// between a commit and its ack (K9). Everything that was told as journaled arrives;
// what arrives twice is the same request id, which the store knows.
func TestKillWhileShippingA3(t *testing.T) {
	dir := t.TempDir()
	told := map[int]bool{}
	for round := range 30 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "SHIP_TEST_CHILD=1", "SHIP_TEST_DIR="+dir, "SHIP_TEST_FROM="+strconv.Itoa(round*1_000_000))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// However slow the machine is: some milliseconds from the first record on.
		kill := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		for lines, first := bufio.NewScanner(out), true; lines.Scan(); first = false {
			if first {
				kill.Reset(time.Duration(1+round) * time.Millisecond)
			}
			n, err := strconv.Atoi(lines.Text())
			if err != nil {
				t.Fatalf("child: %s", lines.Text())
			}
			told[n] = true
		}
		_ = cmd.Wait()
	}
	j := open(t, dir)
	if err := New(j, fileSink(filepath.Join(dir, "db")), fast()).Drain(context.Background()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "db"))
	if err != nil {
		t.Fatal(err)
	}
	times := map[int]int{}
	again := 0
	for _, line := range bytes.Fields(b) {
		n, _ := strconv.Atoi(string(line))
		if times[n]++; times[n] > 1 {
			again++
		}
	}
	for n := range told {
		if times[n] == 0 {
			t.Fatalf("record %d was told as journaled and never arrived", n)
		}
	}
	if len(times) > len(told)+30 {
		t.Fatalf("%d arrived, %d were told", len(times), len(told))
	}
	t.Logf("30 kills: %d records told, all arrived, %d sent again", len(told), again)
	if len(told) < 1000 {
		t.Fatalf("only %d records: the children did not write", len(told))
	}
}
