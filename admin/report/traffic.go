package report

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"tokenrelay/shared/money"
	"tokenrelay/shared/price"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// Call is a call as operators see it: who made it, what it brought, who served it.
type Call struct {
	RequestID       string           `json:"request_id"`
	ClientRequestID string           `json:"client_request_id"`
	ConversationID  string           `json:"conversation_id"`
	Time            time.Time        `json:"time"`
	ClientID        string           `json:"client_id"`
	KeyID           string           `json:"key_id"`
	KeyName         string           `json:"key_name"`
	Proxy           string           `json:"proxy"`
	Model           string           `json:"model"`
	RequestedModel  string           `json:"requested_model"`
	Status          string           `json:"status" enum:"success,failed,timeout,cancelled,interrupted,refused"`
	HTTPStatus      int16            `json:"http_status"`
	Code            string           `json:"code"`
	Flags           string           `json:"flags"`
	UsageSource     string           `json:"usage_source"`
	InputTokens     int64            `json:"input_tokens"`
	OutputTokens    int64            `json:"output_tokens"`
	Usage           map[string]int64 `json:"usage"`
	Hold            money.Amount     `json:"hold"`
	Charge          money.Amount     `json:"charge"`
	Cost            money.Amount     `json:"cost"`
	Overrun         money.Amount     `json:"overrun"`
	Margin          money.Amount     `json:"margin"`
	PriceID         int64            `json:"price_id"`
	CostPriceID     int64            `json:"cost_price_id"`
	ModelPPM        string           `json:"model_multiplier"`
	GroupPPM        string           `json:"group_multiplier"`
	ClientPPM       string           `json:"client_multiplier"`
	Late            bool             `json:"late" doc:"charged after its lease was closed"`
	LatencyMS       int64            `json:"latency_ms"`
	FirstTokenMS    *int64           `json:"first_token_ms"`
	Attempts        []Attempt        `json:"attempts"`
}

// Attempt is one try at one upstream.
type Attempt struct {
	RequestID     string       `json:"request_id"`
	ClientID      string       `json:"client_id"`
	N             int          `json:"n" doc:"of the call, from 1"`
	Time          time.Time    `json:"time"`
	Provider      string       `json:"provider" doc:"empty: the route is not known any more"`
	ProviderKey   string       `json:"provider_key"`
	RouteID       int64        `json:"route_id"`
	Model         string       `json:"model"`
	UpstreamModel string       `json:"upstream_model"`
	HTTPStatus    int32        `json:"http_status" doc:"of the upstream, 0: none came"`
	Outcome       string       `json:"outcome"`
	DurationMS    int64        `json:"duration_ms"`
	Cost          money.Amount `json:"cost" doc:"what the supplier takes; of an attempt before the last one 0: it ended without an answer that could be charged"`
}

// names knows what ids of rows are called.
type names struct {
	routes map[int64]store.RouteName
	keys   map[int64]string
}

func (s *Service) names(ctx context.Context) (*names, error) {
	routes, err := s.db.RouteNames(ctx)
	if err != nil {
		return nil, err
	}
	keys, err := s.db.AllProviderKeys(ctx)
	if err != nil {
		return nil, err
	}
	n := &names{routes: routes, keys: make(map[int64]string, len(keys))}
	for i := range keys {
		n.keys[keys[i].ID] = keys[i].Name
	}
	return n, nil
}

func (n *names) attempt(a *store.AttemptRow, admitted time.Time) Attempt {
	r := n.routes[a.RouteID]
	return Attempt{
		RequestID: a.RequestID.String(), ClientID: ClientID(a.ClientID), N: a.N, Time: admitted.Add(time.Duration(a.StartMicros) * time.Microsecond).UTC(),
		Provider: r.Provider, ProviderKey: n.keys[a.ProviderKeyID], RouteID: a.RouteID, Model: a.Model, UpstreamModel: r.UpstreamModel,
		HTTPStatus: a.HTTPStatus, Outcome: a.Outcome.String(), DurationMS: max(0, int64(a.EndMicros-a.StartMicros)/1000), Cost: a.Cost,
	}
}

