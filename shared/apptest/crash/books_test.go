package crash

import (
	"fmt"
	"slices"
	"time"

	"tokenrelay/shared/apptest"
	"tokenrelay/shared/apptest/mockllm"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
	"tokenrelay/shared/store/storetest"
	"tokenrelay/shared/usage"
)

// tally is the comparison of what clients saw, what the provider's meter says and what
// is in the books.
type tally struct {
	requests    int // that the relay answered or broke off
	upstream    int // that reached the provider
	whole       int // answered to the end
	interrupted int // rows of requests that ended with their proxy
	settled     int // rows of finished requests whose client did not get all of it
	unbilled    int // reached the provider, ended with their proxy before any output
	refused     int // answered with an error, nothing sent upstream

	lost, doubled, wrong int
	overspent            int // wallets that paid more than they had

	charged  money.Amount
	produced money.Amount // at the price list, by the meter
	cut      money.Amount // produced and not charged because a proxy died: all of it, and of that
	dead     money.Amount // what the provider wrote when the proxy was dead already
	early    money.Amount // answers of which no output had come through: unread, or read and not yet in the slot
	guessed  money.Amount // input of cut Chat streams, which is estimated and tends to be low
	chunks   float64      // of streams that were cut amid their output: on the wire when the proxy died
	worst    float64      // of one of them
}

func (c *tally) String() string {
	share := func(part money.Amount) float64 { return 100 * float64(part) / float64(max(1, c.produced)) }
	return fmt.Sprintf("%d requests, %d reached the provider, %d answered whole, %d interrupted, %d settled unseen, %d cut before any output, %d refused; lost %d, doubled %d, wrong %d; charged %s of %s USD produced, not billed because a proxy died %s USD (%.3f %%): on the wire when it died %.3f %% (%.3f %% of answers without any output yet, the rest %.2f chunks of each cut stream, at most %.1f), written when it was dead already %.3f %%, input estimated too low %.3f %%",
		c.requests, c.upstream, c.whole, c.interrupted, c.settled, c.unbilled, c.refused, c.lost, c.doubled, c.wrong, c.charged, c.produced, c.cut, share(c.cut),
		share(c.cut-c.dead-c.guessed), share(c.early), c.chunks/float64(max(1, c.interrupted)), c.worst, share(c.dead), share(c.guessed))
}

// faults is how many differences are printed.
const faults = 20

// compare checks every request of the load by its marker and by its request id, and
// fails the test where meter and books differ. The proxies are at rest.
func (l *load) compare() *tally { return l.w.compare(l) }

// compare checks all that the loads did.
func (w *world) compare(loads ...*load) *tally {
	w.t.Helper()
	apptest.Eventually(w.t, 20*time.Second, "the provider has ended everything", func() bool {
		s, err := w.Meter.Summary()
		return err == nil && s.Total.Open == 0
	})
	c := &tally{}
	metered := map[string][]mockllm.Record{}
	known := map[string]bool{}
	for _, l := range loads {
		records, err := w.Meter.Requests(mockllm.Filter{MarkerPrefix: l.name + "-"})
		if err != nil {
			w.t.Fatal(err)
		}
		for _, r := range records {
			metered[r.Marker] = append(metered[r.Marker], r)
		}
		c.upstream += len(records)
		c.requests += len(l.answers)
		for _, a := range l.answers {
			known[a.marker] = true
		}
	}
	booked := map[string][]store.UsageRow{}
	ids := map[string]int{}
	fault := func(n *int, format string, args ...any) {
		if *n++; c.lost+c.doubled+c.wrong <= faults {
			w.t.Errorf(format, args...)
		}
	}
	for i := range w.accounts {
		a := &w.accounts[i]
		charged := money.Amount(0)
		for _, row := range w.rows(a) {
			charged += row.Charge
			booked[row.ClientRequestID] = append(booked[row.ClientRequestID], row)
			if ids[row.ID.String()]++; ids[row.ID.String()] > 1 {
				fault(&c.doubled, "request %s has %d rows", row.ID, ids[row.ID.String()])
			}
			if !known[row.ClientRequestID] {
				fault(&c.wrong, "a row that no client asked for: %+v", row)
			}
		}
		c.charged += charged
		b, err := w.db.WalletBalance(w.t.Context(), a.walletID)
		if err != nil {
			w.t.Fatal(err)
		}
		// What a charge of a lease that was closed as lost finds no money for is a debt, and
		// visible; nowhere else may there be one.
		debt := money.Amount(storetest.Value[int64](w.t, w.DatabaseURL, `SELECT coalesce(sum(amount), 0)::bigint FROM entry WHERE wallet_id = $1 AND kind = 'bad_debt'`, a.walletID))
		if b.Balance < 0 || charged-debt > a.credit {
			c.overspent++
		}
		if debt != 0 && !slices.ContainsFunc(loads, func(l *load) bool { return l.late }) {
			c.overspent++
			fault(&c.wrong, "%s: a debt of %s", a.name, debt)
		}
		if b.Balance != a.credit-charged+debt || b.Balance < 0 {
			fault(&c.wrong, "%s: balance %s after a credit of %s, charges of %s and debts of %s", a.name, b.Balance, a.credit, charged, debt)
		}
	}
	for _, l := range loads {
		for _, a := range l.answers {
			l.judge(c, a, metered[a.marker], booked[a.marker], fault)
			delete(metered, a.marker)
		}
	}
	for marker := range metered {
		fault(&c.wrong, "the provider got %s, which no client sent", marker)
	}
	if n := c.lost + c.doubled + c.wrong; n > 0 {
		w.t.Errorf("the books differ in %d places: lost %d, doubled %d, wrong %d", n, c.lost, c.doubled, c.wrong)
	}
	return c
}

