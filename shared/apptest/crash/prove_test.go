package crash

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenrelay/shared/apptest"
	"tokenrelay/shared/apptest/mockllm"
	"tokenrelay/shared/money"
)

// What TestProve does. Without flags it is the short form of `make test`; `make prove`
// and the long runs give their own.
var (
	proveKills   = flag.Int("prove.kills", 6, "kill -9 of proxies under load")
	provePGKills = flag.Int("prove.pgkills", 1, "kill -9 of Postgres under load")
	proveOutage  = flag.Duration("prove.outage", 3*time.Second, "Postgres is away for so long, under load")
	proveRate    = flag.Int("prove.rate", 0, "so many requests a second more amid the kills and, at least, amid the outage; 0 = as it comes")
	proveProxies = flag.Int("prove.proxies", 3, "proxies")
	proveSeed    = flag.Uint64("prove.seed", 1, "of the order of kills and of the requests")
	proveOut     = flag.String("prove.out", "", "write the proof to this file")
)

// balancer sends requests to proxies that say they are ready, as what stands in front
// of several would.
type balancer struct {
	ready []atomic.Bool
	urls  []string
}

func (w *world) balance() *balancer {
	b := &balancer{ready: make([]atomic.Bool, len(w.Proxies))}
	for i, p := range w.Proxies {
		b.urls = append(b.urls, p.URL)
		go func() {
			for w.t.Context().Err() == nil {
				b.ready[i].Store(get(w.t, p.InternalURL, "/readyz") == 200)
				time.Sleep(20 * time.Millisecond)
			}
		}()
	}
	return b
}

func (b *balancer) pick(rnd *rand.Rand) string {
	at := rnd.IntN(len(b.urls))
	for i := range b.urls {
		if n := (at + i) % len(b.urls); b.ready[n].Load() {
			return b.urls[n]
		}
	}
	return b.urls[at]
}

// proofRun is one run of TestProve: what it did and what it saw, line by line.
type proofRun struct {
	w     *world
	b     *balancer
	main  *load
	loads []*load // main and the like of it
	rnd   *rand.Rand
	lines []string
}

// say tells a line and keeps it for the proof.
func (p *proofRun) say(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	p.lines = append(p.lines, line)
	p.w.t.Log(line)
}

const rich = 3 // accounts that have enough; the others run dry

// TestProve puts load on several proxies over one Postgres and takes away whatever can
// be taken away: proxies, Postgres, money, a key, a price, the program itself. Then it
// compares each request with the provider's own meter, runs the audit, and says what
// was lost, doubled and overspent (G-1, G-2, B1, B2, F1, F7, G1, I2).
func TestProve(t *testing.T) {
	w := start(t, apptest.Options{
		OwnPostgres: true, Proxies: *proveProxies, MockRecords: 3_000_000,
		ProxyEnv: []string{"RELAY_DRAIN_DELAY=500ms", "RELAY_DRAIN_GRACE=30s"},
	}, "100000", "100000", "100000", "0.4", "0.4", "0.4")
	p := &proofRun{w: w, b: w.balance(), rnd: rand.New(rand.NewPCG(*proveSeed, 0))}
	began := time.Now()
	looks := w.watch()
	p.main = &load{w: w, name: "prove", pick: p.b.pick, streams: 120, buffered: 24, poor: 12, poorest: 3, chunks: 30, gap: 40 * time.Millisecond}
	p.loads = []*load{p.main}
	p.main.begin()
	apptest.Eventually(t, 30*time.Second, "the load runs", func() bool { return p.main.open.Load() > 60 && p.main.busy.Load() > 0 })

	p.killProxies()
	p.killPostgres()
	p.outage()
	revoked := p.revoke()
	priced := p.changePrice()
	p.upgrade()

	p.main.end()
	n := looks()
	w.Settled()
	out, errs, code := w.CLI("audit", "--strict")
	c := w.compare(append(p.loads, revoked, priced)...)
	p.say("%s", c)
	p.say("wallets were looked at %d times under way, none was ever below zero or lent more than it had", n)
	p.say("admin audit --strict, exit %d:", code)
	for line := range strings.Lines(out) {
		p.say("  %s", strings.TrimRight(line, "\n"))
	}
	if code != 0 {
		t.Errorf("admin audit: exit %d\n%s%s", code, out, errs)
	}
	p.dry()
	p.say("requests %d, proxies killed %d times, Postgres %d times and away for %s, lost %d, doubled %d, overspent %d, wrong %d; %s",
		c.requests, *proveKills, *provePGKills, *proveOutage, c.lost, c.doubled, c.overspent, c.wrong, time.Since(began).Round(time.Second))
	if c.overspent > 0 {
		t.Errorf("%d wallets paid more than they had", c.overspent)
	}
	for _, x := range w.Proxies {
		x.Terminate()
		if code := x.Wait(40 * time.Second); code != 0 {
			t.Errorf("%s: exit code %d", x.Name, code)
		}
	}
	w.atRest()
	p.write()
}