// Calls lists calls of all customers, newest first, and the last one's id when there are
// more.
func (s *Service) Calls(ctx context.Context, f store.UsageFilter) (list []Call, next string, err error) {
	limit := f.Limit
	f.Limit++
	rows, err := s.db.Usage(ctx, f)
	if err != nil {
		return nil, "", err
	}
	if len(rows) > limit {
		rows = rows[:limit]
		next = rows[limit-1].ID.String()
	}
	n, err := s.names(ctx)
	if err != nil {
		return nil, "", err
	}
	list = make([]Call, len(rows))
	for i := range rows {
		if list[i], err = n.call(&rows[i]); err != nil {
			return nil, "", err
		}
	}
	return list, next, nil
}

func (n *names) call(u *store.UsageRow) (Call, error) {
	admitted := time.UnixMicro(u.AdmittedMicros)
	v := Call{
		RequestID: u.ID.String(), ClientRequestID: u.ClientRequestID, ConversationID: u.ConversationID, Time: admitted.UTC(), ClientID: ClientID(u.ClientID), KeyID: u.KeyPublicID, KeyName: u.KeyName,
		Proxy: u.ProxyName, Model: u.Model, RequestedModel: u.RequestedModel, Status: u.Status.String(), HTTPStatus: u.HTTPStatus, Code: u.Code,
		Flags: u.Flags.String(), UsageSource: u.Source.String(), InputTokens: u.Units.TotalInput(), OutputTokens: u.Units.TotalOutput(),
		Usage: unitsByClass(&u.Units), Hold: u.Hold, Charge: u.Charge, Cost: u.Cost, Overrun: u.Overrun,
		PriceID: u.PriceID, CostPriceID: u.CostPriceID, ModelPPM: price.FormatPPM(u.ModelPPM), GroupPPM: price.FormatPPM(u.GroupPPM),
		ClientPPM: price.FormatPPM(u.ClientPPM), Late: u.Late, LatencyMS: max(0, (u.EndMicros-u.AdmittedMicros)/1000), Attempts: []Attempt{},
	}
	if u.FirstTokenMicros > 0 {
		ms := int64(u.FirstTokenMicros) / 1000
		v.FirstTokenMS = &ms
	}
	var err error
	if v.Margin, err = u.Charge.Sub(u.Cost); err != nil {
		return v, err
	}
	last := min(int(u.NumAttempts), len(u.Attempts))
	for i := range last {
		a := store.AttemptRow{RequestID: u.ID, N: i + 1, ClientID: u.ClientID, KeyID: u.KeyID, Model: u.Model, Attempt: u.Attempts[i]}
		if i == last-1 {
			a.Cost = u.Cost
		}
		v.Attempts = append(v.Attempts, n.attempt(&a, admitted))
	}
	return v, nil
}

// Attempts lists attempts, the newest call's first; next is "" on the last page. A page
// may be empty and not the last one: what the filter selects is rare.
func (s *Service) Attempts(ctx context.Context, f store.AttemptFilter, provider string) (list []Attempt, next string, err error) {
	n, err := s.names(ctx)
	if err != nil {
		return nil, "", err
	}
	list = []Attempt{}
	if provider != "" {
		for _, r := range n.routes {
			if r.Provider == provider {
				f.ProviderID = r.ProviderID
			}
		}
		if f.ProviderID == 0 { // no route: no attempt
			return list, "", nil
		}
	}
	rows, last, more, err := s.db.Attempts(ctx, f)
	if err != nil {
		return nil, "", err
	}
	for i := range rows {
		list = append(list, n.attempt(&rows[i], rows[i].RequestID.Time()))
	}
	if more {
		next = last.String()
	}
	return list, next, nil
}

