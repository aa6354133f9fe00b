package attack

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenrelay/shared/apptest"
)

// long says that the whole sizes are wanted, for a machine that does nothing else.
var long = os.Getenv("RELAY_LONG") != ""

// pick is the size of the short form, or of the long one.
func pick(short, whole int) int {
	if long {
		return whole
	}
	return short
}

// good is traffic of a customer who does no harm: so many requests a second on
// connections of its own, each timed from when it was due, or sent on a free connection.
type good struct {
	t    *testing.T
	addr string
	req  []byte
}

func newGood(t *testing.T, s *apptest.Stack, token string) *good {
	return &good{t: t, addr: strings.TrimPrefix(s.Proxy(0).URL, "http://"), req: chat(token, `{"model":"mock-chat","messages":[{"role":"user","content":"hello mock:out=5"}],"max_tokens":64}`)}
}

func chat(token, body string, more ...string) []byte {
	return fmt.Appendf(nil, "POST /v1/chat/completions HTTP/1.1\r\nHost: relay\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s",
		token, strings.Join(more, ""), len(body), body)
}

const (
	goodConns = 8
	goodRate  = 200 // a second
)

// run sends for a span and returns the times of the answers, ascending. An answer that
// is not 200 fails the test.
func (g *good) run(span time.Duration) []time.Duration {
	g.t.Helper()
	began := time.Now()
	var ticket atomic.Int64
	var mu sync.Mutex
	var all []time.Duration
	var group sync.WaitGroup
	for range goodConns {
		group.Go(func() {
			var due time.Time
			var took []time.Duration
			g.sends(func() bool {
				due = began.Add(time.Duration(ticket.Add(1)-1) * time.Second / goodRate)
				if due.Sub(began) > span {
					return false
				}
				if wait := time.Until(due); wait > 0 {
					time.Sleep(wait)
					due = time.Now() // the runtime's timers are up to 1 ms late
				}
				return true
			}, func() { took = append(took, time.Since(due)) })
			mu.Lock()
			all = append(all, took...)
			mu.Unlock()
		})
	}
	group.Wait()
	slices.Sort(all)
	return all
}

// sends sends on a connection of its own whenever next says so, until it does not, and tells
// answered. An answer that is not 200 fails the test and is the last.
func (g *good) sends(next func() bool, answered func()) {
	nc, err := net.Dial("tcp", g.addr)
	if err != nil {
		g.t.Error(err)
		return
	}
	defer func() { _ = nc.Close() }()
	br := bufio.NewReader(nc)
	for next() {
		if status, err := ask(nc, br, g.req); err != nil || status != http.StatusOK {
			g.t.Errorf("good traffic: %d %v", status, err)
			return
		}
		answered()
	}
}

// ask sends a request and reads its whole answer.
func ask(nc net.Conn, br *bufio.Reader, req []byte) (status int, err error) {
	_ = nc.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := nc.Write(req); err != nil {
		return 0, err
	}
	return answer(br)
}

// answer reads a whole answer.
func answer(br *bufio.Reader) (status int, err error) {
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

func p99(sorted []time.Duration) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[len(sorted)*99/100]
}