// killProxies kills one proxy after the other with kill -9 while the rest serve.
func (p *proofRun) killProxies() {
	t, began := p.w.t, time.Now()
	var coming sync.WaitGroup
	busy := make([]atomic.Bool, len(p.w.Proxies))
	slowest := atomic.Int64{}
	if *proveRate > 0 { // calls that come and go, beside the streams (G-3)
		quick := &load{w: p.w, name: "quick", pick: p.b.pick, buffered: 64, poor: 1 << 30, poorest: 3, chunks: 4, gap: 200 * time.Microsecond}
		quick.pace(*proveRate)
		p.loads = append(p.loads, quick)
		quick.begin()
		defer quick.end()
	}
	for i := range *proveKills {
		apptest.Eventually(t, 30*time.Second, "streams are open", func() bool { return p.main.open.Load() > 40 })
		time.Sleep(time.Duration(p.rnd.IntN(350)) * time.Millisecond)
		n := p.rnd.IntN(len(busy))
		for busy[n].Load() {
			n = (n + 1) % len(busy)
			time.Sleep(5 * time.Millisecond)
		}
		busy[n].Store(true)
		x := p.w.Proxies[n]
		x.Kill()
		p.b.ready[n].Store(false)
		coming.Go(func() {
			defer busy[n].Store(false)
			at := time.Now()
			if i%5 == 4 { // and once more amid its recovery
				x.Start()
				time.Sleep(time.Duration(i%60) * time.Millisecond)
				x.Kill()
			}
			x.Restart()
			slowest.Store(max(slowest.Load(), int64(time.Since(at))))
		})
	}
	coming.Wait()
	p.say("proxies were killed %d times in %s amid streams, every fifth once more while it recovered; ready again after at most %s",
		*proveKills, time.Since(began).Round(time.Second), time.Duration(slowest.Load()).Round(time.Millisecond))
}

// failures are the answers to rich accounts in a span of time that are not whole. Those
// under way when it begins count.
func (p *proofRun) failures(from, to time.Time) (all, bad int) {
	for _, l := range p.loads {
		l.mu.Lock()
		for _, a := range l.answers {
			if a.account >= rich || a.ended.Before(from) || a.began.After(to) {
				continue
			}
			all++
			if a.status != 200 || !a.whole {
				if bad++; bad <= faults {
					p.w.t.Errorf("failed: %v", a)
				}
			}
		}
		l.mu.Unlock()
	}
	return all, bad
}

// warm waits until the proxies have borrowed again for what is spent and not only for
// what is held (decision 0002): a second long, many times what is held is free.
func (p *proofRun) warm() {
	looks := 0
	apptest.Eventually(p.w.t, time.Minute, "the leases have the size of the load", func() bool {
		for _, x := range p.w.Proxies {
			if held := x.Metric("relay_leases_held_nanousd"); held == 0 || x.Metric("relay_leases_free_nanousd") < 8*held {
				looks = 0
				return false
			}
		}
		looks++
		time.Sleep(100 * time.Millisecond)
		return looks > 10
	})
}

// killPostgres kills Postgres with all its processes, again and again.
func (p *proofRun) killPostgres() {
	t, began := p.w.t, time.Now()
	p.warm()
	from := time.Now()
	for range *provePGKills {
		if err := p.w.Postgres.Kill(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(100+p.rnd.IntN(900)) * time.Millisecond)
		if err := p.w.Postgres.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(300+p.rnd.IntN(700)) * time.Millisecond)
	}
	all, bad := p.failures(from, time.Now())
	p.say("Postgres was killed %d times in %s: %d calls of accounts with money, %d failed", *provePGKills, time.Since(began).Round(time.Second), all, bad)
}

// lag is what the proxies' journals hold that Postgres has not.
func (p *proofRun) lag() (n float64) {
	for _, x := range p.w.Proxies {
		n += x.Metric("relay_journal_lag_records")
	}
	return n
}

