package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"tokenrelay/shared/ledger"
	"tokenrelay/shared/money"
	"tokenrelay/shared/obs"
	"tokenrelay/shared/price"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store/db"
	"tokenrelay/shared/usage"
)

// reclaimGrace is how long after T_reclaim the job may take to run.
const reclaimGrace = 10 * 60

// auditBatch is how many wallets are proven in one snapshot: no snapshot is old, and
// none needs more memory than a batch of wallets.
const auditBatch = 1000

// Audit re-derives the books, read-only, without row locks, a snapshot for each batch of
// wallets. Closed hours are taken from the roll-ups, which are compared with the chain of
// days, and only the rows since the hour before this one are added again;
// AuditOptions.Deep or Since add more of them again. It may take as long as ctx.
func (d *DB) Audit(ctx context.Context, o AuditOptions) (*AuditReport, error) {
	a := &auditing{o: o, report: &AuditReport{Deep: o.Deep}, lag: int64((d.maxRequest + ReclaimLag).Seconds()) + reclaimGrace}
	if err := d.audit(ctx, a); err != nil {
		return nil, fmt.Errorf("cannot audit the books: %w", err)
	}
	return a.report, nil
}

func (d *DB) audit(ctx context.Context, a *auditing) error {
	bounds := []int64{a.o.WalletID - 1, a.o.WalletID}
	err := d.snapshot(ctx, func(tx pgx.Tx, q *db.Queries) (err error) {
		if err := a.begin(ctx, tx, q); err != nil || a.o.WalletID != 0 {
			return err
		}
		// The first and the last wallets come with whatever names wallets that do not exist.
		above, upto := int64(math.MinInt64), int64(math.MaxInt64)
		if a.o.Slices > 1 {
			if above, upto, err = slice(ctx, tx, a.o.Slice, a.o.Slices); err != nil {
				return err
			}
		}
		rows, err := tx.Query(ctx, `SELECT id FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM wallet WHERE id > $2 AND id < $3) w
			WHERE n % $1 = 0 ORDER BY id`, auditBatch, above, upto)
		if err != nil {
			return err
		}
		inner, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		bounds = append(append([]int64{above}, inner...), upto)
		return err
	})
	for i := 0; err == nil && i+1 < len(bounds); i++ {
		err = d.snapshot(ctx, func(tx pgx.Tx, _ *db.Queries) error { return a.batch(ctx, tx, bounds[i], bounds[i+1]) })
	}
	if err != nil {
		return err
	}
	a.closeBooks()
	return nil
}

// slice finds the wallets of one slice.
func slice(ctx context.Context, tx pgx.Tx, slice, slices int) (above, upto int64, err error) {
	var n int
	if err := tx.QueryRow(ctx, "SELECT count(*) FROM wallet").Scan(&n); err != nil {
		return 0, 0, err
	}
	slices = max(min(slices, n), 1)
	slice %= slices
	err = tx.QueryRow(ctx, `SELECT coalesce(max(id) FILTER (WHERE n = $2), -9223372036854775808), coalesce(max(id) FILTER (WHERE n = $2 + 1), 0)
		FROM (SELECT id, ntile($1) OVER (ORDER BY id) AS n FROM wallet) w`, slices, slice).Scan(&above, &upto)
	if slice == slices-1 {
		upto = math.MaxInt64
	}
	return above, upto, err
}

// auditing is one audit.
type auditing struct {
	o      AuditOptions
	lag    int64
	report *AuditReport

	first      reqid.ID // first row that is added again
	firstHour  int32
	firstMonth int32
	chained    int32 // last chained day
	months     []int32
	names      []int32 // of months
	prices     map[int64]*PriceRow
	models     map[int64]string

	books    ledger.Books
	balances big.Int
}

