// Package prove checks the books against what lies outside of them: what proxies hold
// (M6), what journals hold (M16), and a bill that a customer holds (M10).
package prove

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"tokenrelay/shared/journalfile"
	"tokenrelay/shared/money"
	"tokenrelay/shared/proof"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// maxSamples is how many broken things a line names.
const maxSamples = 5

// Held is the money outside of the books, as far as proxies were asked.
type Held struct {
	Proxies   int          `json:"proxies"`   // asked
	Silent    []string     `json:"silent"`    // proxies that should live and did not answer
	Unasked   money.Amount `json:"unasked"`   // lent to silent ones, not settled
	InFlight  money.Amount `json:"in_flight"` // held by running requests
	Free      money.Amount `json:"free"`      // lent, for the next requests
	Unflushed money.Amount `json:"unflushed"` // charged by proxies, not yet in the books
	Records   int64        `json:"records"`   // of Unflushed
}

func broken(l *store.AuditLine, worst money.Amount, sample string) {
	l.Broken++
	l.Worst = max(l.Worst, worst, -worst)
	if len(l.Samples) < maxSamples {
		l.Samples = append(l.Samples, sample)
	}
}

// client asks proxies.
var client = &http.Client{Timeout: 5 * time.Minute}

func get(ctx context.Context, base, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(base, "/")+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("%s answers %s", path, resp.Status)
	}
	return resp, nil
}

// silentError says that a proxy did not answer.
type silentError struct{ error }

func (e *silentError) Unwrap() error { return e.error }

func leases(ctx context.Context, p *store.ProxyRow) (*proof.Leases, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	resp, err := get(ctx, p.InternalURL, proof.LeasesPath)
	if err != nil {
		return nil, &silentError{fmt.Errorf("cannot ask proxy %s: %w", p.Name, err)}
	}
	defer func() { _ = resp.Body.Close() }()
	var l proof.Leases
	if err := json.NewDecoder(resp.Body).Decode(&l); err != nil {
		return nil, fmt.Errorf("cannot ask proxy %s: %w", p.Name, err)
	}
	if l.Slot != p.ID {
		return nil, fmt.Errorf("cannot ask proxy %s: slot %d answers for slot %d", p.Name, l.Slot, p.ID)
	}
	return &l, nil
}

// The pace of asking again while leases are just changing.
const (
	looks   = 40
	lookGap = 50 * time.Millisecond
)

// Leases compares every open lease of every live proxy with what the proxy says (M6):
// granted, returned, that nothing is settled which the proxy has not spent, and that what
// is held is what its running requests hold, each counted by its in-flight slot. A lease
// that is just changing is looked at again.
func Leases(ctx context.Context, db *store.DB) (store.AuditLine, Held, error) {
	line := store.AuditLine{ID: "M6", Name: "leases = what their proxies say: free, held, not flushed"}
	held := Held{Silent: []string{}}
	proxies, err := db.Proxies(ctx)
	if err != nil {
		return line, held, err
	}
	for i := range proxies {
		if p := &proxies[i]; p.Live {
			err := ofProxy(ctx, db, p, &line, &held)
			var silent *silentError
			switch {
			case errors.As(err, &silent) && ctx.Err() == nil:
				// Killed a moment ago, perhaps: its leases are its own until they expire.
				held.Silent = append(held.Silent, p.Name)
				rows, err := db.OpenLeases(ctx, p.ID)
				if err != nil {
					return line, held, err
				}
				for i := range rows {
					if rows[i].WalletID != 0 {
						held.Unasked += rows[i].Granted - rows[i].Settled - rows[i].Returned
					}
				}
			case err != nil:
				return line, held, err
			default:
				held.Proxies++
			}
		}
	}
	return line, held, nil
}