// judge compares one request.
func (l *load) judge(c *tally, a *answer, recs []mockllm.Record, rows []store.UsageRow, fault func(*int, string, ...any)) {
	if len(recs) > 1 {
		fault(&c.wrong, "%v: sent upstream %d times", a, len(recs))
		return
	}
	if len(rows) > 1 {
		fault(&c.doubled, "%v: %d rows", a, len(rows))
		return
	}
	if len(recs) == 0 {
		if len(rows) > 0 {
			fault(&c.wrong, "%v: never reached the provider, but has a row: %+v", a, rows[0].Record)
		}
		if a.status == 200 {
			fault(&c.wrong, "%v: an answer that nobody gave", a)
		}
		if a.status != 0 {
			c.refused++
		}
		return
	}
	rec := &recs[0]
	produced := cost(&rec.Produced)
	if l.price != nil && len(rows) > 0 && rows[0].Status == usage.Success {
		produced = rows[0].Charge // at which of its prices is judged below
	}
	c.produced += produced
	if a.whole && a.status == 200 {
		c.whole++
	}
	if len(rows) == 0 {
		// Nothing of the answer may have got to the client.
		if a.text > 0 || a.whole && a.status == 200 {
			fault(&c.lost, "%v: answered and not in the books; the meter says %+v", a, *rec)
			return
		}
		c.unbilled++
		dead := cost(&rec.Unheard)
		c.cut += produced
		c.dead += dead
		c.early += produced - dead
		return
	}
	row := &rows[0]
	if a.id != "" && a.id != row.ID.String() {
		fault(&c.wrong, "%v: its row is of request %s", a, row.ID)
	}
	model := map[bool]string{false: "crash-chat", true: "crash-messages"}[rec.Lane == "anthropic"]
	if l.model != "" {
		model = l.model
	}
	if row.Model != model || row.Charge > row.Hold || row.Late && !l.late {
		fault(&c.wrong, "%v: %+v", a, row.Record)
	}
	switch {
	case row.Status == usage.Success:
		// Exactly what the provider's meter says, also if the client did not live to see it.
		if rec.Usage == nil || row.Units != units(rec.Usage) || !slices.Contains(l.prices(a, rec.Usage), row.Charge) || row.Source != usage.SourceReported {
			fault(&c.wrong, "%v: charged %s for %v (%s), the meter says %+v", a, row.Charge, row.Units, row.Source, *rec)
		}
		if !a.whole {
			c.settled++
		}
	case row.Status == usage.Interrupted && !a.whole:
		c.interrupted++
		input := rec.Produced
		input.Output, input.Reasoning = 0, 0
		u := &row.Units
		guessed := cost(&input) - cost(&mockllm.Units{
			Input: u[usage.Input], CacheRead: u[usage.CacheRead], CacheWrite: u[usage.CacheWrite], CacheWrite1h: u[usage.CacheWrite1h],
		})
		dead := cost(&mockllm.Units{Output: rec.Unheard.Output, Reasoning: rec.Unheard.Reasoning})
		c.cut += produced - row.Charge
		c.dead += dead
		c.guessed += guessed
		if a.stream {
			n := float64(rec.Produced.Output-rec.Unheard.Output-row.Units[usage.Output]-row.Units[usage.Reasoning]) * float64(a.chunks) / float64(a.out)
			c.chunks, c.worst = c.chunks+n, max(c.worst, n)
		}
		// The supplier asks the list price here; it may be noted one event ahead.
		if row.Cost < row.Charge {
			fault(&c.wrong, "%v: charged %s, the supplier's %s: %+v", a, row.Charge, row.Cost, *rec)
		}
		got := mockllm.Units{Output: int64(a.text) / 4}
		if row.Charge > produced || row.Charge < cost(&got) || row.Units[usage.Output] < got.Output || row.Units[usage.Output] > rec.Produced.Output {
			fault(&c.wrong, "%v: charged %s for %v, the client had %s, the provider produced %s: %+v", a, row.Charge, row.Units, cost(&got), produced, *rec)
		}
	default:
		fault(&c.wrong, "%v: status %s %s: %+v", a, row.Status, row.Code, row.Record)
	}
}

// prices are what a request may cost.
func (l *load) prices(a *answer, u *mockllm.Units) []money.Amount {
	if l.price != nil {
		return l.price(a, u)
	}
	return []money.Amount{cost(u)}
}

func cost(u *mockllm.Units) money.Amount { return money.Amount(apptest.Cost(*u)) }

// units are the meter's tokens as the books have them.
func units(u *mockllm.Units) (v usage.Units) {
	v[usage.Input], v[usage.CacheRead], v[usage.CacheWrite], v[usage.CacheWrite1h] = u.Input, u.CacheRead, u.CacheWrite, u.CacheWrite1h
	v[usage.Output] = u.Output - u.Reasoning
	v[usage.Reasoning] = u.Reasoning
	v[usage.Request] = 1
	return v
}
