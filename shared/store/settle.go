package store

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"tokenrelay/shared/ledger"
	"tokenrelay/shared/money"
	"tokenrelay/shared/price"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store/db"
	"tokenrelay/shared/usage"
)

// refusalsPerMinute is how many refusals are stored per key, code and minute (D13).
const refusalsPerMinute = 10

// Bits of usage.late.
const (
	lateWallet = 1 << iota
	lateMonth
	lateTotal
)

// errRace says that a request id is in the books already: its batch was written, and nobody
// heard of it, or somebody else writes it now. The batch is tried again, with a look first.
var errRace = errors.New("a request id was written by another transaction")

// SettleBatch books at most MaxBatch records, in one transaction, idempotently by
// request id; see SettleResult. Records with Status Refused become refusal rows (at
// most 10 per key, code and minute) and counts, and move no money.
//
// Charges of any epoch are accepted: they are facts. A charge whose lease is closed, or
// has less outstanding, is late: the wallet pays what it can without touching what is
// lent to others, and the rest is bad debt.
func (d *DB) SettleBatch(ctx context.Context, slot int16, recs []usage.Record) (SettleResult, error) {
	if len(recs) > MaxBatch {
		return SettleResult{}, fmt.Errorf("cannot settle %d records at once: %w", len(recs), ErrInvalid)
	}
	if len(recs) == 0 {
		return SettleResult{}, nil
	}
	var s *settling
	look, after := false, false // at first: both are rare, and show
	for attempt := 0; ; attempt++ {
		err := d.tx(ctx, func(ctx context.Context, tx pgx.Tx, q *db.Queries) error {
			s = newSettling(slot, recs)
			s.months, s.look, s.after = &d.months, look, after
			if err := s.read(ctx, d, q); err != nil {
				return err
			}
			s.compute()
			return s.write(ctx, tx)
		})
		if err == nil {
			return s.result, nil
		}
		switch {
		case attempt == 3:
		case errors.Is(err, errRace):
			look = true
			continue
		case errors.Is(err, errAfter):
			after = true
			continue
		case errors.Is(err, errMoved):
			d.months.missing(s.direct)
			continue
		}
		return SettleResult{}, fmt.Errorf("cannot settle %d records: %w", len(recs), err)
	}
}

// settling is the state of one attempt at one batch.
type settling struct {
	slot   int16
	recs   []usage.Record
	result SettleResult
	look   bool    // for the records that are in the books already
	after  bool    // note the rows whose day is closed
	months *months // that have a partition
	direct []int32 // those whose partitions are written to

	usage    []int // indexes of records that become usage rows, by id
	refused  []int // of those that become refusal rows, by id
	late     map[int]int16
	wallets  map[int64]*walletState
	budgets  map[budgetID]*budgetState
	leases   map[int64]*leaseState
	minutes  map[minuteID]int64 // refusals stored so far
	hours    map[hourID]*hourState
	attempts map[attemptID]*attemptState
	codes    map[codeID]int64
	badDebts []badDebt

	// What the record before went to: where few keys make most requests, the next goes there too.
	payer     payer
	hourSum   *hourState
	hourLike  *usage.Record // one that went to hourSum
	attempt   *attemptState
	attemptID attemptID
}

// payer is what a charge is taken from.
type payer struct {
	of           *usage.Record // one whose charge is, nil = none
	wallet       *walletState
	lease        *leaseState // nil = none that is known
	month, total *budgetState
}

type walletState struct {
	ledger.Wallet
	charged, unleased money.Amount // what the batch takes from balance and from leased
}

type budgetID struct {
	key    int64
	period int32
}

type budgetState struct{ charged, unleased money.Amount }

type leaseState struct {
	ledger.Lease
	of      Escrow
	settled money.Amount // by the batch
}

type minuteID struct {
	key    int64
	code   string
	minute int64
}

type hourID struct {
	hour        int32
	client, key int64
	model       string
}

type hourState struct {
	status                [usage.Interrupted + 1]int64
	units                 usage.Units
	charge, cost, overrun money.Amount
	in, out               int64
	latency, firstToken   Histogram
}

type codeID struct {
	hourID
	code string
}

type badDebt struct {
	wallet int64
	amount money.Amount
	id     reqid.ID
}

