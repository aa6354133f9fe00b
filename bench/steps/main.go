//go:build linux && amd64

// Command steps counts what one warm request makes a proxy execute: it steps through the
// goroutine of a connection, instruction by instruction, and tells how many different cache
// lines of code and how many different jumps it went through, and where they are. A request
// that comes alone, behind milliseconds of nothing, pays for each of them, and unlike its
// time the count is the same every time.
//
//	go run ./bench/steps -pid PID -url http://127.0.0.1:8080/v1/chat/completions -key tsk_… -model M
//
// The process must be one that serves with fasthttp, on amd64, built with its symbols, and
// started with GODEBUG=asyncpreemptoff=1; it goes on afterwards. A step takes microseconds, so that what the proxy does when time has passed (deadlines that are set anew, clocks that
// are compared) is counted where a request at full speed would not come by.
package main

import (
	"bytes"
	"debug/elf"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"slices"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

var (
	pid    = flag.Int("pid", 0, "the proxy's process")
	target = flag.String("url", "http://127.0.0.1:8080/v1/chat/completions", "where requests go")
	key    = flag.String("key", "", "sent as Bearer")
	model  = flag.String("model", "", "model of the requests")
	stream = flag.Bool("stream", false, "ask for a stream")
	words  = flag.Int("words", 400, "words of the prompt")
	warm   = flag.Int("warm", 3000, "requests before the steps")
	top    = flag.Int("top", 30, "functions to print")
)

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "steps:", err)
		os.Exit(1)
	}
}

func run() error {
	text, err := readText(fmt.Sprintf("/proc/%d/exe", *pid))
	if err != nil {
		return err
	}
	ask, err := asker()
	if err != nil {
		return err
	}
	for range *warm {
		if err := ask(); err != nil {
			return err
		}
	}
	trace := make(chan []step, 1)
	failed := make(chan error, 1)
	ready := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		runtime.LockOSThread() // only the thread that traces may
		t := tracer{pid: *pid, text: text}
		if err := t.attach(); err != nil {
			failed <- err
			return
		}
		close(ready)
		t.follow(stop)
		trace <- t.steps
	}()
	select {
	case err := <-failed:
		return err
	case <-ready:
	}
	const requests = 4 // the first is not seen from its beginning, the shortest of the others counts
	for range requests {
		if err := ask(); err != nil {
			return err
		}
	}
	close(stop)
	return report(text, <-trace)
}

// asker makes the function that sends one request, always on the same connection.
func asker() (func() error, error) {
	u, err := url.Parse(*target)
	if err != nil {
		return nil, err
	}
	body := fmt.Sprintf(`{"model":%q,"stream":%t,"messages":[{"role":"user","content":%q}]}`, *model, *stream, strings.Repeat("word ", *words))
	client := &http.Client{Transport: &http.Transport{
		DialContext:     (&net.Dialer{}).DialContext,
		MaxConnsPerHost: 1,
	}}
	return func() error {
		req, err := http.NewRequest(http.MethodPost, u.String(), strings.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+*key)
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		answer, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("status %d: %s", resp.StatusCode, bytes.TrimSpace(answer))
		}
		return err
	}, nil
}

// text is where the program's functions are.
type text struct {
	starts []uint64
	names  []string

	request uint64 // a request begins to be read
	park    uint64 // a goroutine stops
	resume  uint64 // a goroutine, in DX, goes on
}

func readText(path string) (*text, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the program: %w", err)
	}
	defer func() { _ = f.Close() }()
	all, err := f.Symbols()
	if err != nil {
		return nil, fmt.Errorf("cannot read the program's symbols: %w", err)
	}
	all = slices.DeleteFunc(all, func(s elf.Symbol) bool { return elf.ST_TYPE(s.Info) != elf.STT_FUNC })
	sort.Slice(all, func(i, j int) bool { return all[i].Value < all[j].Value })
	t := &text{}
	for _, s := range all {
		t.starts, t.names = append(t.starts, s.Value), append(t.names, s.Name)
		switch s.Name {
		case "github.com/valyala/fasthttp.(*RequestHeader).readLoop":
			t.request = s.Value
		case "runtime.mcall":
			t.park = s.Value
		case "gogo":
			t.resume = s.Value
		}
	}
	if t.request == 0 || t.park == 0 || t.resume == 0 {
		return nil, errors.New("the program is none that serves with fasthttp, or has no symbols")
	}
	return t, nil
}

