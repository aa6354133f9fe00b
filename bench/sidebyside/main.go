// Command sidebyside measures what a relayed request costs, next to proxies that do
// nothing but forward: the same load, one after another and round by round, against
// the provider directly, a bare fasthttp proxy, Debian's nginx and haproxy, and this
// project with Postgres, keys, prices and usage records on.
//
//	go run ./bench/sidebyside -fetch     once: Debian's nginx and haproxy into .cache/sidebyside
//	go run ./bench/sidebyside            about ten minutes; the table on stdout
//	go run ./bench/sidebyside -quick     one short round, to see that it works
//
// All figures are medians over the rounds, ratios are medians of the ratios within a
// round. Absolute times are those of the machine at that moment; compare within a run.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"tokenrelay/shared/apptest"
)

var (
	rounds     = flag.Int("rounds", 5, "rounds; the table shows their medians")
	quick      = flag.Bool("quick", false, "one round of a quarter of the length: figures are rough")
	held       = flag.Int("hold", 1000, "streams held open when memory is measured")
	strangers  = flag.Float64("strangers", 12, "a measurement in which other processes took more than this % of the machine was disturbed")
	again      = flag.Int("again", 2, "how often a disturbed measurement is made again")
	onlyLoads  = flag.String("loads", "", "only these loads, by name with commas between; \"held\" is one")
	onlyNames  = flag.String("targets", "", "only these targets, by name with commas between; bare and direct are always there")
	proxies    = flag.Int("proxies", 1, "proxies of the relay: each gets the whole load, and the figures are of all of them")
	oldProxy   = flag.String("old", "", "a proxy of another build, measured beside this one as \"old\"")
	profiles   = flag.String("profile", "", "write a CPU profile of the relay under each load into this folder")
	jsonFile   = flag.String("json", "", "also write every measurement to this file")
	flatOnly   = flag.Bool("flat", false, "only compare the p99 of requests with and without changes of the catalogue and reports beside them")
	fetchFirst = flag.Bool("fetch", false, "download Debian's nginx and haproxy into .cache/sidebyside and end")
	role       = flag.String("role", "", "internal: provider, bare or operator")
	addrs      = flag.String("addrs", "", "internal: addresses of the role")
)

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "sidebyside:", err)
		os.Exit(1)
	}
}

func run() error {
	if *role != "" {
		return play(*role, strings.Split(*addrs, ","))
	}
	root, err := apptest.Root()
	if err != nil {
		return err
	}
	fetched := filepath.Join(root, ".cache", "sidebyside")
	if *fetchFirst {
		return fetch(fetched)
	}
	return apptest.Command(func(h *apptest.Host) error {
		b, err := set(h, fetched)
		if err != nil {
			return err
		}
		if *flatOnly {
			return b.flat(h, os.Stdout)
		}
		if err := b.measure(); err != nil {
			return err
		}
		return b.report(os.Stdout)
	})
}

// play is what the command does as a process of its own beside the first.
func play(role string, at []string) error {
	switch {
	case role == "provider" && len(at) == 1:
		ln, err := net.Listen("tcp", at[0])
		if err != nil {
			return err
		}
		return (&provider{}).serve(ln)
	case role == "bare" && len(at) == 3:
		return serveBare(at[0], at[1], at[2])
	case role == "operator":
		return disturb(os.Stdin, os.Stdout)
	}
	return fmt.Errorf("unknown role %q", role)
}

// bench is everything that was started and everything that was measured.
type bench struct {
	provider string // host:port
	targets  []*target
	relay    *relay
	watched  []func() int // processes that are ours, besides the targets
	all      []measurement
}