func newSettling(slot int16, recs []usage.Record) *settling {
	s := &settling{
		slot: slot, recs: recs, late: map[int]int16{}, wallets: map[int64]*walletState{}, budgets: map[budgetID]*budgetState{},
		leases: map[int64]*leaseState{}, minutes: map[minuteID]int64{}, hours: map[hourID]*hourState{}, codes: map[codeID]int64{},
		attempts: map[attemptID]*attemptState{},
	}
	s.usage = make([]int, 0, len(recs))
	places := inOrder(recs)
	for k, at := range places {
		r := &recs[at.i]
		switch reason := recordFault(r); {
		case reason != "":
			s.reject(at.i, reason)
		case k > 0 && at.sameID(places[k-1]):
			s.result.Duplicates++
		case r.Status == usage.Refused:
			s.refused = append(s.refused, at.i)
		default:
			s.usage = append(s.usage, at.i)
		}
	}
	return s
}

// place is where a record stands, with its id as two numbers.
type place struct {
	high, low uint64
	i         int
}

func (p place) sameID(o place) bool { return p.high == o.high && p.low == o.low }

// inOrder orders records by their ids: neighbours in the indexes, and the same order in every
// transaction. Of those with one id the first stays the first.
func inOrder(recs []usage.Record) []place {
	places := make([]place, len(recs))
	for i := range recs {
		id := &recs[i].ID
		places[i] = place{binary.BigEndian.Uint64(id[:8]), binary.BigEndian.Uint64(id[8:]), i}
	}
	slices.SortFunc(places, func(a, b place) int {
		switch {
		case a.high != b.high:
			return cmp.Compare(a.high, b.high)
		case a.low != b.low:
			return cmp.Compare(a.low, b.low)
		}
		return cmp.Compare(a.i, b.i)
	})
	return places
}

func (s *settling) reject(i int, reason string) {
	s.result.Rejected = append(s.result.Rejected, Rejected{Index: i, Reason: reason})
}

// The time of an id is that of a month of usage.
var (
	firstMilli = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
	lastMilli  = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli() - 1
)

// recordFault says which rule a record breaks by itself. The schema's CHECKs say the
// same; a record that met them would stop its batch for ever.
func recordFault(r *usage.Record) string {
	at := r.ID.UnixMilli()
	switch {
	case r.ID.IsZero() || at < firstMilli || at > lastMilli:
		return "impossible request id"
	case r.Status < usage.Success || r.Status > usage.Refused:
		return "unknown status"
	case r.Hold < 0 || r.Charge < 0 || r.Charge > r.Hold:
		return "charge outside 0 … hold"
	case r.Cost < 0 || r.Overrun < 0:
		return "negative cost or overrun"
	case r.BytesIn < 0 || r.BytesOut < 0:
		return "negative bytes"
	case r.Status == usage.Refused && (r.Charge != 0 || !r.Units.IsZero()):
		return "a refusal with usage"
	case r.NumAttempts > usage.MaxAttempts:
		return "too many attempts"
	}
	for _, ppm := range []int64{r.ModelPPM, r.GroupPPM, r.ClientPPM} {
		if ppm < 0 || ppm > price.MaxPPM {
			return "impossible multiplier"
		}
	}
	for _, n := range r.Units {
		if n < 0 {
			return "negative units"
		}
	}
	return ""
}

