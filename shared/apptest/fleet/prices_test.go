package fleet

import (
	"fmt"
	"testing"
	"time"

	"tokenrelay/shared/apptest"
	"tokenrelay/shared/apptest/mockllm"
	"tokenrelay/shared/store/storetest"
)

// S2-6, D7, F7: prices change under 300 requests a second. Each proxy charges by the
// new one within a second of the change's answer, and every row's charge is exactly
// that of the price row it names.
func TestPriceChangesUnderLoad(t *testing.T) {
	s := apptest.Start(t, apptest.Options{Proxies: 3})
	c := s.CreateClient("acme", "1000")
	k := s.CreateKey(c.Name)
	warm(t, s, k)
	rounds := 6
	if long {
		rounds = 60
	}
	type state struct {
		Model   string `json:"model"`
		PriceID int64  `json:"price_id"`
	}
	type change struct {
		id            int64
		at            time.Time
		input, output int64 // nano-USD a token
	}
	var now state
	operator(t, s, "GET", "/admin/v1/models/mock-chat/price", "", &now)
	prices := []change{{id: now.PriceID, input: 2_000, output: 10_000}}

	// Some run on while the price changes: theirs is the one of their admission.
	slow := apptest.Chat(k.Token, "mock-chat", "hello mock:id=slow;out=5;delay=400ms", `"max_tokens":10`)
	l := startLoad(s, 300, func(i int) apptest.Request {
		if i%10 < 3 {
			return slow
		}
		return short(k)
	})
	time.Sleep(700 * time.Millisecond)
	for i := range rounds {
		p := change{input: int64(3_000 + 1_000*i), output: int64(20_000 - 1_000*(i%19))}
		var made state
		p.at = operator(t, s, "POST", "/admin/v1/models/mock-chat/price",
			fmt.Sprintf(`{"price":{"input":"%d","output":"%d"},"seen":%d}`, p.input/1000, p.output/1000, prices[i].id), &made)
		p.id = made.PriceID
		prices = append(prices, p)
		time.Sleep(1200 * time.Millisecond)
	}
	list := l.end()
	s.Audit()
	for _, x := range list {
		if x.err != nil || x.status != 200 {
			t.Fatalf("%d %s %v", x.status, x.code, x.err)
		}
	}

	type row struct {
		Slot     int16
		Admitted int64
		PriceID  int64
		Charge   int64
		Input    int64
		Output   int64
	}
	rows := storetest.Rows[row](t, s.DatabaseURL, `SELECT slot, admitted_us, price_id, charge, units[1], units[5] FROM usage WHERE model = 'mock-chat' ORDER BY admitted_us`)
	if want := len(list) + 3; len(rows) != want {
		t.Errorf("%d rows for %d requests", len(rows), want)
	}
	byPrice := map[int64]int{}
	last := map[int16]int{} // slot → the newest price it has charged by
	seen := map[[2]int64]time.Time{}
	var times []time.Duration
	wrong := 0
	for _, r := range rows {
		i := 0
		for i < len(prices) && prices[i].id != r.PriceID {
			i++
		}
		if i == len(prices) {
			t.Fatalf("a charge by the unknown price %d", r.PriceID)
		}
		byPrice[r.PriceID]++
		if want := r.Input*prices[i].input + r.Output*prices[i].output; r.Charge != want && wrong < 5 {
			wrong++
			t.Errorf("price %d, %d + %d tokens: charged %d, want %d", r.PriceID, r.Input, r.Output, r.Charge, want)
		}
		at := time.UnixMicro(r.Admitted)
		// No proxy goes back to an older price.
		if i < last[r.Slot] {
			t.Errorf("slot %d charged by price %d after it had a newer one", r.Slot, r.PriceID)
		}
		last[r.Slot] = i
		if i+1 < len(prices) {
			if late := at.Sub(prices[i+1].at); late > soon {
				t.Errorf("slot %d still used the old price %s after the change", r.Slot, late)
			}
		}
		if i > 0 {
			if key := [2]int64{int64(r.Slot), r.PriceID}; seen[key].IsZero() {
				seen[key] = at
				times = append(times, max(0, at.Sub(prices[i].at)))
			}
		}
	}
	if len(times) != 3*rounds {
		t.Errorf("%d first charges by new prices on three proxies, want %d", len(times), 3*rounds)
	}
	spread(t, "a price changed (first charge by it)", times)
	t.Logf("%d requests, charges by price %v", len(list), byPrice)

	// The mock's meter and the rows agree about what was served.
	sum, err := s.Meter.Summary()
	if err != nil {
		t.Fatal(err)
	}
	var served mockllm.Units
	for _, r := range rows {
		served.Input += r.Input
		served.Output += r.Output
	}
	if served.Input != sum.Total.Usage.Input || served.Output != sum.Total.Usage.Output {
		t.Errorf("rows say %d + %d tokens, the provider's meter %d + %d", served.Input, served.Output, sum.Total.Usage.Input, sum.Total.Usage.Output)
	}
}
