package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenrelay/shared/apptest"
	"tokenrelay/shared/store"
	"tokenrelay/shared/store/storetest"
)

// soon is what the relay promises: a change is seen by every proxy within it.
const soon = time.Second

// slack is what a loaded test machine may add to a moment that the client measures.
const slack = 150 * time.Millisecond

// long says whether the longer forms run.
var long = os.Getenv("RELAY_LONG") == "1"

// sample is one request of a load.
type sample struct {
	proxy      int
	start, end time.Time
	status     int
	code, id   string
	err        error
}

// load sends requests at a fixed rate, whatever becomes of them.
type load struct {
	stop    chan struct{}
	done    chan struct{}
	running sync.WaitGroup
	mu      sync.Mutex
	samples []sample
}

// startLoad sends perSecond requests a second in all, to the proxies in turn.
func startLoad(s *apptest.Stack, perSecond int, request func(i int) apptest.Request) *load {
	l := &load{stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		began := time.Now()
		for i := 0; ; i++ {
			select {
			case <-l.stop:
				return
			case <-time.After(time.Until(began.Add(time.Duration(i) * time.Second / time.Duration(perSecond)))):
			}
			n := i % len(s.Proxies)
			r := request(i)
			l.running.Go(func() { l.add(ask(s.Proxies[n], n, r)) })
		}
	}()
	return l
}

func (l *load) add(x sample) {
	l.mu.Lock()
	l.samples = append(l.samples, x)
	l.mu.Unlock()
}

// end stops the load and gives what came of it.
func (l *load) end() []sample {
	close(l.stop)
	<-l.done
	l.running.Wait()
	return l.samples
}

// ask sends one request; it fails no test.
func ask(p *apptest.Proxy, n int, r apptest.Request) sample {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	x := sample{proxy: n, start: time.Now()}
	resp, err := apptest.Fetch(ctx, p.URL, r)
	x.end, x.err = time.Now(), err
	if err == nil {
		x.status, x.code, x.id, x.err = resp.Status, resp.Code(), resp.ID(), resp.Err
	}
	return x
}

// counts says how often each answer was given.
func counts(list []sample) map[string]int {
	m := map[string]int{}
	for _, x := range list {
		switch {
		case x.err != nil:
			m["error: "+x.err.Error()]++
		case x.code != "":
			m[fmt.Sprintf("%d %s", x.status, x.code)]++
		default:
			m[fmt.Sprint(x.status)]++
		}
	}
	return m
}

