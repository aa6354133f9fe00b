package fleet

import (
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenrelay/shared/apikey"
	"tokenrelay/shared/apptest"
	"tokenrelay/shared/store"
)

// S0-8, S4-23.
// G1: a key disabled under 300 requests a second is accepted by no proxy later than a
// second after the disable returned, and never again; whatever else hits the proxies.
func TestDisabledKeyUnderLoad(t *testing.T) {
	s := apptest.Start(t, apptest.Options{Proxies: 3})
	c := s.CreateClient("acme", "1000")
	after := 3 * time.Second
	if long {
		after = 20 * time.Second
	}
	for _, f := range []struct {
		name string
		hurt func(t *testing.T) (end func())
	}{
		{"undisturbed", func(*testing.T) func() { return func() {} }},
		{"the proxies' LISTEN connections are cut", func(t *testing.T) func() {
			end := cutListeners(t, s)
			return func() {
				n := end()
				t.Logf("%d listening connections were cut", n)
				if n < 10 {
					t.Error("hardly any were")
				}
			}
		}},
		{"a proxy begins with a cold cache", func(t *testing.T) func() {
			// It comes up while the key is being disabled.
			p := s.Proxy(1)
			p.Kill()
			p.Start()
			time.Sleep(100 * time.Millisecond)
			return p.WaitReady
		}},
	} {
		t.Run(f.name, func(t *testing.T) {
			k := s.CreateKey(c.Name)
			warm(t, s, k)
			l := startLoad(s, 300, same(short(k)))
			time.Sleep(700 * time.Millisecond)
			end := f.hurt(t)
			time.Sleep(100 * time.Millisecond)
			at := disable(t, s, k)
			time.Sleep(after)
			end()
			time.Sleep(500 * time.Millisecond)
			list := l.end()

			before, latest := 0, time.Duration(-1<<62)
			for _, x := range list {
				if accepted(x) {
					before++
					latest = max(latest, x.start.Sub(at))
				}
			}
			t.Logf("%d requests, %v; the last one accepted was sent %s after the disable returned", len(list), counts(list), latest.Round(100*time.Microsecond))
			if latest > soon {
				t.Errorf("accepted %s after the disable", latest)
			}
			if before < 100 {
				t.Error("there was no load")
			}
			for _, x := range list {
				if x.err == nil && x.status != 200 && x.code != "key_disabled" {
					t.Errorf("%d %s", x.status, x.code)
					break
				}
			}
		})
	}
	s.Audit()
}