// begin reads what all batches need.
func (a *auditing) begin(ctx context.Context, tx pgx.Tx, q *db.Queries) (err error) {
	r := a.report
	if r.Revision, err = q.Revision(ctx); err != nil {
		return err
	}
	if r.At, err = q.Now(ctx); err != nil {
		return err
	}
	// The open hour, and the one before: rows may come minutes late.
	since := r.At.UTC().Truncate(time.Hour).Add(-time.Hour)
	if !a.o.Since.IsZero() && a.o.Since.Before(since) {
		since = a.o.Since.UTC().Truncate(time.Hour)
	}
	if a.o.Deep {
		since = time.Unix(0, 0).UTC()
	}
	r.Since = since
	a.first, a.firstHour, a.firstMonth = reqid.Min(since.UnixMilli()), int32(since.Unix()/3600), reqid.MonthOf(since.UnixMilli())
	if err := tx.QueryRow(ctx, "SELECT coalesce(max(day), 0) FROM day_close WHERE built_at IS NOT NULL").Scan(&a.chained); err != nil {
		return err
	}
	for m := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC); m.Year() < 2150; m = m.AddDate(0, 1, 0) {
		a.months, a.names = append(a.months, int32(m.Unix()/3600)), append(a.names, reqid.MonthOf(m.UnixMilli()))
	}
	all, err := q.AllPrices(ctx)
	if err != nil {
		return err
	}
	rows, err := priceRows(ctx, q, all)
	if err != nil {
		return err
	}
	a.prices = make(map[int64]*PriceRow, len(rows))
	for i := range rows {
		a.prices[rows[i].Version.ID] = &rows[i]
	}
	models, err := q.AllModels(ctx)
	if err != nil {
		return err
	}
	a.models = make(map[int64]string, len(models))
	for _, m := range models {
		a.models[m.ID] = m.PublicID
	}
	for _, c := range checks {
		if c.id == "M10" { // in the order of the numbers
			r.Lines = append(r.Lines, AuditLine{ID: "M9", Name: "charge + overrun = price of the units, bit for bit"})
		}
		r.Lines = append(r.Lines, AuditLine{ID: c.id, Name: c.name})
	}
	r.Lines = append(r.Lines, AuditLine{ID: "M15", Name: "every charge has an attempt; cost = supplier's price"})
	return tx.QueryRow(ctx, "SELECT count(*) FROM settle_reject").Scan(&r.RejectedN)
}

// line finds a line of the report.
func (a *auditing) line(id string) *AuditLine {
	for i := range a.report.Lines {
		if a.report.Lines[i].ID == id {
			return &a.report.Lines[i]
		}
	}
	obs.Bug("no line %s", id) // the lines are made above, by the same names
	return nil
}

// batch proves the wallets in (above, upto].
func (a *auditing) batch(ctx context.Context, tx pgx.Tx, above, upto int64) error {
	// Compiling the queries costs more than it saves; the hashes of a batch fit memory.
	for _, set := range []string{"statement_timeout = 0", "jit = off", "work_mem = '64MB'"} {
		if _, err := tx.Exec(ctx, "SET LOCAL "+set); err != nil {
			return err
		}
	}
	for _, c := range checks {
		if err := a.run(ctx, tx, c, above, upto); err != nil {
			return fmt.Errorf("%s: %w", c.id, err)
		}
	}
	if err := a.charges(ctx, tx, above, upto); err != nil {
		return fmt.Errorf("M9: %w", err)
	}
	if err := a.post(ctx, tx, above, upto); err != nil {
		return fmt.Errorf("M12: %w", err)
	}
	return nil
}

// args are the parameters of the checks.
func (a *auditing) args(above, upto int64) []any {
	return []any{above, upto, a.first, a.firstHour, a.firstMonth, a.lag, a.months, a.names, a.chained}
}

var inRange = regexp.MustCompile(`\{in ([a-z_.]+)\}`)

// spell writes a check's conditions out.
func spell(sql string) string {
	sql = inRange.ReplaceAllString(sql, "($1 > $$1 AND $1 <= $$2)")
	return strings.ReplaceAll(sql, "{last}", "$2 = 9223372036854775807")
}

// maxSamples is how many broken things a line names.
const maxSamples = 5

