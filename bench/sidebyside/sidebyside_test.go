package main

import (
	"bufio"
	"bytes"
	"errors"
	"math"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

// The load generator against the provider, directly and through the bare proxy: every
// byte is compared, every event counted.
func TestLoad(t *testing.T) {
	p := &provider{}
	up := listen(t)
	go func() { _ = p.serve(up) }()
	plain, streamed := listen(t), listen(t)
	for ln, s := range map[net.Listener]bool{plain: false, streamed: true} {
		server := bare(up.Addr().String(), s)
		go func() { _ = server.Serve(ln) }()
		t.Cleanup(func() { _ = server.Shutdown() })
	}
	short := work{Conns: 4, Rate: 200, Span: 200 * time.Millisecond}
	stream := work{Conns: 8, Rate: 50, Span: 200 * time.Millisecond, Stream: true, Events: 5, Gap: time.Millisecond, First: 2 * time.Millisecond}
	for _, c := range []struct {
		lane, addr string
		w          work
		want       int64
	}{
		{"a", up.Addr().String(), short, 40},
		{"b", plain.Addr().String(), short, 40},
		{"c", up.Addr().String(), stream, 10},
		{"d", streamed.Addr().String(), stream, 10},
	} {
		o := drive(door{Addr: c.addr, Path: chatPath(c.lane)}, c.w)
		if o.Sent != c.want || o.OK != c.want || o.failures() != 0 || len(o.Latency) != int(c.want) {
			t.Errorf("%s: sent %d, right %d, want %d; %v %s", c.lane, o.Sent, o.OK, c.want, o.Errors, o.OneError)
		}
		lanes, err := fetchStats(up.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if l := lanes[c.lane]; l.Plain+l.Streams != c.want || l.Streams != l.Ended {
			t.Errorf("%s: the provider counts %+v, want %d", c.lane, l, c.want)
		}
		if !c.w.Stream {
			continue
		}
		if o.Events != c.want*5 || len(o.First) != int(c.want) || len(o.Delay) != int(c.want)*5 {
			t.Errorf("%s: %d events, %d first, %d delays", c.lane, o.Events, len(o.First), len(o.Delay))
		}
		if first := quantile(o.First, 0); first < float64(3*time.Millisecond) {
			t.Errorf("%s: a first token after %v ns, before the provider sent it", c.lane, first)
		}
	}
	// What is due in a warm-up is served, on the same connections, and does not count.
	warm := short
	warm.Warm = 100 * time.Millisecond
	o := drive(door{Addr: plain.Addr().String(), Path: chatPath("warm")}, warm)
	lanes, err := fetchStats(up.Addr().String())
	if l := lanes["warm"]; err != nil || o.Sent != 40 || o.OK != 40 || len(o.Latency) != 40 || l.Plain != 60 {
		t.Errorf("with a warm-up: sent %d, right %d, %d times; the provider counts %d; %v", o.Sent, o.OK, len(o.Latency), l.Plain, err)
	}
	// Streams that are left: all were open, none is an error, the provider sees them cut.
	measured := false
	o, err = hold(door{Addr: streamed.Addr().String(), Path: chatPath("held")}, work{Stream: true, Events: 60, Gap: 100 * time.Millisecond}, 20, func() { measured = true })
	if err != nil || !measured || o.failures() != 0 || o.Sent != 20 {
		t.Errorf("held: %v %v %d %v", err, measured, o.Sent, o.Errors)
	}
}

// What is wrong with an answer is an error: a byte, an event, its order, its end, a status.
func TestLoadSeesWhatIsWrong(t *testing.T) {
	w := work{Conns: 1, Rate: 5, Span: 200 * time.Millisecond, Stream: true, Events: 2}
	right := func() []string {
		var list []string
		for _, b := range [][]byte{appendRole(nil, model), appendDelta(nil, model, 0, 1), appendDelta(nil, model, 1, 2), appendFinish(nil, model), appendUsage(nil, model, 2), []byte(streamEnd)} {
			list = append(list, string(b))
		}
		return list
	}
	for name, c := range map[string]struct {
		change func([]string) []string
		status string
		cut    bool
		wrong  bool
	}{
		"right":   {func(e []string) []string { return e }, "200 OK", false, false},
		"byte":    {func(e []string) []string { e[1] = strings.Replace(e[1], "fp_side", "fp_sidE", 1); return e }, "200 OK", false, true},
		"lost":    {func(e []string) []string { return append(e[:2], e[3:]...) }, "200 OK", false, true},
		"order":   {func(e []string) []string { e[1], e[2] = e[2], e[1]; return e }, "200 OK", false, true},
		"twice":   {func(e []string) []string { return append(e[:2], e[1:]...) }, "200 OK", false, true},
		"no end":  {func(e []string) []string { return e[:5] }, "200 OK", false, true},
		"comment": {func(e []string) []string { e[2] = ": hello\n\n" + e[2]; return e }, "200 OK", false, true},
		"cut":     {func(e []string) []string { return e }, "200 OK", true, true},
		"status":  {func(e []string) []string { return e }, "503 Service Unavailable", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			ln := listen(t)
			go func() {
				nc, err := ln.Accept()
				if err != nil {
					return
				}
				defer func() { _ = nc.Close() }()
				pc := &providerConn{Conn: nc, br: bufio.NewReader(nc)}
				if _, _, err := pc.read(); err != nil {
					return
				}
				pc.out = append(pc.out, "HTTP/1.1 "+c.status+"\r\nTransfer-Encoding: chunked\r\n\r\n"...)
				for _, event := range c.change(right()) {
					// In two parts: what arrives apart is put together again.
					_ = pc.chunk([]byte(event[:len(event)-1]))
					_ = pc.chunk([]byte(event[len(event)-1:]))
				}
				if !c.cut {
					_, _ = pc.Write([]byte("0\r\n\r\n"))
				}
			}()
			o := drive(door{Addr: ln.Addr().String(), Path: chatPath("x")}, w)
			if o.Sent != 1 || (o.failures() == 1) != c.wrong || (o.OK == 1) == c.wrong {
				t.Errorf("sent %d, right %d, %v %s", o.Sent, o.OK, o.Errors, o.OneError)
			}
		})
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		of   []float64
		want float64
	}{{[]float64{3, 1, 2}, 2}, {[]float64{4, 1, 2, 3}, 2.5}, {[]float64{7}, 7}} {
		if got := median(c.of); got != c.want {
			t.Errorf("%v: %v, want %v", c.of, got, c.want)
		}
	}
	if !math.IsNaN(median(nil)) {
		t.Error("a median of nothing")
	}
	if q := quantile([]int64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, .5); q != 6 {
		t.Errorf("p50 %v", q)
	}
	if q := quantile([]int64{1, 2, 3}, .99); q != 3 {
		t.Errorf("p99 %v", q)
	}
}

// The processor time of this process grows by what it spends, as the kernel says it.
func TestCPU(t *testing.T) {
	spent := func() time.Duration {
		var use syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
			t.Fatal(err)
		}
		return time.Duration(use.Utime.Nano() + use.Stime.Nano())
	}
	// Work is what the kernel has given, not what a clock on the wall says: others work here too.
	before, began := cpuNanos(os.Getpid()), spent()
	for x := 0; spent()-began < 100*time.Millisecond; x++ {
		_ = bytes.Repeat([]byte("x"), x%100)
	}
	if got := cpuNanos(os.Getpid()) - before; got < int64(20*time.Millisecond) || got > int64(2*time.Second) {
		t.Errorf("a tenth of a second of work took %d ns", got)
	}
	if kib := rssKiB(os.Getpid()); kib < 1000 {
		t.Errorf("%d KiB resident", kib)
	}
	if parent(os.Getpid()) != os.Getppid() || !descends(os.Getpid(), os.Getppid()) || descends(os.Getppid(), os.Getpid()) {
		t.Error("the parent is another one")
	}
}