// set starts everything.
func set(h *apptest.Host, fetched string) (*bench, error) {
	dir, err := os.MkdirTemp("", "sidebyside-")
	if err != nil {
		return nil, fmt.Errorf("cannot make a folder: %w", err)
	}
	h.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, fmt.Errorf("cannot open a folder: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("cannot find this program: %w", err)
	}
	child := func(role string, listen, more []string) (*program, error) {
		p := &program{
			path: self, args: []string{"-role", role, "-addrs", strings.Join(append(slices.Clone(listen), more...), ",")},
			dir: dir, log: filepath.Join(dir, role+".log"), end: syscall.SIGKILL, wait: listen,
		}
		h.Cleanup(p.stop)
		return p, p.start()
	}
	var free [3]string
	for i := range free {
		if free[i], err = freeAddr(); err != nil {
			return nil, err
		}
	}
	b := &bench{provider: free[0]}
	up, err := child("provider", free[:1], nil)
	if err != nil {
		return nil, err
	}
	b.watched = append(b.watched, func() int { return up.cmd.Process.Pid })
	direct := door{Addr: b.provider, Path: chatPath("direct")}
	b.targets = append(b.targets, &target{name: "direct", version: "no process in between", plain: direct, stream: direct})

	floor, err := child("bare", free[1:3], free[:1])
	if err != nil {
		return nil, err
	}
	b.targets = append(b.targets, &target{
		name: "bare", version: "fasthttp, nothing in between", restart: floor.again, pids: func() []int { return []int{floor.cmd.Process.Pid} },
		plain: door{Addr: free[1], Path: chatPath("bare")}, stream: door{Addr: free[2], Path: chatPath("bare")},
	})
	for _, f := range [][2]string{{"nginx", nginxConf}, {"haproxy", haproxyConf}} {
		t, p, err := foreign(f[0], f[1], dir, fetched, b.provider)
		if err != nil {
			return nil, err
		}
		if p != nil {
			h.Cleanup(p.stop)
		}
		b.targets = append(b.targets, t)
	}
	r, own := startRelay(h, b.provider, *oldProxy)
	for _, t := range own {
		t.version = "keys, prices, usage, journal; Postgres with fsync"
	}
	b.relay, b.targets = r, append(b.targets, own...)
	for _, pid := range r.processes() {
		b.watched = append(b.watched, func() int { return pid })
	}
	return b, nil
}

// measurement is one load against one target in one round.
type measurement struct {
	Round    int
	Load     string
	Target   string
	Sent, OK int64
	Events   int64
	Seconds  float64
	P50, P99 float64 // µs
	First50  float64 // µs to the first content event
	First99  float64
	Delay50  float64 // µs from the provider's write of an event to its arrival
	Delay99  float64
	CPU      float64 // µs of the target's processes
	Database float64 // µs of the relay's Postgres
	KiB      float64 // resident memory per stream held
	Errors   map[string]int64
	OneError string
	Foreign  float64 // part of the machine that processes took which are not of the run
	Tries    int
}

// delaySlices is how many parts a measurement of delays has: a few µs are looked for, and
// what the machine itself takes changes by tens of them within seconds.
const delaySlices = 6

// delayWarm comes directly before each slice, on its connections: a target that has rested
// longer than another, or whose connections are new, would be seen and not what it adds.
const delayWarm = 500 * time.Millisecond

// loads in the order of a round. Spans are long enough for some 2,000 requests, those of
// delays for 600. The targets take turns by slices of it. A load with a warm-up of its own
// measures delays alone.
var loads = []struct {
	name   string
	what   string
	work   work
	slices int
}{
	{"500", "500 requests/s on 64 connections", work{Conns: 64, Rate: 500, Span: 4 * time.Second}, 1},
	{"2000", "2,000 requests/s on 64 connections", work{Conns: 64, Rate: 2000, Span: 2 * time.Second}, 1},
	{"prompt", "200 requests/s with 64 KB of text on 64 connections", work{Conns: 64, Rate: 200, Span: 4 * time.Second, Prompt: 64 << 10}, 1},
	{"calm", "100 requests/s on 16 connections", work{Conns: 16, Rate: 100, Warm: delayWarm, Span: 6 * time.Second}, delaySlices},
	{"full", "64 connections, as fast as it goes", work{Conns: 64, Span: 2 * time.Second}, 1},
	{"paced", "40 streams/s of 64 events, 10 ms apart", work{Conns: 128, Rate: 40, Span: 3 * time.Second, Stream: true, Events: 64, Gap: 10 * time.Millisecond, First: 5 * time.Millisecond}, 1},
	{"first", "100 streams/s of 2 events without a pause on 16 connections", work{Conns: 16, Rate: 100, Warm: delayWarm, Span: 6 * time.Second, Stream: true, Events: 2}, delaySlices},
	{"other", "as paced, by the relay from a provider of another protocol (Anthropic's)", work{Conns: 128, Rate: 40, Span: 3 * time.Second, Stream: true, Events: 64, Gap: 10 * time.Millisecond, First: 5 * time.Millisecond, Other: true}, 1},
	{"flood", "32 connections, streams of 64 events as fast as they go", work{Conns: 32, Span: 2 * time.Second, Stream: true, Events: 64}, 1},
}

// heldWork is a stream that lasts longer than the measurement of memory.
var heldWork = work{Stream: true, Events: 90, Gap: time.Second}

// save writes what has been measured so far to the file that was asked for.
func (b *bench) save() error {
	if *jsonFile == "" {
		return nil
	}
	j, _ := json.MarshalIndent(b.all, "", " ")
	if err := os.WriteFile(*jsonFile, append(j, '\n'), 0o644); err != nil {
		return fmt.Errorf("cannot write the measurements: %w", err)
	}
	return nil
}

