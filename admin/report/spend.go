package report

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// UsageSum is what some calls used and were charged. Refused calls are not among them:
// nothing was sent for them and nothing charged.
type UsageSum struct {
	Calls        int64            `json:"calls"`
	Success      int64            `json:"success"`
	Failed       int64            `json:"failed"`
	Timeout      int64            `json:"timeout"`
	Cancelled    int64            `json:"cancelled"`   // the caller left
	Interrupted  int64            `json:"interrupted"` // broken off by a fault of the relay
	InputTokens  int64            `json:"input_tokens"`
	OutputTokens int64            `json:"output_tokens"`
	Usage        map[string]int64 `json:"usage"` // units by price class, disjoint
	Charge       money.Amount     `json:"charge"`
}

func usageSum(h *store.HourRow) UsageSum {
	return UsageSum{
		Calls: h.Success + h.Failed + h.Timeout + h.Cancelled + h.Interrupt, Success: h.Success, Failed: h.Failed, Timeout: h.Timeout,
		Cancelled: h.Cancelled, Interrupted: h.Interrupt, InputTokens: h.Units.TotalInput(), OutputTokens: h.Units.TotalOutput(),
		Usage: unitsByClass(&h.Units), Charge: h.Charge,
	}
}

func unitsByClass(u *usage.Units) map[string]int64 {
	out := map[string]int64{}
	for class, n := range u {
		if n != 0 {
			out[usage.Class(class).String()] = n
		}
	}
	return out
}

// SpendFilter selects the calls that a report adds up. From and To are whole hours, and
// whole days (UTC) where the report is by day; Model and KeyID may be "".
type SpendFilter struct {
	From, To time.Time // From ≤ beginning of the call < To
	Model    string    // public id or alias
	KeyID    string
}

// rollups makes the store's filter of f for the key's customer: store.ErrNotFound for a
// key that is not the customer's.
func (s *Service) rollups(ctx context.Context, key *store.KeyRow, f *SpendFilter) (q store.HourlyFilter, err error) {
	q = store.HourlyFilter{ClientID: key.ClientID, Model: f.Model, From: f.From, To: f.To}
	if f.Model != "" {
		c, err := s.Catalogue(ctx)
		if err != nil {
			return q, err
		}
		if m := c.Find(f.Model); m != nil {
			q.Model = m.PublicID
		}
	}
	if f.KeyID != "" {
		k, err := s.db.KeyByPublicID(ctx, key.ClientID, f.KeyID)
		if err != nil {
			return q, err
		}
		q.KeyID = k.ID
	}
	return q, nil
}

// UsageBreakdown is what was used, by day, and the last calls (S1-42).
type UsageBreakdown struct {
	From     time.Time    `json:"from"`
	To       time.Time    `json:"to"`
	Currency string       `json:"currency"`
	Total    UsageSum     `json:"total"`
	Daily    []UsageDay   `json:"daily" doc:"every day (UTC), newest first"`
	Recent   []BillingRow `json:"recent" doc:"the last calls of the time, newest first; all are at /openapi/v1/billing/detail"`
}

// UsageDay is a day of it.
type UsageDay struct {
	Date string `json:"date" example:"2026-11-30"` // YYYY-MM-DD
	UsageSum
}

// UsageBreakdown adds whole days up, and lists the last calls, recent at most.
func (s *Service) UsageBreakdown(ctx context.Context, key *store.KeyRow, f *SpendFilter, recent int) (*UsageBreakdown, error) {
	q, err := s.rollups(ctx, key, f)
	if err != nil {
		return nil, err
	}
	days, total, err := s.days(ctx, q)
	if err != nil {
		return nil, err
	}
	out := &UsageBreakdown{From: f.From, To: f.To, Currency: "USD", Total: usageSum(&total), Recent: []BillingRow{}}
	for i := range days {
		out.Daily = append(out.Daily, UsageDay{Date: days[i].Hour.Format(time.DateOnly), UsageSum: usageSum(&days[i])})
	}
	if recent == 0 {
		return out, nil
	}
	out.Recent, _, err = s.Billing(ctx, key, &BillingFilter{From: f.From, To: f.To, Model: f.Model, KeyID: f.KeyID, Limit: recent})
	return out, err
}

