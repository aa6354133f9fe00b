package fleet

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"tokenrelay/shared/apptest"
	"tokenrelay/shared/money"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store/storetest"
)

// F1: three proxies race into a wallet until it is dry. The charges never exceed what
// was paid in, no snapshot of the wallet is below zero, and nobody is told 402 while
// the money was there: balance − open holds ≥ what the request needed.
func TestRaceIntoASmallWallet(t *testing.T) {
	s := apptest.Start(t, apptest.Options{Proxies: 3})
	top := money.Amount(400_000_000) // 0.40 USD
	callers := 24
	if long {
		top, callers = 6_000_000_000, 200
	}
	s.CreateClient("acme", top.String())
	k := s.CreateKey("acme")
	// The hold is for 100 output tokens, the charge for 20 … 100 of them.
	request := func(i int) apptest.Request {
		return apptest.Chat(k.Token, "mock-chat", fmt.Sprintf("hello mock:out=%d;delay=%dms", 20+i*7%81, i%5*10), `"max_tokens":100`)
	}

	// Somebody watches the wallet all the while.
	watching, watched := make(chan struct{}), make(chan struct{})
	lowest := top
	go func() {
		defer close(watched)
		for {
			select {
			case <-watching:
				return
			case <-time.After(20 * time.Millisecond):
				b := storetest.Value[int64](t, s.DatabaseURL, `SELECT min(least(balance, balance - leased)) FROM wallet`)
				lowest = min(lowest, money.Amount(b))
			}
		}
	}()

	var mu sync.Mutex
	var list []sample
	var all sync.WaitGroup
	began := time.Now()
	for caller := range callers {
		all.Go(func() {
			// Until the proxy has said for a second and a half, longer than anybody
			// remembers a refusal, that nothing is left.
			var dry time.Time
			for i := caller; dry.IsZero() || time.Since(dry) < 1500*time.Millisecond; i += callers {
				x := ask(s.Proxy(caller%3), caller%3, request(i))
				mu.Lock()
				list = append(list, x)
				mu.Unlock()
				switch x.status {
				case 402:
					if dry.IsZero() {
						dry = x.end
					}
					time.Sleep(5 * time.Millisecond)
				case 200:
					dry = time.Time{}
				}
				if time.Since(began) > time.Minute {
					return
				}
			}
		})
	}
	all.Wait()
	close(watching)
	<-watched
	took := time.Since(began)
	s.Settled()

	type row struct {
		ID           string
		Hold, Charge int64
	}
	rows := map[string]row{}
	var charged, hold money.Amount
	for _, r := range storetest.Rows[row](t, s.DatabaseURL, `SELECT request_id::text, hold, charge FROM usage`) {
		rows[r.ID] = r
		charged += money.Amount(r.Charge)
		hold = max(hold, money.Amount(r.Hold))
	}
	sum, err := s.Meter.Summary()
	if err != nil {
		t.Fatal(err)
	}
	if want := money.Amount(apptest.Cost(sum.Total.Usage)); charged != want {
		t.Errorf("charged %s, the provider's meter says %s", charged, want)
	}
	if charged > top || lowest < 0 {
		t.Errorf("charged %s of %s, the wallet was at %s once", charged, top, lowest)
	}
	left := top - charged
	t.Logf("%d requests in %s: %v; charged %s of %s, left %s, a hold is %s, lowest snapshot %s",
		len(list), took.Round(time.Millisecond), counts(list), charged, top, left, hold, lowest)
	if left >= hold {
		t.Errorf("%s were left unused, a request needs %s", left, hold)
	}

	// What must have been there at least when somebody was told 402: everything but
	// the charges of requests that had ended, and the holds of those that might have
	// been running.
	type paid struct {
		start, end time.Time
		row
	}
	var served []paid
	for _, y := range list {
		if y.status != 200 {
			continue
		}
		id, err := reqid.Parse(y.id)
		if err != nil {
			t.Fatal(err)
		}
		r, ok := rows[uuid(id)]
		if !ok {
			t.Fatalf("no row of %s", y.id)
		}
		served = append(served, paid{y.start, y.end, r})
	}
	// A refusal is remembered for a second (D2): what a proxy says meanwhile was true
	// when it was found out. Only a 402 without a true one before it is false.
	slices.SortFunc(list, func(a, b sample) int { return a.end.Compare(b.end) })
	var trulyShort [3]time.Time
	false402 := 0
	for _, x := range list {
		switch {
		case x.err != nil:
			t.Fatal(x.err)
		case x.status == 402 && x.code == "insufficient_balance":
		case x.status == 200, x.status == 503 && x.code == "money_unavailable":
			continue
		default:
			t.Fatalf("%d %s", x.status, x.code)
		}
		there := top
		for i := range served {
			switch y := &served[i]; {
			case y.end.Before(x.start):
				there -= money.Amount(y.Charge)
			case !y.start.After(x.end):
				there -= money.Amount(y.Hold)
			}
		}
		if there < hold {
			trulyShort[x.proxy] = x.end
		} else if x.start.Sub(trulyShort[x.proxy]) > time.Second {
			if false402++; false402 <= 5 {
				t.Errorf("402 from proxy %d %s after the start while at least %s were there", x.proxy, x.start.Sub(began), there)
			}
		}
	}
	if false402 > 0 {
		t.Errorf("%d answers of 402 while the money was there", false402)
	}
	s.Audit()
}

// uuid is a request id as Postgres shows it.
func uuid(id reqid.ID) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[0:4], id[4:6], id[6:8], id[8:10], id[10:16])
}
