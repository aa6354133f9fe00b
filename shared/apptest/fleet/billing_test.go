package fleet

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"tokenrelay/shared/apptest"
	"tokenrelay/shared/apptest/mockllm"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store/storetest"
)

// call is a row of /openapi/v1/billing/detail.
type call struct {
	RequestID  string       `json:"request_id"`
	Model      string       `json:"model"`
	Stream     bool         `json:"stream"`
	Status     string       `json:"status"`
	HTTPStatus int          `json:"http_status"`
	Code       string       `json:"code"`
	Input      int64        `json:"input_tokens"`
	Output     int64        `json:"output_tokens"`
	Reserved   money.Amount `json:"reserved"`
	Charge     money.Amount `json:"charge"`
}

type balance struct {
	Balance   money.Amount `json:"balance"`
	Reserved  money.Amount `json:"reserved"`
	Available money.Amount `json:"available"`
}

// customer reads the customer API through a proxy's public port.
func customer[T any](t *testing.T, p *apptest.Proxy, k apptest.Key, path string) T {
	t.Helper()
	r := p.Do(apptest.Request{Method: "GET", Path: "/openapi/v1" + path, Header: http.Header{"Authorization": {"Bearer " + k.Token}}})
	var envelope struct{ Data T }
	if r.Status != 200 {
		t.Fatalf("%s: %d %s", path, r.Status, r.Body)
	}
	if err := json.Unmarshal(r.Body, &envelope); err != nil {
		t.Fatalf("%s: %v %s", path, err, r.Body)
	}
	return envelope.Data
}

type page struct {
	Items []call  `json:"items"`
	Next  *string `json:"next_cursor"`
}

// rowOf waits for the row of a request and gives how long it took to be there.
func rowOf(t *testing.T, p *apptest.Proxy, k apptest.Key, id string, since time.Time) (call, time.Duration) {
	t.Helper()
	var got call
	apptest.Eventually(t, 5*time.Second, "the row of "+id, func() bool {
		list := customer[page](t, p, k, "/billing/detail?request_id="+id)
		if len(list.Items) == 1 {
			got = list.Items[0]
		}
		return len(list.Items) == 1
	})
	return got, time.Since(since)
}