func (a *auditing) run(ctx context.Context, tx pgx.Tx, c check, above, upto int64) error {
	line := a.line(c.id)
	sql := c.sql
	if c.closed != "" && !a.o.Deep {
		sql = c.closed
	}
	// The parameters are spelled out with their types: none is used everywhere.
	sql = fmt.Sprintf(`WITH parameter AS (SELECT $1::bigint, $2::bigint, $3::uuid, $4::integer, $5::integer, $6::bigint, $7::integer[], $8::integer[], $9::integer),
		x (label, d) AS (%s)
		SELECT count(*), count(*) FILTER (WHERE d <> 0), coalesce(max(abs(d)), 0)::text,
		coalesce((array_agg(label || ' differs by ' || d ORDER BY abs(d) DESC, label) FILTER (WHERE d <> 0))[1:%d], '{}') FROM x`, spell(sql), maxSamples)
	var checked, broken int64
	var worst string
	var samples []string
	if err := tx.QueryRow(ctx, sql, a.args(above, upto)...).Scan(&checked, &broken, &worst, &samples); err != nil {
		return err
	}
	line.Checked += checked
	line.Broken += broken
	line.Worst = max(line.Worst, saturated(worst))
	line.Samples = append(line.Samples, samples[:min(len(samples), maxSamples-len(line.Samples))]...)
	return nil
}

// broken notes one broken thing.
func (l *AuditLine) broken(worst money.Amount, sample string) {
	l.Broken++
	l.Worst = max(l.Worst, worst, -worst)
	if len(l.Samples) < maxSamples {
		l.Samples = append(l.Samples, sample)
	}
}

// saturated reads an integer of any size.
func saturated(text string) money.Amount {
	n, ok := new(big.Int).SetString(text, 10)
	if !ok || !n.IsInt64() {
		return money.Amount(1<<63 - 1)
	}
	return money.Amount(n.Int64())
}

// charges recomputes every charge from the stored price row and multipliers (M9): what
// the hold did not cover is the house's, charge + overrun is the price. And the cost from
// the supplier's price (M15).
func (a *auditing) charges(ctx context.Context, tx pgx.Tx, above, upto int64) error {
	m9, m15 := a.line("M9"), a.line("M15")
	scan, err := tx.Query(ctx, `SELECT request_id, model, source, status, units, charge, overrun, cost, price_id, cost_price_id, model_ppm, group_ppm, client_ppm, attempts
		FROM usage WHERE month >= $1 AND request_id >= $2 AND wallet_id > $3 AND wallet_id <= $4`, a.firstMonth, a.first, above, upto)
	if err != nil {
		return err
	}
	var id [16]byte
	var model string
	var source, status int16
	var units, attempts []int64
	var charge, overrun, cost, priceID, costID int64
	rule := price.Rule{}
	_, err = pgx.ForEachRow(scan, []any{
		&id, &model, &source, &status, &units, &charge, &overrun, &cost, &priceID, &costID, &rule.ModelPPM, &rule.GroupPPM, &rule.ClientPPM, &attempts,
	}, func() error {
		m9.Checked++
		m15.Checked++
		var u usage.Units
		copy(u[:], units)
		var want money.Amount
		fault := ""
		none := usage.Source(source) == usage.SourceNone || u.IsZero() && charge == 0
		if p := a.prices[priceID]; none {
			want = 0 // nothing was consumed: no price is needed
		} else if p == nil || a.models[p.ModelID] != model {
			fault = fmt.Sprintf("price %d is not one of model %s", priceID, model)
		} else {
			rule.Version = &p.Version
			var err error
			if want, err = rule.Charge(&u); err != nil {
				fault = err.Error()
			}
		}
		diff := money.Amount(charge+overrun) - want
		if fault == "" && diff != 0 {
			fault = "differs by " + diff.String() + " USD"
		}
		if fault != "" {
			m9.broken(diff, "request "+reqid.ID(id).String()+": "+fault)
		}
		if fault, diff := a.supplier(charge, cost, costID, usage.Status(status), usage.Source(source), &u, attempts); fault != "" {
			m15.broken(diff, "request "+reqid.ID(id).String()+": "+fault)
		}
		return nil
	})
	return err
}

// supplier checks a row against what was sent upstream.
func (a *auditing) supplier(charge, cost, costID int64, status usage.Status, source usage.Source, u *usage.Units, attempts []int64) (fault string, diff money.Amount) {
	if charge > 0 && len(attempts) < 6 && source != usage.SourceCache {
		return "charged without an attempt", money.Amount(charge)
	}
	// What a dead proxy had counted of the cost is behind what it had relayed.
	if costID == 0 || cost == 0 || status == usage.Interrupted {
		return "", 0
	}
	p := a.prices[costID]
	if p == nil || p.RouteID == 0 {
		return fmt.Sprintf("price %d is not a supplier's", costID), money.Amount(cost)
	}
	used := false
	for i := 0; i+6 <= len(attempts); i += 6 {
		used = used || attempts[i] == p.RouteID
	}
	if !used {
		return fmt.Sprintf("price %d is of a route that was not tried", costID), money.Amount(cost)
	}
	rule := price.Rule{Version: &p.Version, ModelPPM: price.PPM, GroupPPM: price.PPM, ClientPPM: price.PPM}
	want, err := rule.Charge(u)
	if err != nil {
		return err.Error(), money.Amount(cost)
	}
	if want != money.Amount(cost) {
		return "cost differs by " + (money.Amount(cost) - want).String() + " USD", money.Amount(cost) - want
	}
	return "", 0
}