// A figure is the median over the rounds, its ratio the median of the ratios within a
// round, and there is none where the floor cannot be seen.
func TestCell(t *testing.T) {
	b := &bench{}
	for round, cpu := range [][2]float64{{100, 150}, {10, 40}, {200, 400}} {
		for i, name := range []string{"direct", "bare", "relay"} {
			m := measurement{Round: round, Load: "500", Target: name, Sent: 10, P50: float64(100 + 10*i)}
			if i > 0 {
				m.CPU = 10 * cpu[i-1]
			}
			b.all = append(b.all, m)
		}
	}
	cpu := column{load: "500", value: per(cpuOf, sent), ratio: true}
	if v, r := b.cell(cpu, "relay"); v != 150 || r != 2 {
		t.Errorf("%v, ratio %v; want 150 and 2", v, r)
	}
	added := column{load: "500", value: func(m, d *measurement) float64 { return m.P50 - d.P50 }, ratio: true}
	if v, r := b.cell(added, "relay"); v != 20 || r != 2 {
		t.Errorf("%v, ratio %v; want 20 and 2", v, r)
	}
	for i := range b.all {
		if m := &b.all[i]; m.Target == "bare" && m.Round > 0 {
			m.P50 = 90 // faster than nothing in between: it cannot be seen
		}
	}
	if v, r := b.cell(added, "relay"); v != 20 || !math.IsNaN(r) {
		t.Errorf("%v, ratio %v; want 20 and none", v, r)
	}
}

// What is paced is done as often as is said, also where one takes longer than its turn.
func TestPaced(t *testing.T) {
	stop, n := make(chan struct{}), 0
	err := paced(stop, 10*time.Millisecond, func() error {
		switch n++; n {
		case 3:
			time.Sleep(200 * time.Millisecond) // twenty turns are late by now
		case 25:
			close(stop)
		}
		return nil
	})
	if err != nil || n != 25 {
		t.Errorf("%d times, %v", n, err)
	}
	if err := paced(nil, time.Millisecond, func() error { return errNotFlat }); !errors.Is(err, errNotFlat) {
		t.Errorf("an error ends it: %v", err)
	}
}