// days reads every day of the filter, newest first, those without calls too.
func (s *Service) days(ctx context.Context, q store.HourlyFilter) (days []store.HourRow, total store.HourRow, err error) {
	rows, err := s.db.Rollup(ctx, store.RollupFilter{HourlyFilter: q, Hours: 24})
	if err != nil {
		return nil, total, err
	}
	for day := q.To.AddDate(0, 0, -1); !day.Before(q.From); day = day.AddDate(0, 0, -1) {
		row := store.HourRow{Hour: day}
		if len(rows) > 0 && rows[0].Hour.Equal(day) {
			row, rows = rows[0], rows[1:]
		}
		days = append(days, row)
		if err := addHour(&total, &row); err != nil {
			return nil, total, err
		}
	}
	return days, total, nil
}

// addHour adds h to sum, without the durations.
func addHour(sum, h *store.HourRow) (err error) {
	sum.Success += h.Success
	sum.Failed += h.Failed
	sum.Timeout += h.Timeout
	sum.Cancelled += h.Cancelled
	sum.Interrupt += h.Interrupt
	sum.Units.Add(&h.Units)
	sum.Charge, err = sum.Charge.Add(h.Charge)
	return err
}

// ChargeRow is what the calls of a day, a model and a key were charged (S1-43).
type ChargeRow struct {
	Date     string `json:"date" example:"2026-11-30"`
	Model    string `json:"model"`
	KeyID    string `json:"key_id"`
	KeyName  string `json:"key_name"`
	Currency string `json:"currency"`
	UsageSum
}

// Charges returns a page of them, newest day first, then by model; after is the cursor of
// the page, next that of the one behind it, "" for none.
func (s *Service) Charges(ctx context.Context, key *store.KeyRow, f *SpendFilter, after string, limit int) (rows []ChargeRow, next string, err error) {
	q := store.RollupFilter{Hours: 24, ByModel: true, ByKey: true, Limit: limit + 1}
	if q.HourlyFilter, err = s.rollups(ctx, key, f); err != nil {
		return nil, "", err
	}
	if after != "" {
		if q.After, err = s.chargeCursor(ctx, key.ClientID, after); err != nil {
			return nil, "", err
		}
	}
	list, err := s.db.Rollup(ctx, q)
	if err != nil {
		return nil, "", err
	}
	more := len(list) > limit
	list = list[:min(len(list), limit)]
	names, err := s.keyNames(ctx, list)
	if err != nil {
		return nil, "", err
	}
	rows = make([]ChargeRow, len(list))
	for i := range list {
		k := names[list[i].KeyID]
		rows[i] = ChargeRow{
			Date: list[i].Hour.Format(time.DateOnly), Model: list[i].Model, KeyID: k.PublicID, KeyName: k.Name, Currency: "USD", UsageSum: usageSum(&list[i]),
		}
	}
	if more {
		last := &rows[limit-1]
		next = last.Date + "." + last.KeyID + "." + last.Model
	}
	return rows, next, nil
}

// chargeCursor reads the cursor of Charges.
func (s *Service) chargeCursor(ctx context.Context, clientID int64, text string) (*store.HourRow, error) {
	parts := strings.SplitN(text, ".", 3)
	if len(parts) < 3 {
		return nil, ErrCursor
	}
	day, err := time.Parse(time.DateOnly, parts[0])
	if err != nil || day.Year() < 2000 || day.Year() > 9000 {
		return nil, ErrCursor
	}
	k, err := s.db.KeyByPublicID(ctx, clientID, parts[1])
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrCursor
	}
	return &store.HourRow{Hour: day, KeyID: k.ID, Model: parts[2]}, err
}

func (s *Service) keyNames(ctx context.Context, list []store.HourRow) (map[int64]store.KeyName, error) {
	var ids []int64
	for i := range list {
		ids = append(ids, list[i].KeyID)
	}
	slices.Sort(ids)
	return s.db.KeyNames(ctx, slices.Compact(ids))
}

// Spend is what the calls of a time were charged.
type Spend struct {
	Calls        int64        `json:"calls"`
	Success      int64        `json:"success"`
	InputTokens  int64        `json:"input_tokens"`
	OutputTokens int64        `json:"output_tokens"`
	Charge       money.Amount `json:"charge"`
}

func spend(h *store.HourRow) Spend {
	return Spend{
		Calls: h.Success + h.Failed + h.Timeout + h.Cancelled + h.Interrupt, Success: h.Success,
		InputTokens: h.Units.TotalInput(), OutputTokens: h.Units.TotalOutput(), Charge: h.Charge,
	}
}