// S4-23.
// G1, G4, ruling 3.30: a disabled or revoked key's running streams end within a second,
// busy ones and silent ones, with an error in the protocol's shape; a rotated key's
// streams finish, and it opens no new ones.
func TestRunningStreamsOfAKey(t *testing.T) {
	s := apptest.Start(t, apptest.Options{Proxies: 3})
	db := database(t, s)
	c := s.CreateClient("acme", "1000")
	end := map[string]func(t *testing.T, k apptest.Key) time.Time{
		"disable": func(t *testing.T, k apptest.Key) time.Time { return disable(t, s, k) },
		"revoke":  func(t *testing.T, k apptest.Key) time.Time { return revoke(t, s, k) },
		"rotate": func(t *testing.T, k apptest.Key) time.Time {
			token, id, err := apikey.Generate("tsk_")
			if err != nil {
				t.Fatal(err)
			}
			successor := store.NewKey{PublicID: id, Digest: apikey.Digest([]byte(token)), Last4: token[len(token)-4:], Name: "successor", KeyLimits: store.Unlimited()}
			if _, err := db.RotateKey(t.Context(), "test", 0, k.ID, successor); err != nil {
				t.Fatal(err)
			}
			at := time.Now()
			spread(t, "the successor of a rotated key", untilAll(t, s, at, "the successor", short(apptest.Key{Token: token}), accepted))
			return at
		},
	}
	for _, how := range []string{"disable", "revoke", "rotate"} {
		t.Run(how, func(t *testing.T) {
			k := s.CreateKey(c.Name)
			warm(t, s, k)
			type ended struct {
				what string
				at   time.Time
				body string
				err  error
			}
			busy, silent := "hello mock:out=60;gap=50ms", "hello mock:out=60;hang=5;hold=30s"
			if how == "rotate" {
				silent = "hello mock:out=6;gap=500ms"
			}
			requests := map[string]apptest.Request{
				"busy chat":       apptest.Chat(k.Token, "mock-chat", busy, `"stream":true`),
				"silent chat":     apptest.Chat(k.Token, "mock-chat", silent, `"stream":true`),
				"busy messages":   apptest.Messages(k.Token, "mock-claude", busy, `"stream":true`),
				"silent messages": apptest.Messages(k.Token, "mock-claude", silent, `"stream":true`),
			}
			var opened, all sync.WaitGroup
			var mu sync.Mutex
			var list []ended
			for _, p := range s.Proxies {
				for what, r := range requests {
					for range 3 {
						opened.Add(1)
						stagger := rand.N(500 * time.Millisecond) // not all at one point of their waits
						all.Go(func() {
							time.Sleep(stagger)
							st, err := apptest.OpenStream(p.URL, r)
							opened.Done()
							if err != nil {
								t.Error(err)
								return
							}
							defer st.Close()
							b, err := st.Rest()
							mu.Lock()
							list = append(list, ended{what, time.Now(), string(b), err})
							mu.Unlock()
						})
					}
				}
			}
			opened.Wait()
			time.Sleep(100 * time.Millisecond)
			asked := time.Now()
			at := end[how](t, k)
			spread(t, "the old key", untilAll(t, s, at, "the old key", short(k), refused))
			all.Wait()
			var longest time.Duration
			for _, e := range list {
				took := e.at.Sub(at)
				longest = max(longest, took)
				chat := strings.HasSuffix(e.what, "chat")
				whole := strings.HasSuffix(e.body, "data: [DONE]\n\n") || strings.Contains(e.body, "event: message_stop")
				told := strings.Contains(e.body, "data: {\"error\":") && chat || strings.Contains(e.body, "event: error\n") && !chat
				if e.at.Before(asked) { // a proxy may hear of it before the operator reads the answer
					t.Errorf("%s: it had ended before: %s", e.what, e.body)
				}
				if how == "rotate" {
					if e.err != nil || !whole || told {
						t.Errorf("%s: it did not finish: %v …%s", e.what, e.err, e.body[max(0, len(e.body)-300):])
					}
					continue
				}
				if whole || !told {
					t.Errorf("%s: %v …%s", e.what, e.err, e.body[max(0, len(e.body)-300):])
				}
			}
			t.Logf("%s: %d streams on 3 proxies, the last ended after %s", how, len(list), longest.Round(time.Millisecond))
			if how != "rotate" && longest > soon+slack {
				t.Errorf("the last stream ended after %s", longest)
			}
		})
	}
	s.Audit()
}

// G2: many keys, each revoked at the moment at which all proxies load it for the first
// time: none comes back.
func TestRevokeRacingTheFirstUse(t *testing.T) {
	s := apptest.Start(t, apptest.Options{Proxies: 3})
	c := s.CreateClient("acme", "1000")
	n := 60
	if long {
		n = 3000
	}
	keys := make([]apptest.Key, n)
	for i := range keys {
		operator(t, s, "POST", "/admin/v1/clients/"+c.Name+"/api-keys", `{"name":"race"}`, &keys[i])
	}
	stop := cutListeners(t, s)
	defer stop()
	var late, early int
	for _, k := range keys {
		var all sync.WaitGroup
		begin := make(chan struct{})
		answers := make(chan sample, 12)
		for m := range 12 {
			all.Go(func() {
				<-begin
				time.Sleep(time.Duration(m) * 300 * time.Microsecond)
				answers <- ask(s.Proxy(m%3), m%3, short(k))
			})
		}
		close(begin)
		time.Sleep(time.Millisecond)
		revoke(t, s, k)
		all.Wait()
		close(answers)
		for x := range answers {
			if accepted(x) {
				early++
			} else {
				late++
			}
		}
	}
	at := time.Now()
	time.Sleep(soon)
	checks := 0
	for round := range 3 {
		for _, k := range keys {
			for i, p := range s.Proxies {
				checks++
				if x := ask(p, i, short(k)); x.status != 401 || x.code != "key_disabled" {
					t.Fatalf("round %d, proxy %d, %s after the last revocation: %d %s", round, i, time.Since(at), x.status, x.code)
				}
			}
		}
	}
	t.Logf("%d keys: %d first uses came before their revocation, %d after; %d later uses, none accepted", n, early, late, checks)
	if early == 0 || late == 0 {
		t.Error("the two did not race")
	}
	s.Audit()
}