func (t *text) name(pc uint64) string {
	i, found := slices.BinarySearch(t.starts, pc)
	if !found {
		i--
	}
	if i < 0 || pc-t.starts[i] > 1<<20 {
		return "the kernel's page"
	}
	return t.names[i]
}

// step is an instruction that was executed: where, and by which goroutine.
type step struct{ pc, g uint64 }

// tracer stops at the beginning of a request and follows its goroutine from thread to thread.
type tracer struct {
	pid   int
	text  *text
	steps []step

	g       uint64 // the goroutine, 0 = not known yet
	thread  int    // that is stepped, 0 = none
	planted map[uint64]byte
}

const trap = 0xcc // int3

func (t *tracer) attach() error {
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", t.pid))
	if err != nil {
		return err
	}
	for _, e := range threads {
		tid, err := strconv.Atoi(e.Name())
		if err != nil {
			return err
		}
		if err := unix.PtraceSeize(tid); err != nil {
			return fmt.Errorf("cannot trace thread %d: %w", tid, err)
		}
		if err := unix.PtraceSetOptions(tid, unix.PTRACE_O_TRACECLONE); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("cannot trace what thread %d starts: %w", tid, err)
		}
		if err := unix.PtraceInterrupt(tid); err != nil {
			return fmt.Errorf("cannot stop thread %d: %w", tid, err)
		}
		if _, err := unix.Wait4(tid, nil, unix.WALL, nil); err != nil {
			return fmt.Errorf("cannot wait for thread %d: %w", tid, err)
		}
	}
	t.planted = map[uint64]byte{t.text.request: 0, t.text.resume: 0}
	for at := range t.planted {
		var b [1]byte
		if _, err := unix.PtracePeekText(t.pid, uintptr(at), b[:]); err != nil {
			return fmt.Errorf("cannot read the program: %w", err)
		}
		t.planted[at] = b[0]
		t.poke(t.pid, at, trap)
	}
	for _, e := range threads {
		tid, _ := strconv.Atoi(e.Name())
		_ = unix.PtraceCont(tid, 0)
	}
	return nil
}

func (t *tracer) poke(tid int, at uint64, b byte) {
	_, _ = unix.PtracePokeText(tid, uintptr(at), []byte{b})
}

// pass lets a thread that stands at a planted trap over it.
func (t *tracer) pass(tid int, at uint64) {
	t.poke(tid, at, t.planted[at])
	_ = unix.PtraceSingleStep(tid)
	_, _ = unix.Wait4(tid, nil, unix.WALL, nil)
	t.poke(tid, at, trap)
}

// follow traces until stop is closed, and lets the process go.
func (t *tracer) follow(stop chan struct{}) {
	defer t.detach()
	for {
		select {
		case <-stop:
			return
		default:
		}
		var st unix.WaitStatus
		tid, err := unix.Wait4(-1, &st, unix.WALL, nil) // a proxy is never still for long
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return
		case !st.Stopped():
			continue
		case st.StopSignal() != unix.SIGTRAP || st>>16 != 0:
			t.goOn(tid, st)
			continue
		}
		var r unix.PtraceRegs
		if unix.PtraceGetRegs(tid, &r) != nil {
			continue
		}
		if tid == t.thread {
			t.stepped(tid, &r)
		} else {
			t.stopped(tid, &r)
		}
	}
}

// detach takes the traps out and leaves every thread where it is.
func (t *tracer) detach() {
	threads, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", t.pid))
	clean := false
	for _, e := range threads {
		tid, _ := strconv.Atoi(e.Name())
		var st unix.WaitStatus
		_ = unix.PtraceInterrupt(tid)
		if _, err := unix.Wait4(tid, &st, unix.WALL, nil); err != nil || !st.Stopped() {
			continue
		}
		if !clean {
			for at, b := range t.planted {
				t.poke(tid, at, b)
			}
			clean = true
		}
		var r unix.PtraceRegs
		if st.StopSignal() == unix.SIGTRAP && st>>16 == 0 && tid != t.thread && unix.PtraceGetRegs(tid, &r) == nil {
			if _, planted := t.planted[r.Rip-1]; planted {
				r.Rip--
				_ = unix.PtraceSetRegs(tid, &r)
			}
		}
		_ = unix.PtraceDetach(tid)
	}
}

