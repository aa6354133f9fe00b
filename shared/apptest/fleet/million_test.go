package fleet

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenrelay/shared/apikey"
	"tokenrelay/shared/apptest"
	"tokenrelay/shared/store/storetest"
)

// Rulings 3.10 and 3.31: with a million keys in Postgres (200,000 unless
// RELAY_LONG=1) a proxy starts as before, a cold key costs one statement, memory grows
// only with the keys that are used, and unknown keys do not reach Postgres faster
// than it was promised.
func TestManyKeys(t *testing.T) {
	s := apptest.Start(t, apptest.Options{Proxies: -1})
	s.CreateClient("acme", "100000")
	n := 200_000
	if long {
		n = 1_000_000
	}
	// Of some the test knows the token, the others' digests are of nothing that
	// anybody holds.
	known := 500
	keys := make([]apptest.Key, known)
	ids, digests, lasts := make([]string, known), make([][]byte, known), make([]string, known)
	for i := range keys {
		token, id, err := apikey.Generate("tsk_")
		if err != nil {
			t.Fatal(err)
		}
		d := apikey.Digest([]byte(token))
		keys[i], ids[i], digests[i], lasts[i] = apptest.Key{ID: id, Token: token}, id, d[:], token[len(token)-4:]
	}
	began := time.Now()
	storetest.Exec(t, s.DatabaseURL, `INSERT INTO api_key (client_id, public_id, digest, last4, name)
		SELECT 1, 'made' || i, sha256(('made' || i)::bytea), right(i::text, 4), 'key ' || i FROM generate_series(1, $1::int) AS i`, n-known)
	storetest.Exec(t, s.DatabaseURL, `INSERT INTO api_key (client_id, public_id, digest, last4, name)
		SELECT 1, k.id, k.digest, k.last4, 'known' FROM unnest($1::text[], $2::bytea[], $3::text[]) AS k (id, digest, last4)`, ids, digests, lasts)
	storetest.Exec(t, s.DatabaseURL, `ANALYZE api_key`)
	t.Logf("%d keys made in %s", n, time.Since(began).Round(10*time.Millisecond))

	began = time.Now()
	p := s.AddProxy()
	p.WaitReady()
	took := time.Since(began)
	atStart := memory(t, p)
	t.Logf("the proxy was ready after %s, %s resident", took.Round(time.Millisecond), mib(atStart))
	if took > 5*time.Second {
		t.Errorf("the start took %s", took)
	}

	t.Run("a cold key costs one statement", func(t *testing.T) { coldKey(t, p, keys[:100]) })
	t.Run("memory of cold keys", func(t *testing.T) {
		for _, k := range keys[100:] {
			if r := p.Do(short(k)); r.Status != 200 {
				t.Fatalf("%d %s", r.Status, r.Body)
			}
		}
		coldKeyMemory(t, s, p, atStart)
	})
	t.Run("a spray of unknown keys", func(t *testing.T) { spray(t, p, keys[0]) })
	t.Run("a wrong checksum is refused without a look-up", func(t *testing.T) { typos(t, p, keys[0]) })
	s.Audit()
}

// coldKey uses keys for the first time. Their client's wallet is warm.
func coldKey(t *testing.T, p *apptest.Proxy, keys []apptest.Key) {
	get := func(k apptest.Key) apptest.Request {
		r := apptest.Chat(k.Token, "", "")
		r.Method, r.Path, r.Body = "GET", "/v1/models", ""
		return r
	}
	for i := range 5 {
		p.Do(get(keys[i]))
	}
	// The clock's statements come to it; a request that takes a second look at one
	// warm key shows how many.
	statements := func(list []apptest.Key) (int64, time.Duration) {
		var longest time.Duration
		before := p.Statements()
		for _, k := range list {
			r := p.Do(get(k))
			if r.Status != 200 {
				t.Fatalf("%d %s", r.Status, r.Body)
			}
			longest = max(longest, r.Took)
		}
		return p.Statements() - before, longest
	}
	cold := keys[5:]
	first, longest := statements(cold)
	second, _ := statements(cold)
	t.Logf("%d keys: %d statements at their first use (slowest %s), %d at the second", len(cold), first, longest.Round(10*time.Microsecond), second)
	if got, want := first-second, int64(len(cold)); got < want-3 || got > want+10 {
		t.Errorf("%d statements for %d cold keys", got, want)
	}
	if second > 10 {
		t.Errorf("%d statements for warm keys", second)
	}
}

