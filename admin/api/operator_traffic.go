package api

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"tokenrelay/admin/report"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// callFilter selects calls of all customers.
type callFilter struct {
	From     time.Time `query:"from" doc:"first moment, RFC 3339 or a date (UTC)"`
	To       time.Time `query:"to" doc:"moment before which the calls began"`
	ClientID string    `query:"client_id" doc:"client_<n>" maxlen:"64"`
	KeyID    string    `query:"key_id" maxlen:"64"`
	Model    string    `query:"model" doc:"model id or alias" maxlen:"128"`
	Status   string    `query:"status" enum:"success,failed,timeout,cancelled,interrupted,refused"`

	Conversation string `query:"conversation_id" doc:"the calls' x-conversation-id, with client_id; refused calls are of none" maxlen:"128"`
}

type callQuery struct {
	callFilter
	requestPage
}

type callList struct {
	Items      []report.Call `json:"items"`
	NextCursor *string       `json:"next_cursor"`
}

type attemptQuery struct {
	requestPage
	From     time.Time `query:"from" doc:"first moment, RFC 3339 or a date (UTC)"`
	To       time.Time `query:"to" doc:"moment before which the calls began"`
	ClientID string    `query:"client_id" doc:"client_<n>" maxlen:"64"`
	Provider string    `query:"provider" maxlen:"64"`
	Outcome  string    `query:"outcome" enum:"ok,connect,timeout,status,error_event,cut,bad_response,cancelled"`
	Failed   bool      `query:"failed" doc:"true: all outcomes but ok"`
}

type attemptList struct {
	Items      []report.Attempt `json:"items" doc:"of as many calls as limit says"`
	NextCursor *string          `json:"next_cursor" doc:"a page may be empty and yet have one: what the filter selects is rare"`
}

// span is a time of reports.
type span struct {
	From time.Time `query:"from" doc:"first moment, RFC 3339 or a date (UTC); widened to whole days, or hours where the step is one"`
	To   time.Time `query:"to" doc:"moment before which the calls began; widened likewise"`
}

type providerQuery struct {
	span
	Provider string `query:"provider" maxlen:"64"`
	Daily    bool   `query:"daily" doc:"true: a row for each day"`
	By       string `query:"by" doc:"what is added up by" enum:"provider,route,key" default:"provider"`
}

type providerReport struct {
	From  time.Time            `json:"from"`
	To    time.Time            `json:"to"`
	Items []report.ProviderSum `json:"items"`
}

type marginQuery struct {
	span
	ClientID string `query:"client_id" doc:"client_<n>" maxlen:"64"`
	Model    string `query:"model" doc:"model id or alias" maxlen:"128"`
	Step     string `query:"step" doc:"all: the whole time is one" enum:"hour,day,all" default:"day"`
	By       string `query:"by" doc:"what is added up by, any of client, model and key with commas between" maxlen:"32"`
	page
}

type marginReport struct {
	From       time.Time          `json:"from"`
	To         time.Time          `json:"to"`
	Items      []report.MarginRow `json:"items"`
	NextCursor *string            `json:"next_cursor"`
}

type liveQuery struct {
	Calls int `query:"calls" doc:"how many of the last calls" min:"1" max:"200" default:"20"`
}

func (a *api) trafficRoutes() []Route {
	return []Route{
		find("/admin/v1/live", "S3-17", "What happens at the moment: running money, the last minute, the last calls", func(c *Call, q *liveQuery) (*report.Live, error) {
			return a.Report.Live(c.Context, q.Calls)
		}).by(operator),
		find("/admin/v1/calls", "S3-17", "Calls of all customers with what they cost, newest first", a.listCalls).by(operator).refuses(apierr.NotFound),
		export("/admin/v1/calls.csv", "S3-17", "The same as CSV", a.exportCalls).by(operator).refuses(apierr.NotFound),
		read(fiber.MethodGet, "/admin/v1/calls/:request_id", "S1-57", "One call with its attempts", func(c *Call) (*report.Call, error) {
			id, err := reqid.Parse(c.Param("request_id"))
			if err != nil {
				return nil, apierr.ErrNotFound
			}
			list, _, err := a.Report.Calls(c.Context, store.UsageFilter{All: true, RequestID: id, Refusals: true, Limit: 1})
			if err != nil {
				return nil, err
			}
			if len(list) == 0 {
				return nil, apierr.ErrNotFound
			}
			return &list[0], nil
		}).by(operator),
		find("/admin/v1/attempts", "S0-12", "Attempts at upstreams, each with its outcome and what the supplier takes for it", a.listAttempts).by(operator),
		find("/admin/v1/reports/providers", "S0-12", "What attempts at each provider came to", a.providerReport).by(operator).refuses(apierr.NotFound),
		find("/admin/v1/reports/margin", "D13", "Usage, charges, supplier's cost and margin by time, customer, model and key", a.marginReport).by(operator),
	}
}