// outage takes Postgres away (B2, G-6): calls whose wallets are warm do not notice, and
// what was journaled meanwhile is in the books soon after.
func (p *proofRun) outage() {
	t := p.w.t
	if *proveOutage == 0 {
		return
	}
	// The leases take the size of the spending before.
	time.Sleep(min(30*time.Second, *proveOutage/2) + 2*time.Second)
	var more *load
	if *proveRate > 0 {
		more = &load{w: p.w, name: "rate", pick: p.b.pick, buffered: 64, poor: 1 << 30, poorest: 3, chunks: 4, gap: 200 * time.Microsecond}
		more.pace(*proveRate)
		p.loads = append(p.loads, more)
		more.begin()
		time.Sleep(min(90*time.Second, *proveOutage))
	}
	from := time.Now()
	if err := p.w.Postgres.Kill(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(*proveOutage)
	kept := p.lag()
	if err := p.w.Postgres.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	if more != nil {
		more.end()
	}
	all, bad := p.failures(from, back)
	for n := p.lag(); n >= 1000; n = p.lag() {
		if time.Since(back) > time.Minute {
			t.Fatalf("%.0f records of what was journaled are not in the books a minute after Postgres came back", n)
		}
		time.Sleep(500 * time.Millisecond) // reading every metric of every proxy costs them time
	}
	p.say("Postgres was away for %s: %d calls of accounts with money (%.0f/s), %d failed; %.0f records were kept in the journals, in the books %s after it came back",
		*proveOutage, all, float64(all)/back.Sub(from).Seconds(), bad, kept, time.Since(back).Round(10*time.Millisecond))
	if rate := float64(all) / back.Sub(from).Seconds(); rate < float64(*proveRate) {
		t.Errorf("%.0f requests a second, %d were wanted", rate, *proveRate)
	}
}

// revoke takes a key away under load (G1): a second later no proxy accepts it.
func (p *proofRun) revoke() *load {
	t := p.w.t
	key := p.w.CreateKey(p.w.accounts[0].name)
	l := &load{w: p.w, name: "revoked", pick: p.b.pick, token: key.Token, buffered: 6, chunks: 4, gap: time.Millisecond}
	l.begin()
	time.Sleep(time.Second)
	asked := time.Now()
	p.w.MustCLI(nil, "key", "revoke", key.ID)
	at := time.Now()
	time.Sleep(1500 * time.Millisecond)
	l.end()
	accepted, last, after := 0, time.Duration(0), 0
	for _, a := range l.answers {
		switch {
		case a.status == 200:
			accepted++
			if d := a.began.Sub(at); d > last {
				last = d
			}
			if a.began.Sub(at) > time.Second {
				t.Errorf("%v: accepted %s after its key was revoked", a, a.began.Sub(at))
			}
		case a.code == "key_disabled" || a.code == "invalid_api_key":
			after++
			if a.ended.Before(asked) {
				t.Errorf("%v: refused before", a)
			}
		default:
			t.Errorf("%v", a)
		}
	}
	if accepted == 0 || after == 0 {
		t.Errorf("%d accepted, %d refused", accepted, after)
	}
	p.say("a key was revoked: %d calls before, last accepted %s after the command had ended, then %d refused", accepted, last.Round(time.Millisecond), after)
	return l
}

// changePrice doubles a price under load (F7): each request costs what held when it
// was admitted.
func (p *proofRun) changePrice() *load {
	t := p.w.t
	var from, till time.Time
	l := &load{w: p.w, name: "priced", pick: p.b.pick, token: p.w.accounts[1].token, model: "crash-priced", streams: 6, buffered: 6, chunks: 6, gap: 20 * time.Millisecond}
	l.price = func(a *answer, u *mockllm.Units) []money.Amount {
		switch {
		case a.ended.Before(from):
			return []money.Amount{cost(u)}
		case a.began.After(till):
			return []money.Amount{2 * cost(u)}
		}
		return []money.Amount{cost(u), 2 * cost(u)}
	}
	l.begin()
	time.Sleep(time.Second)
	from = time.Now()
	const old = "model: upstream-priced}], price: PRICE"
	changed := strings.Replace(catalogue, old, `model: upstream-priced}], price: {input: "4", cache_read: "1", cache_write: "5", cache_write_1h: "8", output: "20"}`, 1)
	if changed == catalogue {
		t.Fatal("the catalogue has no such model")
	}
	p.w.Apply(changed)
	till = time.Now().Add(time.Second)
	time.Sleep(2500 * time.Millisecond)
	l.end()
	before, amid, after := 0, 0, 0
	for _, a := range l.answers {
		switch {
		case a.ended.Before(from):
			before++
		case a.began.After(till):
			after++
		default:
			amid++
		}
		if a.status != 200 || !a.whole {
			t.Errorf("%v", a)
		}
	}
	if before == 0 || after == 0 {
		t.Errorf("%d requests before, %d after the change of price", before, after)
	}
	p.say("a price was doubled: %d requests before it, %d while it spread, %d from a second after it on, each at the price it was admitted with", before, amid, after)
	return l
}

// upgrade puts another build of the program in the place of each proxy, one after the
// other (I2): nobody is refused, nothing is cut.
func (p *proofRun) upgrade() {
	t := p.w.t
	root, err := apptest.Root()
	if err != nil {
		t.Fatal(err)
	}
	next := filepath.Join(p.w.Dir, "proxy-next")
	cmd := exec.Command("go", "build", "-o", next, "-ldflags=-buildid=upgrade", "./proxy")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot build the next program: %v\n%s", err, out)
	}
	old, new := fileSum(t, p.w.Proxies[0].Path()), fileSum(t, next)
	if old == new {
		t.Fatal("the next program is the same")
	}
	from := time.Now()
	p.main.mu.Lock()
	refused := p.main.refused
	p.main.mu.Unlock()
	slowest := time.Duration(0)
	for _, x := range p.w.Proxies {
		at := time.Now()
		x.Terminate()
		if code := x.Wait(40 * time.Second); code != 0 {
			t.Errorf("%s: exit code %d", x.Name, code)
		}
		x.Use(next)
		x.Restart()
		slowest = max(slowest, time.Since(at))
		time.Sleep(300 * time.Millisecond)
	}
	all, bad := p.failures(from, time.Now())
	p.main.mu.Lock()
	refused = p.main.refused - refused
	p.main.mu.Unlock()
	p.say("%d proxies were upgraded (program %s to %s) in %s, the slowest in %s: %d calls, %d failed or cut, %d connections refused",
		len(p.w.Proxies), old[:12], new[:12], time.Since(from).Round(time.Millisecond), slowest.Round(time.Millisecond), all, bad, refused)
	if refused > 0 {
		t.Errorf("%d connections were refused amid the upgrade", refused)
	}
}