// ProviderSum is what attempts at a provider, or at one of its routes, came to.
type ProviderSum struct {
	Date          *string      `json:"date" doc:"day (UTC); null: the whole time"`
	Provider      string       `json:"provider" doc:"empty: not known any more"`
	RouteID       int64        `json:"route_id" doc:"0: all of the provider"`
	Model         string       `json:"model"`
	UpstreamModel string       `json:"upstream_model"`
	ProviderKey   string       `json:"provider_key" doc:"empty: all of the provider"`
	Attempts      int64        `json:"attempts"`
	OK            int64        `json:"ok"`
	Connect       int64        `json:"connect_failed"`
	Timeout       int64        `json:"timeout"`
	RateLimited   int64        `json:"rate_limited"`
	Refused       int64        `json:"refused" doc:"other statuses from 400 to 499"`
	ServerError   int64        `json:"server_error"`
	Broken        int64        `json:"broken" doc:"error events, cut streams, unreadable answers"`
	Cancelled     int64        `json:"cancelled" doc:"given up because the caller left"`
	SuccessRate   *float64     `json:"success_rate" doc:"of those that were not cancelled; null without any"`
	MeanMS        *int64       `json:"mean_ms"`
	Cost          money.Amount `json:"cost"`
}

// ProviderSums adds attempts up.
func (s *Service) ProviderSums(ctx context.Context, f store.AttemptRollup) ([]ProviderSum, error) {
	rows, err := s.db.AttemptSums(ctx, f)
	if err != nil {
		return nil, err
	}
	n, err := s.names(ctx)
	if err != nil {
		return nil, err
	}
	providers := map[int64]string{}
	for _, r := range n.routes {
		providers[r.ProviderID] = r.Provider
	}
	list := make([]ProviderSum, len(rows))
	for i := range rows {
		r := &rows[i]
		v := ProviderSum{
			Provider: providers[r.ProviderID], RouteID: r.RouteID, Model: n.routes[r.RouteID].Model, UpstreamModel: n.routes[r.RouteID].UpstreamModel,
			ProviderKey: n.keys[r.KeyID], Attempts: r.N, OK: r.OK, Connect: r.Connect, Timeout: r.Timeout, RateLimited: r.Status429, Refused: r.Status4xx,
			ServerError: r.Status5xx, Broken: r.Broken, Cancelled: r.Cancelled, Cost: r.Cost,
		}
		if f.Hours > 0 {
			day := r.Hour.Format(time.DateOnly)
			v.Date = &day
		}
		if ended := r.N - r.Cancelled; ended > 0 {
			rate := float64(r.OK) / float64(ended)
			v.SuccessRate = &rate
		}
		if r.N > 0 {
			ms := r.Micros / r.N / 1000
			v.MeanMS = &ms
		}
		list[i] = v
	}
	return list, nil
}

// MarginRow is a sum of calls with what they cost.
type MarginRow struct {
	Time     *time.Time `json:"time" doc:"first moment of the hour or day; null: the whole time"`
	ClientID *string    `json:"client_id"` // null: all, as the two below
	KeyID    *string    `json:"key_id"`
	Model    *string    `json:"model"`
	UsageSum
	Cost    money.Amount `json:"cost"`
	Overrun money.Amount `json:"overrun"`
	Margin  money.Amount `json:"margin"`
}