// SpendOverview is a customer's spending at a glance (S1-50). Days and months are UTC and
// begin at midnight; today and this month are not over.
type SpendOverview struct {
	AsOf       time.Time    `json:"as_of"`
	Currency   string       `json:"currency"`
	Available  money.Amount `json:"available"` // what is left to spend
	Today      Spend        `json:"today"`
	Yesterday  Spend        `json:"yesterday"`
	Last7Days  Spend        `json:"last_7_days"` // today is one of them
	Last30Days Spend        `json:"last_30_days"`
	ThisMonth  Spend        `json:"this_month"`
	LastMonth  Spend        `json:"last_month"`
	TopModels  []ModelSpend `json:"top_models"` // of this month
	TopKeys    []KeySpend   `json:"top_keys"`   // of this month
}

// ModelSpend is what a model's calls were charged.
type ModelSpend struct {
	Model string `json:"model"`
	Spend
}

// KeySpend is what a key's calls were charged.
type KeySpend struct {
	KeyID   string `json:"key_id"`
	KeyName string `json:"key_name"`
	Spend
}

// topRows is how many models and keys an overview names.
const topRows = 5

// SpendOverview adds up the last two months of the key's customer.
func (s *Service) SpendOverview(ctx context.Context, key *store.KeyRow) (*SpendOverview, error) {
	now := s.now().UTC()
	today := now.Truncate(24 * time.Hour)
	month := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	lastMonth := month.AddDate(0, -1, 0)
	first := today.AddDate(0, 0, -29)
	if lastMonth.Before(first) {
		first = lastMonth
	}
	tomorrow := today.AddDate(0, 0, 1)
	days, err := s.db.Rollup(ctx, store.RollupFilter{HourlyFilter: store.HourlyFilter{ClientID: key.ClientID, From: first, To: tomorrow}, Hours: 24})
	if err != nil {
		return nil, err
	}
	balance, err := s.Balance(ctx, key)
	if err != nil {
		return nil, err
	}
	out := &SpendOverview{AsOf: now, Currency: "USD", Available: balance.Available}
	for _, p := range []struct {
		to         *Spend
		from, till time.Time
	}{
		{&out.Today, today, tomorrow},
		{&out.Yesterday, today.AddDate(0, 0, -1), today},
		{&out.Last7Days, today.AddDate(0, 0, -6), tomorrow},
		{&out.Last30Days, today.AddDate(0, 0, -29), tomorrow},
		{&out.ThisMonth, month, tomorrow},
		{&out.LastMonth, lastMonth, month},
	} {
		var sum store.HourRow
		for i := range days {
			if d := &days[i]; !d.Hour.Before(p.from) && d.Hour.Before(p.till) {
				if err := addHour(&sum, d); err != nil {
					return nil, err
				}
			}
		}
		*p.to = spend(&sum)
	}
	q := store.HourlyFilter{ClientID: key.ClientID, From: month, To: tomorrow}
	models, err := s.db.Rollup(ctx, store.RollupFilter{HourlyFilter: q, ByModel: true})
	if err != nil {
		return nil, err
	}
	out.TopModels = modelSpends(models)
	out.TopModels = out.TopModels[:min(len(models), topRows)]
	out.TopKeys, err = s.keySpends(ctx, q, topRows)
	return out, err
}

// modelSpends orders sums by model, the largest charge first.
func modelSpends(list []store.HourRow) []ModelSpend {
	out := make([]ModelSpend, len(list))
	for i := range list {
		out[i] = ModelSpend{Model: list[i].Model, Spend: spend(&list[i])}
	}
	slices.SortFunc(out, func(a, b ModelSpend) int {
		return cmp.Or(cmp.Compare(b.Charge, a.Charge), cmp.Compare(a.Model, b.Model))
	})
	return out
}