// read takes the locks, in order, and reads what the batch builds upon.
func (s *settling) read(ctx context.Context, d *DB, q *db.Queries) error {
	keys := map[int64]bool{}
	for _, list := range [][]int{s.usage, s.refused} {
		last := int64(-1)
		for _, i := range list {
			if key := s.recs[i].KeyID; key != last {
				keys[key], last = true, key
			}
		}
	}
	owner, err := d.owners.of(ctx, q, keys)
	if err != nil {
		return err
	}
	s.dropForeign(owner)
	wallets, budgets, leases := s.touched()
	if len(wallets) > 0 {
		rows, err := q.LockWallets(ctx, sorted(wallets))
		if err != nil {
			return err
		}
		for _, w := range rows {
			s.wallets[w.ID] = &walletState{Wallet: ledger.Wallet{Balance: w.Balance, Leased: w.Leased, Floor: w.Floor}}
		}
		ids := make([]budgetID, 0, len(budgets))
		for b := range budgets {
			ids = append(ids, b)
			s.budgets[b] = &budgetState{}
		}
		slices.SortFunc(ids, compareBudgets)
		budgetKeys, periods := make([]int64, len(ids)), make([]int32, len(ids))
		for i, b := range ids {
			budgetKeys[i], periods[i] = b.key, b.period
		}
		locked, err := q.LockBudgets(ctx, budgetKeys, periods)
		if err == nil && len(locked) < len(ids) { // a new month, or a new key
			if err = q.TouchBudgets(ctx, budgetKeys, periods); err == nil {
				_, err = q.LockBudgets(ctx, budgetKeys, periods)
			}
		}
		if err != nil {
			return err
		}
		found, err := q.LeasesByID(ctx, sorted(leases))
		if err != nil {
			return err
		}
		for _, l := range found {
			s.leases[l.ID] = &leaseState{
				Lease: ledger.Lease{Granted: l.Granted, Settled: l.Settled, Returned: l.Returned, Closed: !l.Open},
				of:    escrowOf(l.WalletID, l.KeyID, l.Period),
			}
		}
	}
	// Now nobody else can settle for these wallets: what is not there will not appear.
	if err := s.dropKnown(ctx, q); err != nil {
		return err
	}
	return s.countMinutes(ctx, q)
}

// dropForeign rejects the records whose key is somebody else's.
func (s *settling) dropForeign(owner map[int64]db.KeyOwnersRow) {
	var o db.KeyOwnersRow
	var ok bool
	foreign := func(i int) bool {
		r := &s.recs[i]
		if !ok || o.ID != r.KeyID {
			o, ok = owner[r.KeyID]
		}
		if ok && o.ClientID == r.ClientID && o.WalletID == r.WalletID {
			return false
		}
		s.reject(i, "key, client and wallet do not belong together")
		return true
	}
	s.usage = slices.DeleteFunc(s.usage, foreign)
	s.refused = slices.DeleteFunc(s.refused, foreign)
}

// touched is what the charges of the batch are taken from.
func (s *settling) touched() (wallets map[int64]bool, budgets map[budgetID]bool, leases map[int64]bool) {
	wallets, budgets, leases = map[int64]bool{}, map[budgetID]bool{}, map[int64]bool{}
	var last *usage.Record
	for _, i := range s.usage {
		r := &s.recs[i]
		if r.Charge == 0 {
			continue
		}
		if last != nil && sameMoney(r, last) {
			continue // as neighbours mostly are, where few keys make most requests
		}
		last = r
		wallets[r.WalletID] = true
		budgets[budgetID{r.KeyID, 0}] = true
		budgets[budgetID{r.KeyID, r.ID.Month()}] = true
		for _, l := range []int64{r.WalletLease, r.MonthLease, r.TotalLease} {
			if l != 0 {
				leases[l] = true
			}
		}
	}
	return wallets, budgets, leases
}

// sameMoney says that two charges are taken from the same wallet, budgets and leases.
func sameMoney(a, b *usage.Record) bool {
	return a.WalletID == b.WalletID && a.KeyID == b.KeyID && a.WalletLease == b.WalletLease && a.MonthLease == b.MonthLease &&
		a.TotalLease == b.TotalLease && sameMonth(a, b)
}

// sameMonth finds it cheaply of neighbours.
func sameMonth(a, b *usage.Record) bool { return hour(a) == hour(b) || a.ID.Month() == b.ID.Month() }

// dropKnown leaves out the records that are in the books already.
func (s *settling) dropKnown(ctx context.Context, q *db.Queries) error {
	months, ids := make([]int32, 0, len(s.usage)), make([]reqid.ID, 0, len(s.usage))
	for _, i := range s.usage {
		months, ids = append(months, s.recs[i].ID.Month()), append(ids, s.recs[i].ID)
	}
	known := map[reqid.ID]bool{}
	if s.look && len(ids) > 0 {
		rows, err := q.UsageKnown(ctx, months, ids)
		if err != nil {
			return err
		}
		for _, id := range rows {
			known[id] = true
		}
	}
	if len(s.refused) > 0 {
		ids = ids[:0]
		for _, i := range s.refused {
			ids = append(ids, s.recs[i].ID)
		}
		rows, err := q.RefusalsKnown(ctx, ids)
		if err != nil {
			return err
		}
		for _, id := range rows {
			known[id] = true
		}
	}
	isKnown := func(i int) bool {
		if known[s.recs[i].ID] {
			s.result.Duplicates++
			return true
		}
		return false
	}
	s.usage = slices.DeleteFunc(s.usage, isKnown)
	s.refused = slices.DeleteFunc(s.refused, isKnown)
	return nil
}