// filter is the store's filter of f. A client, key or model that does not exist is refused:
// a report about nothing would look like one about no calls.
func (a *api) callFilter(ctx context.Context, q *callFilter) (store.UsageFilter, error) {
	f := store.UsageFilter{All: true, From: q.From, To: q.To, Model: a.modelName(ctx, q.Model), Refusals: true}
	if q.ClientID != "" {
		id, ok := report.ParseClientID(q.ClientID)
		if !ok {
			return f, badRequest("client_id", "client_id must be like client_1")
		}
		client, err := a.DB.ClientByID(ctx, id)
		if err != nil {
			return f, err
		}
		f.WalletID, f.All = client.WalletID, false
	}
	if f.Conversation = q.Conversation; f.Conversation != "" && f.All {
		return f, badRequest("client_id", "client_id is needed with conversation_id: a conversation is one client's")
	}
	if q.KeyID != "" {
		k, err := a.DB.KeyByPublicID(ctx, 0, q.KeyID)
		if err != nil {
			return f, err
		}
		f.KeyID = k.ID
	}
	if q.Status != "" {
		status, _ := usage.ParseStatus(q.Status)
		f.Statuses = []usage.Status{status}
	}
	return f, nil
}

// modelName turns an alias into the public id; a model that is gone keeps its name.
func (a *api) modelName(ctx context.Context, name string) string {
	if name == "" {
		return ""
	}
	if catalogue, err := a.Report.Catalogue(ctx); err == nil {
		if m := catalogue.Find(name); m != nil {
			return m.PublicID
		}
	}
	return name
}

func (a *api) listCalls(c *Call, q *callQuery) (*callList, error) {
	f, err := a.callFilter(c.Context, &q.callFilter)
	if err != nil {
		return nil, err
	}
	f.Before, f.Limit = q.Cursor, q.Limit
	items, next, err := a.Report.Calls(c.Context, f)
	if err != nil {
		return nil, err
	}
	return &callList{Items: items, NextCursor: cursorOrNil(next)}, nil
}

func (a *api) exportCalls(c *Call, q *callFilter) (*table, error) {
	f, err := a.callFilter(c.Context, q)
	if err != nil {
		return nil, err
	}
	f.Limit = 900
	ended := false
	return &table{
		name: "calls.csv",
		header: []string{
			"request_id", "time", "client_id", "key_id", "model", "requested_model", "status", "http_status", "code", "input_tokens", "output_tokens",
			"hold", "charge", "cost", "overrun", "margin", "provider", "upstream_model", "attempts", "latency_ms",
		},
		next: func(ctx context.Context) ([][]string, error) {
			if ended {
				return nil, nil
			}
			items, next, err := a.Report.Calls(ctx, f)
			if err != nil {
				return nil, err
			}
			if ended = next == ""; !ended {
				if f.Before, err = reqid.Parse(next); err != nil {
					return nil, err
				}
			}
			rows := make([][]string, len(items))
			for i := range items {
				rows[i] = callRecord(&items[i])
			}
			return rows, nil
		},
	}, nil
}