// Margins adds calls of all customers up, newest first; after is the last row of the page
// before, and next the one to go on from, nil on the last page.
func (s *Service) Margins(ctx context.Context, f store.RollupFilter) (list []MarginRow, next *store.HourRow, err error) {
	limit := f.Limit
	f.Limit++
	rows, err := s.db.Rollup(ctx, f)
	if err != nil {
		return nil, nil, err
	}
	if len(rows) > limit {
		rows = rows[:limit]
		next = &rows[limit-1]
	}
	var ids []int64
	for i := range rows {
		if f.ByKey {
			ids = append(ids, rows[i].KeyID)
		}
	}
	keys := map[int64]store.KeyName{}
	if ids != nil {
		if keys, err = s.db.KeyNames(ctx, ids); err != nil {
			return nil, nil, err
		}
	}
	list = make([]MarginRow, len(rows))
	for i := range rows {
		h := &rows[i]
		v := MarginRow{UsageSum: usageSum(h), Cost: h.Cost, Overrun: h.Overrun}
		if v.Margin, err = h.Charge.Sub(h.Cost); err != nil {
			return nil, nil, err
		}
		if f.Hours > 0 {
			v.Time = &h.Hour
		}
		if f.ByClient {
			id := ClientID(h.ClientID)
			v.ClientID = &id
		}
		if f.ByKey {
			id := keys[h.KeyID].PublicID
			v.KeyID = &id
		}
		if f.ByModel {
			v.Model = &h.Model
		}
		list[i] = v
	}
	return list, next, nil
}

// Live is what happens at the moment, for operators.
type Live struct {
	Time     time.Time    `json:"time"`
	Proxies  []LiveProxy  `json:"proxies"`
	Reserved money.Amount `json:"reserved" doc:"held by running calls"`
	Steps    []LiveStep   `json:"steps" doc:"the last minute in steps of 5 s, oldest first: calls that began in it and have ended"`
	Sampled  bool         `json:"sampled" doc:"true: there were more calls than were looked at, the oldest are missing"`
	Calls    []Call       `json:"calls" doc:"the last that have ended, refused ones among them, newest first"`
}

// LiveProxy is a proxy with running calls.
type LiveProxy struct {
	Name     string       `json:"name"`
	Wallets  int64        `json:"wallets" doc:"customers with running calls"`
	Reserved money.Amount `json:"reserved"`
}

// LiveStep is 5 s.
type LiveStep struct {
	Time    time.Time    `json:"time"`
	Calls   int64        `json:"calls"`
	Failed  int64        `json:"failed"`
	Clients int64        `json:"clients"`
	Charge  money.Amount `json:"charge"`
}

// Live reads what happens at the moment, with the last calls.
func (s *Service) Live(ctx context.Context, calls int) (*Live, error) {
	now, err := s.db.Live(ctx)
	if err != nil {
		return nil, err
	}
	proxies, err := s.db.Proxies(ctx)
	if err != nil {
		return nil, err
	}
	out := &Live{Time: now.Now.UTC(), Proxies: []LiveProxy{}, Steps: []LiveStep{}, Reserved: now.Reserved, Sampled: now.Sampled}
	for i := range proxies {
		p := &proxies[i]
		at := slices.IndexFunc(now.Proxies, func(l store.LiveProxy) bool { return l.Slot == p.ID })
		switch {
		case at >= 0:
			out.Proxies = append(out.Proxies, LiveProxy{Name: p.Name, Wallets: now.Proxies[at].Wallets, Reserved: now.Proxies[at].Reserved})
		case p.Live:
			out.Proxies = append(out.Proxies, LiveProxy{Name: p.Name})
		}
	}
	for _, step := range now.Steps {
		out.Steps = append(out.Steps, LiveStep{Time: step.At, Calls: step.Calls, Failed: step.Failed, Clients: step.Clients, Charge: step.Charge})
	}
	out.Calls, _, err = s.Calls(ctx, store.UsageFilter{All: true, Limit: calls, Refusals: true, From: now.Now.Add(-time.Hour)})
	return out, err
}

// SelfAudit is what the relay has found when it proved its books by itself.
type SelfAudit struct {
	Clean   bool        `json:"clean" doc:"nothing was broken in what was proven"`
	Slices  int         `json:"slices" doc:"into which the wallets are cut; one is proven every 10 minutes"`
	Proven  int         `json:"proven" doc:"slices that were proven at all"`
	Oldest  *time.Time  `json:"oldest" doc:"when the slice was proven that is waiting longest; null: none was"`
	Newest  *time.Time  `json:"newest"`
	Wallets int64       `json:"wallets"`
	Broken  int64       `json:"broken"`
	Lines   []AuditLine `json:"lines" doc:"each invariant over all slices"`
	Last    *Audit      `json:"last" doc:"the slice that was proven last"`
}