// measure goes through the rounds, and saves on the way: a run that is cut short has what it saw.
func (b *bench) measure() error {
	n, scale := *rounds, time.Duration(1)
	if *quick {
		n, scale = 1, 4
	}
	if n < 1 {
		return errors.New("at least one round is needed")
	}
	here := slices.DeleteFunc(slices.Clone(b.targets), func(t *target) bool {
		return t.missing != "" || t.name != "direct" && t.name != "bare" && !chosen(*onlyNames, t.name)
	})
	for round := range n {
		// Each round begins with another target, so that none always comes after the
		// same one.
		order := append(slices.Clone(here[round%len(here):]), here[:round%len(here)]...)
		for _, l := range loads {
			if !chosen(*onlyLoads, l.name) {
				continue
			}
			w := l.work
			w.Span /= scale * time.Duration(l.slices)
			sums := make([]measured, len(order))
			for slice := range l.slices {
				for k := range order {
					i := (k + slice) % len(order)
					t := order[i]
					one, err := b.profiled(t, l.name, round, slice, func() (measured, error) { return b.one(t, w) })
					if err != nil {
						return fmt.Errorf("%s, %s: %w", t.name, l.what, err)
					}
					sums[i].add(&one)
				}
			}
			for i, t := range order {
				if w.Warm > 0 { // the slices have left that to here
					if err := t.rest(); err != nil {
						return fmt.Errorf("%s, %s: %w", t.name, l.what, err)
					}
				}
				m := sums[i].measurement()
				m.Round, m.Load, m.Target = round, l.name, t.name
				b.all = append(b.all, m)
			}
			if err := b.save(); err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "round %d of %d: %s\n", round+1, n, l.what)
		}
		if !chosen(*onlyLoads, "held") {
			continue
		}
		for _, t := range order {
			if most := t.mostStreams(); *held > most {
				fmt.Fprintf(os.Stderr, "%s: left out, it has descriptors for %d streams\n", t.name, most)
				continue
			}
			m, err := b.memory(t)
			if err != nil {
				return fmt.Errorf("%s, streams held: %w", t.name, err)
			}
			m.Round, m.Load, m.Target = round, "held", t.name
			b.all = append(b.all, m)
		}
		if err := b.save(); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "round %d of %d: %d streams held open\n", round+1, n, *held)
	}
	return nil
}

// chosen says whether a list with commas holds a name; an empty list holds all.
func chosen(list, name string) bool {
	return list == "" || slices.Contains(strings.Split(list, ","), name)
}

// profiled measures, and writes a CPU profile of the relay meanwhile if one was asked
// for. A profile costs a few percent: its figures are not for a table.
func (b *bench) profiled(t *target, load string, round, slice int, measure func() (measured, error)) (measured, error) {
	if *profiles == "" || t.name != "relay" {
		return measure()
	}
	file := filepath.Join(*profiles, fmt.Sprintf("%s-%d-%d.pprof", load, round, slice))
	end, err := b.relay.profile(file)
	if err != nil {
		return measured{}, err
	}
	m, err := measure()
	return m, errors.Join(err, end())
}

// ours is the processor time of every process of the run, this one included.
func (b *bench) ours() int64 {
	sum := cpuNanos(os.Getpid()) // children are among it: programs are started from here
	for _, pid := range b.watched {
		if p := pid(); !descends(p, os.Getpid()) {
			sum += cpuNanos(p)
		}
	}
	return sum
}

// measured is what was seen of a target under a load.
type measured struct {
	outcome
	cpu, database, foreign int64 // ns: of the target, of its Postgres, of strangers
	took                   time.Duration
	tries                  int
}

func (m *measured) add(o *measured) {
	m.outcome.add(&o.outcome)
	m.Seconds += o.Seconds
	m.cpu, m.database, m.foreign, m.took = m.cpu+o.cpu, m.database+o.database, m.foreign+o.foreign, m.took+o.took
	m.tries = max(m.tries, o.tries)
}

// strange is the part of the machine that strangers took.
func (m *measured) strange() float64 {
	return float64(m.foreign) / float64(m.took.Nanoseconds()) / float64(runtime.NumCPU())
}

func (m *measured) measurement() measurement {
	for _, l := range [][]int64{m.Latency, m.First, m.Delay} {
		slices.Sort(l)
	}
	return measurement{
		Sent: m.Sent, OK: m.OK, Events: m.Events, Seconds: m.Seconds,
		P50: quantile(m.Latency, .5) / 1e3, P99: quantile(m.Latency, .99) / 1e3,
		First50: quantile(m.First, .5) / 1e3, First99: quantile(m.First, .99) / 1e3,
		Delay50: quantile(m.Delay, .5) / 1e3, Delay99: quantile(m.Delay, .99) / 1e3,
		CPU: float64(m.cpu) / 1e3, Database: float64(m.database) / 1e3,
		Errors: m.Errors, OneError: m.OneError, Foreign: m.strange(), Tries: m.tries,
	}
}