// countMinutes reads how many refusals are stored already, for the limit per minute.
func (s *settling) countMinutes(ctx context.Context, q *db.Queries) error {
	if len(s.refused) == 0 {
		return nil
	}
	keys := map[int64]bool{}
	first, last := int64(1)<<62, int64(0)
	for _, i := range s.refused {
		ms := s.recs[i].ID.UnixMilli()
		keys[s.recs[i].KeyID] = true
		first, last = min(first, ms), max(last, ms)
	}
	rows, err := q.RefusalsInMinute(ctx, sorted(keys), reqid.Min(first/60000*60000), reqid.Min((last/60000+1)*60000))
	if err != nil {
		return err
	}
	for _, r := range rows {
		s.minutes[minuteID{r.KeyID, r.Code, r.Minute}] = r.N
	}
	return nil
}

// compute decides what each record moves. No SQL: the rows are locked and read.
func (s *settling) compute() {
	for _, i := range s.usage {
		r := &s.recs[i]
		if late := s.pay(r); late != 0 {
			s.late[i] = late
			if late&lateWallet != 0 {
				s.result.Late++
			}
		}
		s.result.Inserted++
		s.result.Charged += r.Charge
		s.rollUp(r)
		s.rollUpAttempts(r)
	}
	s.refused = slices.DeleteFunc(s.refused, func(i int) bool {
		r := &s.recs[i]
		s.codes[codeID{hourOf(r), clean(r.Code, 64)}]++
		m := minuteID{r.KeyID, clean(r.Code, 64), r.ID.UnixMilli() / 60000}
		s.minutes[m]++
		return s.minutes[m] > refusalsPerMinute
	})
	s.result.Refusals = len(s.refused)
}

// pay takes the charge from the lease, or from the wallet where that is late, and
// posts it to the key's budgets.
func (s *settling) pay(r *usage.Record) (late int16) {
	if r.Charge == 0 {
		return 0
	}
	from := &s.payer
	if from.of == nil || !sameMoney(r, from.of) {
		*from = payer{
			of: r, wallet: s.wallets[r.WalletID], lease: s.leases[r.WalletLease],
			month: s.budgets[budgetID{r.KeyID, r.ID.Month()}], total: s.budgets[budgetID{r.KeyID, 0}],
		}
	}
	w := from.wallet
	if l := from.lease; l != nil && l.of == (Escrow{WalletID: r.WalletID}) && w.Settle(&l.Lease, r.Charge) == nil {
		l.settled += r.Charge
		w.charged += r.Charge
		w.unleased += r.Charge
	} else {
		late |= lateWallet
		paid, rest, _ := w.Late(r.Charge) // the charge is not negative
		w.charged += paid
		if rest > 0 {
			s.badDebts = append(s.badDebts, badDebt{r.WalletID, rest, r.ID})
			s.result.BadDebt += rest
		}
	}
	from.month.charged += r.Charge
	from.total.charged += r.Charge
	if r.MonthLease != 0 && !s.post(from.month, r.MonthLease, Escrow{KeyID: r.KeyID, Period: r.ID.Month()}, r.Charge) {
		late |= lateMonth
	}
	if r.TotalLease != 0 && !s.post(from.total, r.TotalLease, Escrow{KeyID: r.KeyID}, r.Charge) {
		late |= lateTotal
	}
	return late
}

// post takes a charge from a budget's lease. false: the lease is not its, is closed, or spent.
func (s *settling) post(budget *budgetState, lease int64, of Escrow, charge money.Amount) bool {
	l := s.leases[lease]
	if l == nil || l.of != of || charge > l.Outstanding() {
		return false
	}
	l.Settled += charge
	l.settled += charge
	budget.unleased += charge
	return true
}