// goOn lets a thread go on that stopped for another reason.
func (t *tracer) goOn(tid int, st unix.WaitStatus) {
	sig := 0
	if st>>16 == 0 && st.StopSignal() != unix.SIGSTOP {
		sig = int(st.StopSignal())
	}
	if tid == t.thread {
		_ = unix.PtraceSingleStep(tid) // a signal of the scheduler can be left out
		return
	}
	_ = unix.PtraceCont(tid, sig)
}

// stepped is one more instruction of the thread that is followed.
func (t *tracer) stepped(tid int, r *unix.PtraceRegs) {
	t.steps = append(t.steps, step{r.Rip, r.R14})
	_, planted := t.planted[r.Rip]
	switch {
	case r.Rip == t.text.park && r.R14 == t.g:
		t.thread = 0
		_ = unix.PtraceCont(tid, 0)
	case r.Rip == t.text.resume && r.Rdx != t.g: // it was taken from the processor
		t.thread = 0
		t.pass(tid, r.Rip)
		_ = unix.PtraceCont(tid, 0)
	case planted:
		t.pass(tid, r.Rip)
		if unix.PtraceGetRegs(tid, r) == nil {
			t.steps = append(t.steps, step{r.Rip, r.R14})
		}
		_ = unix.PtraceSingleStep(tid)
	default:
		_ = unix.PtraceSingleStep(tid)
	}
}

// stopped is a thread at a planted trap, or at nothing.
func (t *tracer) stopped(tid int, r *unix.PtraceRegs) {
	at := r.Rip - 1
	if _, planted := t.planted[at]; !planted {
		_ = unix.PtraceCont(tid, 0)
		return
	}
	if at == t.text.request && t.g == 0 {
		t.g = r.R14
	}
	ours := at == t.text.request && r.R14 == t.g || at == t.text.resume && r.Rdx == t.g
	r.Rip = at
	_ = unix.PtraceSetRegs(tid, r)
	t.pass(tid, at)
	if !ours {
		_ = unix.PtraceCont(tid, 0)
		return
	}
	t.thread = tid
	t.steps = append(t.steps, step{at, t.g})
	if unix.PtraceGetRegs(tid, r) == nil {
		t.steps = append(t.steps, step{r.Rip, r.R14})
	}
	_ = unix.PtraceSingleStep(tid)
}

// report prints the shortest whole request, from the reading of one head to that of the next.
func report(t *text, all []step) error {
	var begins []int
	for i, s := range all {
		if s.pc == t.request && (len(begins) == 0 || i-begins[len(begins)-1] > 100) {
			begins = append(begins, i)
		}
	}
	var best []uint64
	for i := 1; i+1 < len(begins); i++ {
		g := all[begins[i]].g
		var one []uint64
		for _, s := range all[begins[i]:begins[i+1]] {
			if s.g == g {
				one = append(one, s.pc)
			}
		}
		if best == nil || len(one) < len(best) {
			best = one
		}
	}
	if best == nil {
		return errors.New("no whole request was seen")
	}
	type sum struct {
		name                       string
		instructions, lines, jumps int
	}
	sums := map[string]*sum{}
	at := func(pc uint64) *sum {
		name := t.name(pc)
		if sums[name] == nil {
			sums[name] = &sum{name: name}
		}
		return sums[name]
	}
	lines, jumps := map[uint64]bool{}, map[[2]uint64]bool{}
	const line, longest = 64, 15 // bytes of a cache line, of an instruction at most
	for i, pc := range best {
		s := at(pc)
		s.instructions++
		if !lines[pc/line] {
			lines[pc/line] = true
			s.lines++
		}
		if i+1 == len(best) {
			break
		}
		if next := best[i+1]; next <= pc || next > pc+longest {
			if j := [2]uint64{pc, next}; !jumps[j] {
				jumps[j] = true
				s.jumps++
			}
		}
	}
	list := make([]*sum, 0, len(sums))
	for _, s := range sums {
		list = append(list, s)
	}
	sort.Slice(list, func(i, j int) bool {
		return list[i].lines > list[j].lines || list[i].lines == list[j].lines && list[i].name < list[j].name
	})
	fmt.Printf("%d instructions, %d lines of code, %d jumps, %d functions\n\n", len(best), len(lines), len(jumps), len(list))
	fmt.Println("lines  jumps  instructions")
	for _, s := range list[:min(*top, len(list))] {
		fmt.Printf("%5d %6d %13d  %s\n", s.lines, s.jumps, s.instructions, s.name)
	}
	return nil
}