// keySpends adds up by key, the largest charge first, limit rows at most.
func (s *Service) keySpends(ctx context.Context, q store.HourlyFilter, limit int) ([]KeySpend, error) {
	list, err := s.db.Rollup(ctx, store.RollupFilter{HourlyFilter: q, ByKey: true})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b store.HourRow) int {
		return cmp.Or(cmp.Compare(b.Charge, a.Charge), cmp.Compare(a.KeyID, b.KeyID))
	})
	list = list[:min(len(list), limit)]
	names, err := s.keyNames(ctx, list)
	if err != nil {
		return nil, err
	}
	out := make([]KeySpend, len(list))
	for i := range list {
		k := names[list[i].KeyID]
		out[i] = KeySpend{KeyID: k.PublicID, KeyName: k.Name, Spend: spend(&list[i])}
	}
	return out, nil
}

// SpendTrend is spending by day (S1-51).
type SpendTrend struct {
	From     time.Time  `json:"from"`
	To       time.Time  `json:"to"`
	Currency string     `json:"currency"`
	Total    Spend      `json:"total"`
	Items    []SpendDay `json:"items" doc:"every day (UTC), oldest first"`
}

// SpendDay is a day of it.
type SpendDay struct {
	Date string `json:"date" example:"2026-11-30"`
	Spend
}

// SpendTrend adds whole days up.
func (s *Service) SpendTrend(ctx context.Context, key *store.KeyRow, f *SpendFilter) (*SpendTrend, error) {
	q, err := s.rollups(ctx, key, f)
	if err != nil {
		return nil, err
	}
	days, total, err := s.days(ctx, q)
	if err != nil {
		return nil, err
	}
	return &SpendTrend{From: f.From, To: f.To, Currency: "USD", Total: spend(&total), Items: spendDays(days)}, nil
}

// spendDays turns days, newest first, into those of a trend, oldest first.
func spendDays(days []store.HourRow) []SpendDay {
	out := make([]SpendDay, 0, len(days))
	for _, d := range slices.Backward(days) {
		out = append(out, SpendDay{Date: d.Hour.Format(time.DateOnly), Spend: spend(&d)})
	}
	return out
}

// SpendModels is spending by model (S1-52).
type SpendModels struct {
	From       time.Time    `json:"from"`
	To         time.Time    `json:"to"`
	Currency   string       `json:"currency"`
	Items      []ModelSpend `json:"items" doc:"the largest charge first"`
	NextCursor *string      `json:"next_cursor"`
}

// SpendModels adds up by model; after is the last model of the page before.
func (s *Service) SpendModels(ctx context.Context, key *store.KeyRow, f *SpendFilter, after string, limit int) (*SpendModels, error) {
	q, err := s.rollups(ctx, key, f)
	if err != nil {
		return nil, err
	}
	rows, err := s.db.Rollup(ctx, store.RollupFilter{HourlyFilter: q, ByModel: true})
	if err != nil {
		return nil, err
	}
	list := modelSpends(rows) // as many as there are models
	if after != "" {
		i := slices.IndexFunc(list, func(m ModelSpend) bool { return m.Model == after })
		if i < 0 {
			return nil, ErrCursor
		}
		list = list[i+1:]
	}
	out := &SpendModels{From: f.From, To: f.To, Currency: "USD", Items: list[:min(len(list), limit)]}
	if len(list) > limit {
		out.NextCursor = &list[limit-1].Model
	}
	return out, nil
}

// SpendModel is spending on one model (S1-53).
type SpendModel struct {
	Model    string     `json:"model"`
	From     time.Time  `json:"from"`
	To       time.Time  `json:"to"`
	Currency string     `json:"currency"`
	Total    UsageSum   `json:"total"`
	Daily    []SpendDay `json:"daily" doc:"every day (UTC), oldest first"`
	Keys     []KeySpend `json:"keys" doc:"the largest charge first, at most 200"`
}

// SpendModel adds up the calls of f.Model. One that the customer neither sees nor has
// used in the time is store.ErrNotFound.
func (s *Service) SpendModel(ctx context.Context, key *store.KeyRow, f *SpendFilter) (*SpendModel, error) {
	q, err := s.rollups(ctx, key, f)
	if err != nil {
		return nil, err
	}
	days, total, err := s.days(ctx, q)
	if err != nil {
		return nil, err
	}
	out := &SpendModel{Model: q.Model, From: f.From, To: f.To, Currency: "USD", Total: usageSum(&total), Daily: spendDays(days)}
	if out.Total.Calls == 0 {
		if _, err := s.Model(ctx, key, f.Model); err != nil {
			return nil, err
		}
	}
	out.Keys, err = s.keySpends(ctx, q, 200)
	return out, err
}