func hour(r *usage.Record) int32 { return int32(r.ID.UnixMilli() / 3_600_000) }

// sameHour says that two records have one hourOf.
func sameHour(a, b *usage.Record) bool {
	return a.KeyID == b.KeyID && a.ClientID == b.ClientID && hour(a) == hour(b) && a.Model == b.Model
}

func hourOf(r *usage.Record) hourID {
	return hourID{hour(r), r.ClientID, r.KeyID, clean(r.Model, 128)}
}

// rollUp adds a record to its hour.
func (s *settling) rollUp(r *usage.Record) {
	h := s.hourSum
	if h == nil || !sameHour(r, s.hourLike) {
		id := hourOf(r)
		if h = s.hours[id]; h == nil {
			h = &hourState{}
			s.hours[id] = h
		}
		s.hourSum, s.hourLike = h, r
	}
	h.status[r.Status]++
	h.units.Add(&r.Units)
	h.charge += r.Charge
	h.cost += r.Cost
	h.overrun += r.Overrun
	h.in += r.BytesIn
	h.out += r.BytesOut
	h.latency[Bucket(r.EndMicros-r.AdmittedMicros)]++
	if r.FirstTokenMicros > 0 {
		h.firstToken[Bucket(int64(r.FirstTokenMicros))]++
	}
	if r.Code != "" {
		s.codes[codeID{hourOf(r), clean(r.Code, 64)}]++
	}
}

// Bucket is the bucket of a Histogram for a duration in microseconds.
func Bucket(micros int64) int {
	ms := max(0, micros) / 1000
	return min(bits.Len64(uint64(ms)), HistogramBuckets-1)
}

const insertRefusals = `INSERT INTO refusal (request_id, slot, client_id, wallet_id, key_id, endpoint, model, requested_model,
	client_request_id, http_status, code, flags, admitted_us, end_us, bytes_in)
SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::smallint[], $7::text[], $8::text[],
	$9::text[], $10::smallint[], $11::text[], $12::integer[], $13::bigint[], $14::bigint[], $15::bigint[])
ON CONFLICT DO NOTHING`

// write writes what compute decided.
func (s *settling) write(ctx context.Context, tx pgx.Tx) error {
	all := new(queue)
	q := db.New(all)
	if err := s.copyUsage(ctx, tx, all); err != nil {
		return err
	}
	s.writeDetail(all)
	if err := s.writeMoney(ctx, q); err != nil {
		return err
	}
	if len(s.refused) > 0 {
		s.writeRefusals(all)
	}
	s.writeSums(all)
	if err := addCodes(ctx, q, s.slot, s.codes); err != nil {
		return err
	}
	for _, r := range s.result.Rejected {
		rec := s.recs[r.Index]
		text, err := json.Marshal(&rec)
		if err != nil {
			return err
		}
		text = bytes.ReplaceAll(text, []byte(`\u0000`), nil) // jsonb has no NUL
		if err := q.InsertReject(ctx, db.InsertRejectParams{RequestID: rec.ID, Slot: s.slot, Reason: r.Reason, Record: text}); err != nil {
			return err
		}
	}
	return meaning(all.send(ctx, tx))
}

func (s *settling) writeMoney(ctx context.Context, q *db.Queries) error {
	var ids, amounts []int64
	for id, l := range s.leases {
		if l.settled > 0 {
			ids, amounts = append(ids, id), append(amounts, int64(l.settled))
		}
	}
	if len(ids) > 0 {
		if err := q.SettleLeases(ctx, ids, amounts); err != nil {
			return err
		}
	}
	var charged, unleased []int64
	ids = nil
	for id, w := range s.wallets {
		if w.charged > 0 || w.unleased > 0 {
			ids, charged, unleased = append(ids, id), append(charged, int64(w.charged)), append(unleased, int64(w.unleased))
		}
	}
	if len(ids) > 0 {
		if err := q.SettleWallets(ctx, ids, charged, unleased); err != nil {
			return err
		}
	}
	var p db.SettleBudgetsParams
	for id, b := range s.budgets {
		if b.charged > 0 {
			p.Keys, p.Periods = append(p.Keys, id.key), append(p.Periods, id.period)
			p.Charged, p.Leased = append(p.Charged, int64(b.charged)), append(p.Leased, int64(b.unleased))
		}
	}
	if len(p.Keys) > 0 {
		if err := q.SettleBudgets(ctx, p); err != nil {
			return err
		}
	}
	if len(s.badDebts) == 0 {
		return nil
	}
	var wallets []int64
	var owing []int64
	var requests []reqid.ID
	for _, b := range s.badDebts {
		wallets, owing, requests = append(wallets, b.wallet), append(owing, int64(b.amount)), append(requests, b.id)
	}
	return q.InsertBadDebt(ctx, wallets, owing, requests)
}