func callRecord(v *report.Call) []string {
	var last report.Attempt
	if n := len(v.Attempts); n > 0 {
		last = v.Attempts[n-1]
	}
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	return []string{
		v.RequestID, v.Time.Format(time.RFC3339Nano), v.ClientID, v.KeyID, report.CSVText(v.Model), report.CSVText(v.RequestedModel), v.Status,
		number(int64(v.HTTPStatus)), v.Code, number(v.InputTokens), number(v.OutputTokens), v.Hold.String(), v.Charge.String(), v.Cost.String(),
		v.Overrun.String(), v.Margin.String(), report.CSVText(last.Provider), report.CSVText(last.UpstreamModel), number(int64(len(v.Attempts))), number(v.LatencyMS),
	}
}

func (a *api) listAttempts(c *Call, q *attemptQuery) (*attemptList, error) {
	f := store.AttemptFilter{From: q.From, To: q.To, Before: q.Cursor, Calls: q.Limit, Failed: q.Failed}
	if q.Outcome != "" {
		f.Outcome, _ = report.ParseOutcome(q.Outcome)
	}
	if q.ClientID != "" {
		id, ok := report.ParseClientID(q.ClientID)
		if !ok {
			return nil, badRequest("client_id", "client_id must be like client_1")
		}
		f.ClientID = id
	}
	items, next, err := a.Report.Attempts(c.Context, f, q.Provider)
	if err != nil {
		return nil, err
	}
	return &attemptList{Items: items, NextCursor: cursorOrNil(next)}, nil
}

// whole widens the time to whole steps; left out it is the last days.
func (q *span) whole(now time.Time, step time.Duration, back int) (from, to time.Time, err error) {
	all := spendQuery{From: q.From, To: q.To}
	f, err := all.report(now, step, back)
	if err != nil {
		return from, to, err
	}
	if most := maxDays * step; f.To.Sub(f.From) > most {
		return from, to, badRequest("from", "from is more than "+strconv.Itoa(maxDays)+" steps before to")
	}
	return f.From, f.To, nil
}

func (a *api) providerReport(c *Call, q *providerQuery) (*providerReport, error) {
	from, to, err := q.whole(a.Now(), 24*time.Hour, defaultDays)
	if err != nil {
		return nil, err
	}
	f := store.AttemptRollup{From: from, To: to, ByRoute: q.By == "route", ByKey: q.By == "key"}
	if q.Daily {
		f.Hours = 24
	}
	if q.Provider != "" {
		p, err := a.Report.ProviderID(c.Context, q.Provider)
		if err != nil {
			return nil, err
		}
		f.Provider = p
	}
	items, err := a.Report.ProviderSums(c.Context, f)
	return &providerReport{From: from, To: to, Items: items}, err
}

func (a *api) marginReport(c *Call, q *marginQuery) (*marginReport, error) {
	step, hours := 24*time.Hour, 24
	switch q.Step {
	case "hour":
		step, hours = time.Hour, 1
	case "all":
		hours = 0
	}
	back := defaultDays
	if q.Step == "hour" {
		back = 24
	}
	from, to, err := q.whole(a.Now(), step, back)
	if err != nil {
		return nil, err
	}
	f := store.RollupFilter{HourlyFilter: store.HourlyFilter{From: from, To: to, Model: a.modelName(c.Context, q.Model)}, Hours: hours, Limit: q.Limit}
	if q.ClientID != "" {
		id, ok := report.ParseClientID(q.ClientID)
		if !ok {
			return nil, badRequest("client_id", "client_id must be like client_1")
		}
		f.ClientID = id
	}
	if q.By != "" {
		for word := range strings.SplitSeq(q.By, ",") {
			switch word {
			case "client":
				f.ByClient = true
			case "model":
				f.ByModel = true
			case "key":
				f.ByKey = true
			default:
				return nil, badRequest("by", "by must be any of client, model and key, with commas between")
			}
		}
	}
	if f.After, err = report.ParseRollupCursor(q.Cursor, &f); err != nil {
		return nil, err
	}
	items, next, err := a.Report.Margins(c.Context, f)
	if err != nil {
		return nil, err
	}
	out := &marginReport{From: from, To: to, Items: items}
	if next != nil {
		out.NextCursor = cursorOrNil(report.RollupCursor(next))
	}
	return out, nil
}