// S0-21, S2-16, S3-17.
// S1-33: the charge is in the customer's billing within a second of the answer, by
// the public port of any proxy, and the balance has moved by exactly that.
func TestChargeIsInTheBillingWithinASecond(t *testing.T) {
	s := apptest.Start(t, apptest.Options{Proxies: 3})
	s.CreateClient("acme", "10")
	k := s.CreateKey("acme")
	var times []time.Duration
	had := customer[balance](t, s.Proxy(0), k, "/balance")
	if had.Balance != 10_000_000_000 || had.Reserved != 0 || had.Available != had.Balance {
		t.Errorf("%+v", had)
	}
	for i := range 24 {
		id := fmt.Sprintf("bill%d", i)
		ask := fmt.Sprintf("hello mock:id=%s;out=%d", id, 10+i)
		p, other := s.Proxy(i%3), s.Proxy((i+1)%3)
		stream := i%2 == 1
		r := apptest.Chat(k.Token, "mock-chat", ask)
		switch {
		case i%4 == 2:
			r = apptest.Messages(k.Token, "mock-claude", ask)
		case i%4 == 3:
			r = apptest.Messages(k.Token, "mock-claude", ask, `"stream":true`)
		case stream:
			r = apptest.Chat(k.Token, "mock-chat", ask, `"stream":true`)
		}
		answer := p.Do(r)
		at := time.Now()
		if answer.Status != 200 {
			t.Fatalf("%d %s", answer.Status, answer.Body)
		}
		row, took := rowOf(t, other, k, answer.ID(), at)
		times = append(times, took)
		meter, err := s.Meter.Wait(mockllm.Filter{Marker: id}, 1, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		want := call{
			RequestID: answer.ID(), Model: "mock-chat", Stream: stream, Status: "success", HTTPStatus: 200,
			Input: meter[0].Usage.Input, Output: int64(10 + i), Charge: money.Amount(apptest.Cost(*meter[0].Usage)),
		}
		if i%4 >= 2 {
			want.Model = "mock-claude"
		}
		if row.Reserved < row.Charge || row.Reserved == 0 {
			t.Errorf("a hold of %s for a charge of %s", row.Reserved, row.Charge)
		}
		row.Reserved = 0
		if row != want {
			t.Errorf("the row says\n%+v, want\n%+v", row, want)
		}
		now := customer[balance](t, other, k, "/balance")
		if had.Balance-now.Balance != want.Charge {
			t.Errorf("the balance moved by %s, the charge is %s", had.Balance-now.Balance, want.Charge)
		}
		had = now
	}
	spread(t, "the row of a charge", times)
	s.Audit()
}

// reserved shows the holds of running requests on all proxies and goes back to zero.
func TestReservedShowsRunningHolds(t *testing.T) {
	s := apptest.Start(t, apptest.Options{Proxies: 3})
	s.CreateClient("acme", "10")
	k := s.CreateKey("acme")
	began := time.Now()
	for _, p := range s.Proxies {
		for range 2 {
			st := p.Open(apptest.Chat(k.Token, "mock-chat", "hello mock:out=30;gap=100ms", `"stream":true`, `"max_tokens":1000`))
			go func() { _, _ = st.Rest() }()
		}
	}
	var shown balance
	apptest.Eventually(t, 3*time.Second, "the holds are shown", func() bool {
		shown = customer[balance](t, s.Proxy(0), k, "/balance")
		return shown.Reserved > 5*12_600_000 // more than five of the six
	})
	t.Logf("six holds of %s in all were shown %s after the first", shown.Reserved, time.Since(began).Round(time.Millisecond))
	if shown.Available != shown.Balance-shown.Reserved {
		t.Errorf("%+v", shown)
	}
	if e := s.Wallet("acme").Escrowed; e == "0" {
		t.Error("the operator sees nothing lent out")
	}
	most := shown.Reserved
	s.Settled()
	ended := time.Now()
	apptest.Eventually(t, 3*time.Second, "nothing is reserved", func() bool {
		shown = customer[balance](t, s.Proxy(1), k, "/balance")
		return shown.Reserved == 0
	})
	t.Logf("nothing reserved %s after the end", time.Since(ended).Round(time.Millisecond))
	var holds money.Amount
	for _, row := range customer[page](t, s.Proxy(2), k, "/billing/detail").Items {
		holds += row.Reserved
	}
	if holds != most {
		t.Errorf("%s were shown, the rows tell of holds of %s", most, holds)
	}
	s.Audit()
}

// S2-11.
// D13: what failed at the provider is a row of its status with charge 0, its hold
// released; what was refused is a row up to ten times per key, code and minute, and
// counted in the roll-up beyond.
func TestFailedAndRefusedCallsHaveRows(t *testing.T) {
	s := apptest.Start(t, apptest.Options{Proxies: 2})
	s.CreateClient("acme", "10")
	k := s.CreateKey("acme")
	p := s.Proxy(0)
	// Each at a provider of its own: two failures in a row are enough for some.
	for _, f := range []struct {
		model  string
		script string
		status int
		code   string
		row    string
	}{
		{"mock-chat", "status=500", 502, "upstream_error", "failed"},
		{"mock-deepseek", "cut=headers", 502, "upstream_error", "failed"},
		{"mock-mistral", "error=account_empty", 502, "upstream_error", "failed"},
		{"mock-groq", "error=context_length", 400, "invalid_request", "failed"},
	} {
		r := p.Do(apptest.Chat(k.Token, f.model, "hello mock:"+f.script))
		made := f.code // the header names errors that the relay made
		if f.status == 400 {
			made = ""
		}
		if r.Status != f.status || r.Code() != made {
			t.Errorf("%s: %d %s %s", f.script, r.Status, r.Code(), r.Body)
		}
		row, _ := rowOf(t, s.Proxy(1), k, r.ID(), time.Now())
		if row.Status != f.row || row.HTTPStatus != f.status || row.Code != f.code || row.Charge != 0 || row.Output != 0 || row.Reserved == 0 {
			t.Errorf("%s: %+v", f.script, row)
		}
	}
	apptest.Eventually(t, 3*time.Second, "the holds are released", func() bool {
		b := customer[balance](t, p, k, "/balance")
		return b == balance{Balance: 10_000_000_000, Available: 10_000_000_000}
	})

	// Of 65 refusals of three kinds on one proxy, within one minute.
	if left := 60 - time.Now().Second(); left < 4 {
		time.Sleep(time.Duration(left+1) * time.Second)
	}
	narrow := s.CreateKey("acme", "--models", "mock-claude")
	poor := s.CreateClient("poor", "0")
	poorKey := s.CreateKey(poor.Name)
	for i := range 25 {
		if r := p.Do(short(narrow)); r.Status != 403 || r.Code() != "model_not_allowed" {
			t.Fatalf("%d %s", r.Status, r.Body)
		}
		if r := p.Do(short(poorKey)); r.Status != 402 || r.Code() != "insufficient_balance" {
			t.Fatalf("%d %s", r.Status, r.Body)
		}
		if i < 15 {
			if r := p.Do(apptest.Chat(narrow.Token, "no-such-model", "hi")); r.Status != 400 || r.Code() != "unknown_model_pricing" {
				t.Fatalf("%d %s", r.Status, r.Body)
			}
		}
	}
	s.Settled()
	rows := map[string]int{}
	for key, reader := range map[string]apptest.Key{"narrow": k, "poor": poorKey} {
		id := narrow.ID
		if key == "poor" {
			id = poorKey.ID
		}
		for _, row := range customer[page](t, s.Proxy(1), reader, "/billing/detail?status=refused&limit=200&key_id="+id).Items {
			rows[key+" "+row.Code]++
			if row.Status != "refused" || row.Charge != 0 || row.Reserved != 0 || row.HTTPStatus < 400 || row.RequestID == "" {
				t.Errorf("%+v", row)
			}
		}
	}
	want := map[string]int{"narrow model_not_allowed": 10, "narrow unknown_model_pricing": 10, "poor insufficient_balance": 10}
	if fmt.Sprint(rows) != fmt.Sprint(want) {
		t.Errorf("rows %v, want %v", rows, want)
	}
	type count struct {
		Code string
		N    int64
	}
	wanted := fmt.Sprint([]count{{"insufficient_balance", 25}, {"model_not_allowed", 25}, {"unknown_model_pricing", 15}})
	var counted []count
	apptest.Eventually(t, 3*time.Second, "the roll-up counts all refusals: "+wanted, func() bool {
		counted = storetest.Rows[count](t, s.DatabaseURL, `SELECT code, sum(n)::bigint FROM code_hourly
			WHERE code IN ('insufficient_balance', 'model_not_allowed', 'unknown_model_pricing') GROUP BY code ORDER BY code`)
		return fmt.Sprint(counted) == wanted
	})
	t.Logf("rows %v, roll-up %v", rows, counted)
	s.Audit()
}