func fileSum(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// dry tells what became of the accounts that had too little.
func (p *proofRun) dry() {
	t := p.w.t
	refused := make([]int, len(p.w.accounts))
	for _, a := range p.main.answers {
		if a.status == 402 {
			if refused[a.account]++; a.account < rich {
				t.Errorf("402 for an account with money: %v", a)
			}
		}
	}
	for i := rich; i < len(p.w.accounts); i++ {
		a := &p.w.accounts[i]
		b, err := p.w.db.WalletBalance(t.Context(), a.walletID)
		if err != nil {
			t.Fatal(err)
		}
		p.say("%s had %s USD, has %s left, and was told 402 %d times", a.name, a.credit, b.Balance, refused[i])
		if refused[i] == 0 {
			t.Errorf("%s did not run dry", a.name)
		}
	}
}

// write writes the proof: what was run, on what, what was seen, and a checksum of
// these lines, which tells damage and nothing else: who doubts runs it again.
func (p *proofRun) write() {
	t := p.w.t
	if *proveOut == "" || t.Failed() {
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Token Relay: proof of the books\n\ncommit  %s\nseed    %d\ngo      %s %s/%s, %d CPUs\nended   %s\n\n",
		commit(t.Context()), *proveSeed, runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), time.Now().UTC().Format(time.RFC3339))
	for _, line := range p.lines {
		b.WriteString(line + "\n")
	}
	sum := sha256.Sum256([]byte(b.String()))
	fmt.Fprintf(&b, "\nsha256 of the lines above: %s\n", hex.EncodeToString(sum[:]))
	if err := os.WriteFile(*proveOut, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Logf("written: %s", *proveOut)
}

// commit names the sources as far as git knows them.
func commit(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "rev-parse", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	name := strings.TrimSpace(string(out))
	if out, err = exec.CommandContext(ctx, "git", "status", "--porcelain").Output(); err != nil || len(out) > 0 {
		name += " with changes"
	}
	return name
}