// post books the batch's sums in the accounts (M12), and reads the honest numbers of it.
func (a *auditing) post(ctx context.Context, tx pgx.Tx, above, upto int64) error {
	paid := `SELECT coalesce(sum(charge), 0) AS charge, coalesce(sum(overrun), 0) AS overrun, coalesce(sum(interrupted), 0) AS interrupted
		FROM usage_hourly h JOIN client c ON c.id = h.client_id WHERE {in c.wallet_id}`
	if a.o.Deep {
		paid = fmt.Sprintf(`SELECT coalesce(sum(charge), 0) AS charge, coalesce(sum(overrun), 0) AS overrun, count(*) FILTER (WHERE status = %d) AS interrupted
		FROM usage WHERE {in wallet_id}`, usage.Interrupted)
	}
	var balances, charge, overrun, leased string
	var interrupted, wallets int64
	kinds := []ledger.Kind{ledger.Recharge, ledger.Correction, ledger.Refund, ledger.BadDebt}
	sums := make([]string, len(kinds))
	err := tx.QueryRow(ctx, spell(`SELECT w.n, w.balance, w.leased, u.charge::text, u.overrun::text, u.interrupted, e.recharge, e.correction, e.refund, e.bad_debt
		FROM (SELECT count(*) AS n, coalesce(sum(balance), 0)::text AS balance, coalesce(sum(leased), 0)::text AS leased FROM wallet WHERE {in id}) w,
		(`+paid+`) u,
		(SELECT coalesce(sum(amount) FILTER (WHERE kind = 'recharge'), 0)::text AS recharge, coalesce(sum(amount) FILTER (WHERE kind = 'correction'), 0)::text AS correction,
		        coalesce(sum(amount) FILTER (WHERE kind = 'refund'), 0)::text AS refund, coalesce(sum(amount) FILTER (WHERE kind = 'bad_debt'), 0)::text AS bad_debt
		 FROM entry WHERE {in wallet_id}) e`), above, upto).
		Scan(&wallets, &balances, &leased, &charge, &overrun, &interrupted, &sums[0], &sums[1], &sums[2], &sums[3])
	if err != nil {
		return err
	}
	a.report.Interrupted += interrupted
	a.report.Wallets += wallets
	read := func(text string) *big.Int {
		n, ok := new(big.Int).SetString(text, 10)
		if !ok {
			err = errors.Join(err, fmt.Errorf("%q is not a sum", text))
			return new(big.Int)
		}
		return n
	}
	a.balances.Add(&a.balances, read(balances))
	a.books.PostCharges(read(charge))
	a.books.PostOverrun(read(overrun))
	for i, k := range kinds {
		a.books.PostEntries(k, read(sums[i]))
	}
	a.report.Leased += saturated(leased)
	a.report.WrittenOff += saturated(sums[3]) + saturated(overrun)
	a.report.BadDebt += saturated(sums[3])
	a.report.Overrun += saturated(overrun)
	return err
}

// closeBooks compares the accounts with the wallets (M12).
func (a *auditing) closeBooks() {
	line := a.line("M12")
	for acc := range ledger.NumAccounts {
		line.Checked++
		a.report.Accounts = append(a.report.Accounts, AccountSum{Account: acc.String(), Amount: a.books.Big(acc)})
	}
	if d := a.books.Difference(); d.Sign() != 0 {
		line.broken(saturated(d.String()), "all accounts differ by "+d.String())
	}
	d := new(big.Int).Sub(&a.balances, a.books.Big(ledger.Customers))
	if d.Sign() != 0 {
		line.broken(saturated(d.String()), "wallets differ from the customers' account by "+d.String())
	}
}