func ofProxy(ctx context.Context, db *store.DB, p *store.ProxyRow, line *store.AuditLine, held *Held) error {
	right := map[int64]bool{}
	var wrong map[int64]string
	var worst money.Amount
	for look := range looks {
		before, err := leases(ctx, p)
		if err != nil {
			return err
		}
		rows, err := db.OpenLeases(ctx, p.ID)
		if err != nil {
			return err
		}
		after, err := leases(ctx, p)
		if err != nil {
			return err
		}
		if look == 0 {
			held.Records += after.Lag
			sum(after, rows, held)
		}
		wrong, worst = map[int64]string{}, 0
		was := byID(before)
		is := byID(after)
		for i := range rows {
			r := &rows[i]
			if right[r.ID] || r.Epoch != after.Epoch {
				continue // an older epoch's lease is its reclaim's business (M14)
			}
			fault, diff := compare(r, was[r.ID], is[r.ID])
			if fault == "" {
				right[r.ID] = true
				continue
			}
			wrong[r.ID], worst = fault, max(worst, diff)
		}
		known := map[int64]bool{}
		for i := range rows {
			known[rows[i].ID] = true
		}
		for id, l := range was {
			if _, still := is[id]; still && !known[id] && !right[id] {
				wrong[id], worst = fmt.Sprintf("lease %d is with proxy %s but not open in the books", id, p.Name), max(worst, l.Granted-l.Returned-l.Spent)
			}
		}
		if len(wrong) == 0 {
			break
		}
		t := time.NewTimer(lookGap)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
	line.Checked += int64(len(right) + len(wrong))
	for _, fault := range wrong {
		broken(line, worst, fault)
	}
	return nil
}

func byID(l *proof.Leases) map[int64]*proof.Lease {
	m := make(map[int64]*proof.Lease, len(l.Leases))
	for i := range l.Leases {
		m[l.Leases[i].ID] = &l.Leases[i]
	}
	return m
}

// sum adds up what a proxy holds.
func sum(l *proof.Leases, rows []store.LeaseRow, held *Held) {
	settled := make(map[int64]money.Amount, len(rows))
	for i := range rows {
		settled[rows[i].ID] = rows[i].Settled
	}
	for i := range l.Leases {
		if x := &l.Leases[i]; x.WalletID != 0 {
			held.InFlight += max(x.Held, 0)
			held.Free += x.Free + x.Returning
			if s, ok := settled[x.ID]; ok {
				held.Unflushed += max(x.Spent-s, 0)
			}
		}
	}
}

// compare looks at one lease: its row, and what its proxy said before and after the row
// was read.
func compare(r *store.LeaseRow, was, is *proof.Lease) (fault string, diff money.Amount) {
	if was == nil || is == nil {
		return fmt.Sprintf("lease %d is open in the books, its proxy does not know it", r.ID), r.Granted - r.Settled - r.Returned
	}
	if was.Granted != is.Granted || was.Returned != is.Returned || was.Returning != is.Returning {
		return fmt.Sprintf("lease %d does not come to rest", r.ID), 0
	}
	if r.Granted != is.Granted {
		return fmt.Sprintf("lease %d: granted %s, its proxy says %s", r.ID, r.Granted, is.Granted), max(r.Granted-is.Granted, is.Granted-r.Granted)
	}
	if r.Returned != is.Returned && r.Returned != is.Returned+is.Returning {
		return fmt.Sprintf("lease %d: returned %s, its proxy says %s", r.ID, r.Returned, is.Returned), max(r.Returned-is.Returned, is.Returned-r.Returned)
	}
	if r.Settled > is.Spent {
		return fmt.Sprintf("lease %d: settled %s, its proxy spent only %s", r.ID, r.Settled, is.Spent), r.Settled - is.Spent
	}
	if low := min(is.Free, is.Held, is.Returning); low < 0 {
		return fmt.Sprintf("lease %d: its proxy has less than nothing of it", r.ID), -low
	}
	if was.Running != nil && is.Running != nil && *was.Running != was.Held && *is.Running != is.Held {
		return fmt.Sprintf("lease %d: %s are held of it, its running requests hold %s", r.ID, is.Held, *is.Running), max(is.Held-*is.Running, *is.Running-is.Held)
	}
	return "", 0
}

// Journals checks that whatever journals offer is in the books (M16): every charge that
// Postgres acknowledged, and, of those it did not yet, how many are still on their way.
// from is "proxies" for those of all live proxies, or folders separated by commas.
func Journals(ctx context.Context, db *store.DB, from string) (store.AuditLine, Held, error) {
	line := store.AuditLine{ID: "M16", Name: "whatever journals hold is in the books"}
	var held Held
	c := &comparison{ctx: ctx, db: db, line: &line, held: &held}
	if from != "proxies" {
		for dir := range strings.SplitSeq(from, ",") {
			r, err := journalfile.Read(dir, func(e *journalfile.Entry) error {
				return c.add(&proof.Offer{ID: e.Record.ID, Charge: e.Record.Charge, Acked: e.Acked, Refused: e.Record.Status == usage.Refused})
			})
			if err != nil {
				return line, held, err
			}
			for _, p := range r.Problems {
				broken(&line, 0, p.Error())
			}
		}
		return line, held, c.flush()
	}
	proxies, err := db.Proxies(ctx)
	if err != nil {
		return line, held, err
	}
	for i := range proxies {
		if p := &proxies[i]; p.Live {
			held.Proxies++
			if err := c.proxy(p); err != nil {
				return line, held, fmt.Errorf("cannot read the journal of proxy %s: %w", p.Name, err)
			}
		}
	}
	return line, held, c.flush()
}

// comparison collects offers, to ask the database about many at once.
type comparison struct {
	ctx     context.Context
	db      *store.DB
	line    *store.AuditLine
	held    *Held
	waiting []store.Offered
	acked   map[reqid.ID]bool
}

func (c *comparison) proxy(p *store.ProxyRow) error {
	resp, err := get(c.ctx, p.InternalURL, proof.JournalPath)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	d := json.NewDecoder(bufio.NewReaderSize(resp.Body, 64<<10))
	for {
		var o proof.Offer
		if err := d.Decode(&o); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if o.End {
			for _, problem := range o.Problems {
				broken(c.line, 0, problem)
			}
			return nil
		}
		if err := c.add(&o); err != nil {
			return err
		}
	}
}

const offersAtOnce = 5000

func (c *comparison) add(o *proof.Offer) error {
	if o.Refused {
		return nil
	}
	if c.acked == nil {
		c.acked = make(map[reqid.ID]bool, offersAtOnce)
	}
	c.line.Checked++
	c.waiting = append(c.waiting, store.Offered{ID: o.ID, Charge: o.Charge})
	c.acked[o.ID] = o.Acked
	if len(c.waiting) < offersAtOnce {
		return nil
	}
	return c.flush()
}

func (c *comparison) flush() error {
	if len(c.waiting) == 0 {
		return nil
	}
	missing, err := c.db.Unbooked(c.ctx, c.waiting)
	if err != nil {
		return err
	}
	for i := range missing {
		switch m := &missing[i]; {
		case m.Booked != nil:
			broken(c.line, m.Charge-money.Amount(*m.Booked), fmt.Sprintf("request %s: %s USD in the journal, %s in the books", m.ID, m.Charge, money.Amount(*m.Booked)))
		case c.acked[m.ID]:
			broken(c.line, m.Charge, fmt.Sprintf("request %s: acknowledged, %s USD, not in the books", m.ID, m.Charge))
		default:
			c.held.Records++
			c.held.Unflushed += m.Charge
		}
	}
	c.waiting = c.waiting[:0]
	clear(c.acked)
	return nil
}

// Bill compares a customer's calls of a month with a CSV of billing detail that the
// customer holds (M10): each line's charge, and that no charge is missing or too much.
func Bill(ctx context.Context, db *store.DB, walletID int64, month time.Time, file io.Reader) (store.AuditLine, error) {
	line := store.AuditLine{ID: "M10", Name: "the customer's CSV of " + month.Format("2006-01") + " = rows"}
	held := map[string]money.Amount{}
	r := csv.NewReader(file)
	header, err := r.Read()
	if err != nil {
		return line, fmt.Errorf("cannot read the CSV: %w", err)
	}
	id, charge := -1, -1
	for i, name := range header {
		switch strings.TrimPrefix(name, "\ufeff") {
		case "request_id":
			id = i
		case "charge_usd":
			charge = i
		}
	}
	if id < 0 || charge < 0 {
		return line, errors.New("cannot read the CSV: it has no columns request_id and charge_usd")
	}
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return line, fmt.Errorf("cannot read the CSV: %w", err)
		}
		amount, err := money.ParseUSD(record[charge])
		if err != nil {
			at, _ := r.FieldPos(charge)
			return line, fmt.Errorf("cannot read the CSV: line %d: %w", at, err)
		}
		if _, twice := held[record[id]]; twice {
			broken(&line, amount, "request "+record[id]+" is in the CSV twice")
			continue
		}
		held[record[id]] = amount
	}
	f := store.UsageFilter{WalletID: walletID, From: month, To: month.AddDate(0, 1, 0), Limit: 1000}
	for {
		rows, err := db.Usage(ctx, f)
		if err != nil {
			return line, err
		}
		for i := range rows {
			u := &rows[i]
			line.Checked++
			name := u.ID.String()
			amount, there := held[name]
			delete(held, name)
			switch {
			case !there && u.Charge != 0:
				broken(&line, u.Charge, "request "+name+" is not in the CSV: "+u.Charge.String()+" USD")
			case there && amount != u.Charge:
				broken(&line, amount-u.Charge, fmt.Sprintf("request %s: %s USD in the CSV, %s in the books", name, amount, u.Charge))
			}
		}
		if len(rows) < f.Limit {
			break
		}
		f.Before = rows[len(rows)-1].ID
	}
	for name, amount := range held {
		if amount != 0 { // refusals cost nothing and are kept as samples
			broken(&line, amount, "request "+name+" is not in the books: "+amount.String()+" USD in the CSV")
		}
	}
	return line, nil
}