// SelfAudit adds the slices up.
func (s *Service) SelfAudit(ctx context.Context) (*SelfAudit, error) {
	rows, err := s.db.SelfAudits(ctx)
	if err != nil {
		return nil, err
	}
	out := &SelfAudit{Clean: true, Lines: []AuditLine{}, Proven: len(rows)}
	for i := range rows {
		r := &rows[i]
		var a Audit
		if err := json.Unmarshal(r.Report, &a); err != nil {
			return nil, err
		}
		at := r.At.UTC()
		out.Slices, out.Wallets, out.Broken = r.Slices, out.Wallets+a.Wallets, out.Broken+r.Broken
		out.Clean = out.Clean && r.Broken == 0
		if out.Oldest == nil || at.Before(*out.Oldest) {
			out.Oldest = &at
		}
		if out.Newest == nil || at.After(*out.Newest) {
			out.Newest, out.Last = &at, &a
		}
		for _, l := range a.Lines {
			j := slices.IndexFunc(out.Lines, func(o AuditLine) bool { return o.ID == l.ID })
			if j < 0 {
				out.Lines = append(out.Lines, l)
				continue
			}
			o := &out.Lines[j]
			o.Checked, o.Broken, o.Worst = o.Checked+l.Checked, o.Broken+l.Broken, max(o.Worst, l.Worst)
			o.Samples = append(o.Samples, l.Samples[:min(len(l.Samples), max(0, 10-len(o.Samples)))]...)
		}
	}
	return out, nil
}

// ParseOutcome reads the name of an attempt's outcome.
func ParseOutcome(name string) (usage.Outcome, bool) {
	for o := usage.OutcomeOK; o <= usage.OutcomeCancelled; o++ {
		if o.String() == name {
			return o, true
		}
	}
	return 0, false
}

// RollupCursor is where a page of sums ended, as text.
func RollupCursor(h *store.HourRow) string {
	return strings.Join([]string{
		strconv.FormatInt(max(0, h.Hour.Unix()), 36), strconv.FormatInt(h.ClientID, 36), strconv.FormatInt(h.KeyID, 36), base64.RawURLEncoding.EncodeToString([]byte(h.Model)),
	}, ".")
}

// ParseRollupCursor reads it back, nil for "". One of another grouping is ErrCursor.
func ParseRollupCursor(text string, f *store.RollupFilter) (*store.HourRow, error) {
	if text == "" {
		return nil, nil
	}
	parts := strings.Split(text, ".")
	if len(parts) != 4 {
		return nil, ErrCursor
	}
	var n [3]int64
	for i := range n {
		var err error
		if n[i], err = strconv.ParseInt(parts[i], 36, 64); err != nil || n[i] < 0 || n[i] > 1<<53 {
			return nil, ErrCursor
		}
	}
	model, err := base64.RawURLEncoding.DecodeString(parts[3])
	if err != nil || !utf8.Valid(model) || strings.ContainsRune(string(model), 0) {
		return nil, ErrCursor
	}
	if f.Hours > 0 != (n[0] > 0) || f.ByClient != (n[1] > 0) || f.ByKey != (n[2] > 0) || f.ByModel != (len(model) > 0) {
		return nil, ErrCursor
	}
	return &store.HourRow{Hour: time.Unix(n[0], 0).UTC(), ClientID: n[1], KeyID: n[2], Model: string(model)}, nil
}

// ProviderID finds the row of a provider, store.ErrNotFound if there is none.
func (s *Service) ProviderID(ctx context.Context, name string) (int64, error) {
	rows, err := s.db.LoadCatalog(ctx)
	if err != nil {
		return 0, err
	}
	for i := range rows.Providers {
		if rows.Providers[i].Slug == name {
			return rows.Providers[i].ID, nil
		}
	}
	return 0, store.ErrNotFound
}