// rss is the resident memory of a process, bytes.
func rss(t *testing.T, pid int) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(b, []byte("VmRSS:"))
	kib, err := strconv.ParseInt(strings.Fields(string(rest))[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// judged is good traffic amid an attack beside good traffic without, in pairs that
// alternate (rulings 2.8), and what the proxy grew by.
type judged struct {
	ratio, spread float64 // of p99 amid by p99 alone, medians; how far p99 alone lies apart
	machine       float64 // the ratio while another process is attacked, 0 = not asked
	most          float64 // what the ratio may be, times the machine's, besides the spread
	alone, amid   [2]time.Duration
	grown         int64
}

// beside measures good traffic with and without an attack, so often. other begins the same
// attack on a process that has nothing to do with the relay, nil = that is not asked.
func (g *good) beside(pid, pairs int, span time.Duration, begin, other func() (end func())) (j judged) {
	g.t.Helper()
	var ratios, machine, alone, amid, halves []float64
	for range pairs {
		quiet := g.run(span)
		start := rss(g.t, pid)
		end := begin()
		disturbed := g.run(span)
		j.grown = max(j.grown, rss(g.t, pid)-start)
		end()
		alone, amid = append(alone, float64(p99(quiet))), append(amid, float64(p99(disturbed)))
		ratios = append(ratios, float64(p99(disturbed))/float64(p99(quiet)))
		halves = append(halves, float64(quiet[len(quiet)/2]), float64(disturbed[len(disturbed)/2]))
		time.Sleep(pause)
		if other != nil {
			end := other()
			machine = append(machine, float64(p99(g.run(span)))/float64(p99(quiet)))
			end()
			time.Sleep(pause)
		}
	}
	if machine != nil {
		j.machine = median(machine)
	}
	j.ratio = median(ratios)
	j.spread = (quantile(alone, .75) - quantile(alone, .25)) / median(alone)
	j.alone = [2]time.Duration{time.Duration(halves[0]), time.Duration(median(alone))}
	j.amid = [2]time.Duration{time.Duration(halves[1]), time.Duration(median(amid))}
	return j
}

// pause is between an attack and what is measured without: what it left is worked off.
var pause = time.Duration(pick(200, 3000)) * time.Millisecond

func median(v []float64) float64 { return quantile(v, .5) }

func quantile(v []float64, q float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	return v[int(q*float64(len(v)-1)+.5)]
}

// mostRatio is what p99 may grow by (G-20 to G-22, G5), besides the spread, and besides what it
// grows by while another process is attacked: the attackers' kernel work, and the other's,
// take the few processors of this machine from the customer and the provider as well.
const mostRatio = 1.1

// restless is how far p99 may lie apart on a machine of which anything can be said.
const restless = 0.5

// seen fails the test if an attack was seen by the good customer, or took the memory. The
// short form only sees that nobody waits long: its machine may be anybody's.
func (j judged) seen(t *testing.T, what string, most int64) {
	t.Helper()
	t.Logf("%s: p99 with / without %.2f (while a process beside is attacked %.2f; spread of that without %.2f), p50 %v → %v, p99 %v → %v; the proxy grew by %d KiB, %d allowed", what,
		j.ratio, j.machine, j.spread, j.alone[0], j.amid[0], j.alone[1], j.amid[1], j.grown>>10, most>>10)
	if long && j.spread > restless {
		t.Errorf("the machine is not quiet: without an attack p99 lies apart by %.2f of it, at most %.2f is allowed", j.spread, restless)
	}
	if most := j.most * max(1, j.machine); long && j.ratio > most+j.spread {
		t.Errorf("p99 grew by the factor %.2f, at most %.2f and the spread of %.2f are allowed", j.ratio, most, j.spread)
	}
	if !long && j.amid[1] > 10*j.alone[1]+500*time.Millisecond {
		t.Errorf("p99 %v, before %v", j.amid[1], j.alone[1])
	}
	if j.grown > most {
		t.Errorf("the proxy grew by %d KiB, at most %d are allowed", j.grown>>10, most>>10)
	}
}

// cpu is the processor time of a process, in ticks of 10 ms.
func cpu(t *testing.T, pid int) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	return user + system
}

// calm waits until the proxy and its provider have hardly anything to do: streams whose
// readers have stalled run until every buffer is full.
func calm(t *testing.T, proxy, provider int) {
	t.Helper()
	apptest.Eventually(t, time.Minute, "the proxy is at rest", func() bool {
		before := cpu(t, proxy) + cpu(t, provider)
		time.Sleep(500 * time.Millisecond)
		return cpu(t, proxy)+cpu(t, provider)-before <= 5
	})
}