// one measures a load against a target, again if strangers were at work meanwhile.
func (b *bench) one(t *target, w work) (m measured, err error) {
	d := t.plain
	if w.Stream {
		d = t.stream
	}
	w.Conns, w.Rate = w.Conns*(1+len(d.More)), w.Rate*float64(1+len(d.More))
	for try := 1; try <= 1+*again; try++ {
		var warmed outcome
		if w.Warm == 0 {
			warm := w
			warm.Span = 400 * time.Millisecond
			warmed = drive(d, warm)
			if err := t.rest(); err != nil {
				return m, err
			}
		}
		if *again > 0 {
			calm()
		}
		machine, mine, began := busyNanos(), b.ours(), time.Now()
		m = measured{cpu: -t.cpu(), database: -b.database(t), tries: try}
		m.outcome = drive(d, w)
		// What a relay still writes down after the last answer is part of its cost.
		if w.Warm == 0 {
			if err := t.rest(); err != nil {
				return m, err
			}
		}
		m.cpu, m.database = m.cpu+t.cpu(), m.database+b.database(t)
		m.took = time.Since(began)
		m.foreign = busyNanos() - machine - (b.ours() - mine)
		m.Errors, m.OneError = withWarm(&m.outcome, &warmed)
		if m.strange()*100 <= *strangers {
			break
		}
	}
	return m, nil
}

// withWarm joins the errors of the warm-up to those of the measurement: an answer that
// was wrong is not forgiven because nobody was counting.
func withWarm(o, warm *outcome) (map[string]int64, string) {
	var all outcome
	all.add(o)
	all.add(warm)
	return all.Errors, all.OneError
}

// calm waits, at most 5 seconds, for a moment in which the machine does nothing.
func calm() {
	for limit := time.Now().Add(5 * time.Second); time.Now().Before(limit); {
		before := busyNanos()
		time.Sleep(200 * time.Millisecond)
		if busyNanos()-before < int64(runtime.NumCPU())*30_000_000 { // 15 %
			return
		}
	}
}

// rest waits until the target has nothing left to do.
func (t *target) rest() error {
	if t.settle == nil {
		return nil
	}
	return t.settle()
}

// sum adds up what is said of each process of the target.
func (t *target) sum(of func(pid int) int64) int64 {
	if t.pids == nil {
		return 0
	}
	var all int64
	for _, pid := range t.pids() {
		all += of(pid)
	}
	return all
}

func (t *target) cpu() int64 {
	return t.sum(cpuNanos)
}

func (b *bench) database(t *target) int64 {
	if t.name != "relay" && t.name != "old" {
		return 0
	}
	return cpuNanos(b.relay.Postgres.PID())
}

// mostStreams is how many a target can have open: each takes two descriptors of a process,
// which has other files too, and one of the provider.
func (t *target) mostStreams() int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil || l.Max > 1<<30 {
		return 1 << 30
	}
	each := int(l.Max) - 200
	if t.pids == nil {
		return each
	}
	return each / 2 * len(t.pids())
}

// memory holds streams open at a target that has just been started and has served a
// little: what an earlier load left in its heap would hide what a stream needs.
func (b *bench) memory(t *target) (measurement, error) {
	var m measurement
	if t.restart != nil {
		if err := t.restart(); err != nil {
			return m, err
		}
	}
	warm := drive(t.stream, work{Conns: 32, Span: 300 * time.Millisecond, Stream: true, Events: 8})
	if err := t.rest(); err != nil {
		return m, err
	}
	before, after := t.sum(rssKiB), int64(0)
	o, err := hold(t.stream, heldWork, *held, func() {
		time.Sleep(2 * time.Second) // each has had a few events
		after = t.sum(rssKiB)
	})
	if err != nil && !errors.Is(err, errNotAllOpen) { // which is among the errors
		return m, err
	}
	if err := t.rest(); err != nil {
		return m, err
	}
	o.Errors, o.OneError = withWarm(&o, &warm)
	m = measurement{Sent: o.Sent, Seconds: o.Seconds, KiB: float64(after-before) / float64(*held), Errors: o.Errors, OneError: o.OneError, Tries: 1}
	return m, nil
}

// descends says whether a process is below another one.
func descends(pid, ancestor int) bool {
	for range 20 {
		if pid == ancestor {
			return true
		}
		if pid = parent(pid); pid <= 1 {
			return false
		}
	}
	return false
}