// untilAll polls every proxy on its own and gives how long after since each first
// answered as wanted.
func untilAll(t *testing.T, s *apptest.Stack, since time.Time, what string, r apptest.Request, wanted func(sample) bool) []time.Duration {
	t.Helper()
	took := make([]time.Duration, len(s.Proxies))
	var all sync.WaitGroup
	var failed atomic.Pointer[sample]
	for n, p := range s.Proxies {
		all.Go(func() {
			for {
				x := ask(p, n, r)
				if wanted(x) {
					took[n] = x.end.Sub(since)
					return
				}
				if time.Since(since) > 5*time.Second {
					failed.Store(&x)
					return
				}
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	all.Wait()
	if x := failed.Load(); x != nil {
		t.Fatalf("%s: proxy %d still answers %d %s %v after 5 s", what, x.proxy, x.status, x.code, x.err)
	}
	return took
}

// spread prints the times of a change and fails the test if one is too long.
func spread(t *testing.T, what string, times []time.Duration) {
	t.Helper()
	slices.Sort(times)
	p50, longest := times[len(times)/2], times[len(times)-1]
	t.Logf("%s: seen by all proxies after p50 %s, max %s (%d observations)", what, p50.Round(100*time.Microsecond), longest.Round(100*time.Microsecond), len(times))
	if longest > soon {
		t.Errorf("%s: %s, promised within %s", what, longest, soon)
	}
}

// operator calls the operator API of an admin and gives when it had answered.
func operator(t *testing.T, s *apptest.Stack, method, path, body string, dst any) time.Time {
	t.Helper()
	r := apptest.Request{Method: method, Path: path, Body: body, Header: http.Header{
		"Authorization": {"Bearer " + s.OperatorToken}, "Content-Type": {"application/json"},
	}}
	resp, err := apptest.Fetch(t.Context(), s.AdminURLs[0], r)
	at := time.Now()
	if err != nil || resp.Status >= 300 {
		t.Fatalf("%s %s: %v %+v", method, path, err, resp)
	}
	if dst != nil {
		var envelope struct{ Data json.RawMessage }
		if err := json.Unmarshal(resp.Body, &envelope); err != nil || envelope.Data == nil {
			t.Fatalf("%s %s: %v %s", method, path, err, resp.Body)
		}
		if err := json.Unmarshal(envelope.Data, dst); err != nil {
			t.Fatalf("%s %s: %v %s", method, path, err, resp.Body)
		}
	}
	return at
}

func disable(t *testing.T, s *apptest.Stack, k apptest.Key) time.Time {
	t.Helper()
	return operator(t, s, "POST", "/admin/v1/api-keys/"+k.ID+"/disable", "", nil)
}

func enable(t *testing.T, s *apptest.Stack, k apptest.Key) time.Time {
	t.Helper()
	return operator(t, s, "POST", "/admin/v1/api-keys/"+k.ID+"/enable", "", nil)
}

func revoke(t *testing.T, s *apptest.Stack, k apptest.Key) time.Time {
	t.Helper()
	return operator(t, s, "DELETE", "/admin/v1/api-keys/"+k.ID, "", nil)
}

// database opens the stack's database, for what no command offers.
func database(t *testing.T, s *apptest.Stack) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), s.DatabaseURL, store.Options{ApplicationName: "fleet test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

// cutListeners ends the proxies' listening connections as soon as they are there,
// until the returned function is called, which says how many were ended.
func cutListeners(t *testing.T, s *apptest.Stack) func() int64 {
	t.Helper()
	stop, done := make(chan struct{}), make(chan struct{})
	storetest.Exec(t, s.DatabaseURL, `CREATE TABLE IF NOT EXISTS test_cut (n bigint)`)
	storetest.Exec(t, s.DatabaseURL, `TRUNCATE test_cut`)
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			_, err := storetest.Try(s.DatabaseURL, `DO $$ DECLARE n bigint := 0; BEGIN
				FOR i IN 1..50 LOOP
					PERFORM pg_stat_clear_snapshot();
					n := n + (SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
						WHERE datname = current_database() AND application_name LIKE 'relay-proxy % listen');
					PERFORM pg_sleep(0.01);
				END LOOP;
				INSERT INTO test_cut VALUES (n);
			END $$`)
			if err != nil {
				t.Errorf("cannot cut the listeners: %v", err)
				return
			}
		}
	}()
	return sync.OnceValue(func() int64 {
		close(stop)
		<-done
		return storetest.Value[int64](t, s.DatabaseURL, `SELECT sum(n)::bigint FROM test_cut`)
	})
}

// warm sends each key once to every proxy.
func warm(t *testing.T, s *apptest.Stack, keys ...apptest.Key) {
	t.Helper()
	for _, p := range s.Proxies {
		for _, k := range keys {
			if r := p.Do(apptest.Chat(k.Token, "mock-chat", "hello mock:out=3")); r.Status != 200 {
				t.Fatalf("%s: %d %s", p.Name, r.Status, r.Body)
			}
		}
	}
}

func accepted(x sample) bool { return x.status == 200 }
func refused(x sample) bool  { return x.status == 401 }

// short is a small request.
func short(k apptest.Key) apptest.Request {
	return apptest.Chat(k.Token, "mock-chat", "hello mock:out=3", `"max_tokens":10`)
}

// same gives the same request for ever.
func same(r apptest.Request) func(int) apptest.Request {
	return func(int) apptest.Request { return r }
}