func (s *settling) writeRefusals(all *queue) {
	n := len(s.refused)
	id := make([][16]byte, n)
	slot, endpoint, http := make([]int16, n), make([]int16, n), make([]int16, n)
	clients, wallets, keys, admitted, ended, in := make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
	model, requested, clientRequest, code := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	flags := make([]int32, n)
	for k, i := range s.refused {
		r := &s.recs[i]
		id[k], slot[k], endpoint[k], http[k], flags[k] = r.ID, s.slot, int16(r.Endpoint), r.HTTPStatus, int32(r.Flags)
		clients[k], wallets[k], keys[k], admitted[k], ended[k], in[k] = r.ClientID, r.WalletID, r.KeyID, r.AdmittedMicros, r.EndMicros, r.BytesIn
		model[k], requested[k], clientRequest[k], code[k] = clean(r.Model, 128), clean(r.RequestedModel, 256), clean(r.ClientRequestID, 128), clean(r.Code, 64)
	}
	all.batch.Queue(insertRefusals, id, slot, clients, wallets, keys, endpoint, model, requested, clientRequest, http, code, flags, admitted, ended, in)
}

func addCodes(ctx context.Context, q *db.Queries, slot int16, codes map[codeID]int64) error {
	if len(codes) == 0 {
		return nil
	}
	p := db.AddCodesParams{Slot: slot}
	for c, n := range codes {
		p.Hours, p.Clients, p.Keys = append(p.Hours, c.hour), append(p.Clients, c.client), append(p.Keys, c.key)
		p.Models, p.Codes, p.Counts = append(p.Models, c.model), append(p.Codes, c.code), append(p.Counts, n)
	}
	return q.AddCodes(ctx, p)
}

// CountRefusals adds refusals that the proxy counted without recording them. A call
// whose answer was lost and is repeated counts twice: these are statistics.
func (d *DB) CountRefusals(ctx context.Context, slot int16, counted []RefusalCount) error {
	codes := make(map[codeID]int64, len(counted))
	for _, c := range counted {
		if c.N > 0 {
			hour := int32(c.At.Unix() / int64(time.Hour/time.Second))
			codes[codeID{hourID{hour, c.ClientID, c.KeyID, clean(c.Model, 128)}, clean(c.Code, 64)}] += c.N
		}
	}
	ctx, cancel := d.limit(ctx)
	defer cancel()
	if err := addCodes(ctx, d.q, slot, codes); err != nil {
		return fmt.Errorf("cannot count refusals: %w", err)
	}
	return nil
}

// counts is the stored form of counts: trailing zeros left out.
func counts(n []int64) string {
	for len(n) > 0 && n[len(n)-1] == 0 {
		n = n[:len(n)-1]
	}
	return array(n)
}

func array(n []int64) string {
	b := make([]byte, 0, 2+8*len(n))
	b = append(b, '{')
	for i, v := range n {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, v, 10)
	}
	return string(append(b, '}'))
}

// clean makes a text that Postgres stores: UTF-8, no NUL, at most so many bytes. What
// a client sent must not stop a batch.
func clean(s string, most int) string {
	plain := len(s) <= most
	for i := 0; plain && i < len(s); i++ {
		plain = s[i] > 0 && s[i] < 0x80
	}
	if plain {
		return s
	}
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "?"), "\x00", "?")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "")
	}
	return s
}

func sorted(set map[int64]bool) []int64 {
	ids := make([]int64, 0, len(set))
	for id := range set {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func compareBudgets(a, b budgetID) int {
	return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.period, b.period))
}
