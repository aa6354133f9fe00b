package api

import (
	"fmt"
	"time"

	"tokenrelay/admin/report"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/reqid"
)

// hoursQuery is the filters of reports by the hour.
type hoursQuery struct {
	From  time.Time `query:"from" doc:"first moment, RFC 3339 or a date (UTC); widened to a whole hour. Left out: a day before to"`
	To    time.Time `query:"to" doc:"moment before which the calls began, RFC 3339 or a date (UTC); widened to a whole hour. Left out: now"`
	Model string    `query:"model" doc:"model id or alias" maxlen:"128"`
	KeyID string    `query:"key_id" doc:"id of an API key" maxlen:"64"`
}

type chartQuery struct {
	hoursQuery
	Interval string `query:"interval" doc:"what a value covers; days widen from and to to whole days, and left out from is 30 days before to" enum:"hour,day" default:"hour"`
}

// logQuery is the filters of the log.
type logQuery struct {
	From      time.Time `query:"from" doc:"first moment, RFC 3339 or a date (UTC)"`
	To        time.Time `query:"to" doc:"moment before which the calls began, RFC 3339 or a date (UTC)"`
	Model     string    `query:"model" doc:"model id or alias" maxlen:"128"`
	Status    string    `query:"status" doc:"how the calls ended" enum:"Success,Failed,Timeout"`
	KeyID     string    `query:"key_id" doc:"id of an API key" maxlen:"64"`
	RequestID reqid.ID  `query:"request_id" doc:"one request"`

	Conversation string `query:"conversation_id" doc:"the calls' x-conversation-id; refused calls are of none" maxlen:"128"`
	requestPage
}

type logPage struct {
	Items      []report.LogRow `json:"items"`
	NextCursor *string         `json:"next_cursor"` // null on the last page
}

func (a *api) observationRoutes() []Route {
	return []Route{
		find("/openapi/v1/observation/metrics", "S1-54", "Success rate, durations and errors of a time", func(c *Call, q *hoursQuery) (*report.Observation, error) {
			all := spendQuery(*q)
			f, err := all.report(a.Now(), time.Hour, 24)
			if err == nil && f.To.Sub(f.From) > maxDays*24*time.Hour {
				err = badRequest("from", fmt.Sprintf("from is more than %d days before to", maxDays))
			}
			if err != nil {
				return nil, err
			}
			return a.Report.Observe(c.Context, c.Caller, f)
		}).refuses(apierr.NotFound),
		find("/openapi/v1/observation/charts", "S1-55", "The same as series by hour or day", a.charts).refuses(apierr.NotFound),
		find("/openapi/v1/observation/logs", "S1-56", "Calls, newest first", a.logs).refuses(apierr.NotFound),
	}
}

func (a *api) charts(c *Call, q *chartQuery) (*report.Charts, error) {
	all := spendQuery(q.hoursQuery)
	if q.Interval == "day" {
		f, err := all.days(a.Now(), defaultDays)
		if err != nil {
			return nil, err
		}
		return a.Report.Chart(c.Context, c.Caller, f, 24)
	}
	f, err := all.report(a.Now(), time.Hour, 24)
	if err == nil && f.To.Sub(f.From) > maxDays*time.Hour { // as many values as by day
		err = badRequest("from", fmt.Sprintf("from is more than %d hours before to; interval=day reaches further", maxDays))
	}
	if err != nil {
		return nil, err
	}
	return a.Report.Chart(c.Context, c.Caller, f, 1)
}

func (a *api) logs(c *Call, q *logQuery) (*logPage, error) {
	rows, next, err := a.Report.Logs(c.Context, c.Caller, &report.BillingFilter{
		From: q.From, To: q.To, Model: q.Model, LogStatus: q.Status, KeyID: q.KeyID, RequestID: q.RequestID, Conversation: q.Conversation, Limit: q.Limit, Before: q.Cursor,
	}, a.CreditsPerUSD)
	if err != nil {
		return nil, err
	}
	page := &logPage{Items: rows}
	if !next.IsZero() {
		page.NextCursor = cursorOrNil(next.String())
	}
	return page, nil
}