// coldKeyMemory uses ten thousand keys once, 4,000 in the short form.
func coldKeyMemory(t *testing.T, s *apptest.Stack, p *apptest.Proxy, atStart int64) {
	n := 4_000
	if long {
		n = 10_000
	}
	tokens := make([]string, n)
	ids, digests := make([]string, n), make([][]byte, n)
	for i := range tokens {
		token, id, err := apikey.Generate("tsk_")
		if err != nil {
			t.Fatal(err)
		}
		d := apikey.Digest([]byte(token))
		tokens[i], ids[i], digests[i] = token, id, d[:]
	}
	storetest.Exec(t, s.DatabaseURL, `INSERT INTO api_key (client_id, public_id, digest, last4, name)
		SELECT 1, k.id, k.digest, right(k.id, 4), 'cold' FROM unnest($1::text[], $2::bytea[]) AS k (id, digest)`, ids, digests)
	before := memory(t, p)
	statements := p.Statements()
	began := time.Now()
	var next, overloaded atomic.Int64
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				// More cold keys a second than are looked up are told to come again.
				for {
					x := ask(p, w, short(apptest.Key{Token: tokens[i]}))
					if x.status == 200 {
						break
					}
					if x.status != 503 || x.code != "overloaded" {
						t.Errorf("%d %s %v", x.status, x.code, x.err)
						return
					}
					overloaded.Add(1)
					time.Sleep(50 * time.Millisecond)
				}
			}
		})
	}
	all.Wait()
	took := time.Since(began)
	after := memory(t, p)
	t.Logf("%d cold keys used in %s (%d told to come again), %d statements; resident %s at the start, %s before, %s after: %d bytes a key",
		n, took.Round(time.Millisecond), overloaded.Load(), p.Statements()-statements, mib(atStart), mib(before), mib(after), (after-before)/int64(n))
	// The heap grows in steps, whatever is in it.
	if grown := after - before; grown > 32<<20+int64(n)*4<<10 {
		t.Errorf("memory has grown by %s", mib(grown))
	}
}

// spray is a flood of keys that nobody has (ruling 3.10): Postgres sees at most the
// look-ups of the bucket, a good key is served all the while, and nobody gets a guess. Each
// of its connections waits for most of its answers (decision 0028).
func spray(t *testing.T, p *apptest.Proxy, good apptest.Key) {
	statements := p.Statements()
	began := time.Now()
	var sent, refusedN, overloaded, other atomic.Int64
	var all sync.WaitGroup
	stop := make(chan struct{})
	for w := range 200 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				token, _, err := apikey.Generate("tsk_")
				if err != nil {
					t.Error(err)
					return
				}
				x := ask(p, w, short(apptest.Key{Token: token}))
				sent.Add(1)
				switch {
				case x.status == 401 && x.code == "invalid_api_key":
					refusedN.Add(1)
				case x.status == 503 && x.code == "overloaded":
					overloaded.Add(1)
				default:
					other.Add(1)
				}
			}
		})
	}
	var slowest time.Duration
	served := 0
	for time.Since(began) < 3*time.Second {
		r := p.Do(short(good))
		if r.Status != 200 {
			t.Fatalf("a good key amid the spray: %d %s", r.Status, r.Body)
		}
		slowest = max(slowest, r.Took)
		served++
	}
	close(stop)
	all.Wait()
	took := time.Since(began)
	looked := p.Statements() - statements
	t.Logf("%d unknown keys in %s: %d times 401, %d times 503 overloaded; %d statements (%.0f a second); a good key was served %d times meanwhile, slowest %s",
		sent.Load(), took.Round(time.Millisecond), refusedN.Load(), overloaded.Load(), looked, float64(looked)/took.Seconds(), served, slowest.Round(time.Millisecond))
	if most := int64(1000*(took.Seconds()+1)) + 200; looked > most {
		t.Errorf("%d statements, %d are the most", looked, most)
	}
	if other.Load() > 0 || sent.Load() < 400 {
		t.Errorf("%d other answers of %d", other.Load(), sent.Load())
	}

	// One unknown key again and again is looked up once in ten seconds.
	token, _, err := apikey.Generate("tsk_")
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second) // the bucket is full again, and so many are answered at once
	statements = p.Statements()
	for range 90 {
		if r := p.Do(short(apptest.Key{Token: token})); r.Status != 401 {
			t.Fatalf("%d %s", r.Status, r.Body)
		}
	}
	if again := p.Statements() - statements; again > 20 {
		t.Errorf("%d statements for one unknown key", again)
	}
}

// typos are keys whose checksum is wrong, and texts that are none.
func typos(t *testing.T, p *apptest.Proxy, good apptest.Key) {
	time.Sleep(time.Second) // so many are answered at once
	statements := p.Statements()
	for i := range 90 {
		b := []byte(good.Token)
		at := len(b) - 1 - i%50
		b[at] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[(i*7+int(b[at]))%62]
		if string(b) == good.Token {
			continue
		}
		if r := p.Do(short(apptest.Key{Token: string(b)})); r.Status != 401 || r.Code() != "invalid_api_key" {
			t.Fatalf("%s: %d %s", b, r.Status, r.Body)
		}
	}
	if n := p.Statements() - statements; n > 20 {
		t.Errorf("%d statements for keys with wrong checksums", n)
	}
}

// memory is what the process has resident, in bytes.
func memory(t *testing.T, p *apptest.Proxy) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		t.Logf("the memory of a process is not known here: %v", err)
		return 0
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		var kb int64
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kb); err == nil {
			return kb << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
