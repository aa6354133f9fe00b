package api

import (
	"time"

	"tokenrelay/admin/report"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/reqid"
)

// billingPage is a page of calls, newest first.
type billingPage struct {
	Items      []report.BillingRow `json:"items"`
	NextCursor *string             `json:"next_cursor"` // null on the last page
}

// billingFilter is the filters that the list and the CSV share.
type billingFilter struct {
	From      time.Time `query:"from" doc:"first moment, RFC 3339 or a date (UTC)"`
	To        time.Time `query:"to" doc:"moment before which the calls began, RFC 3339 or a date (UTC)"`
	Model     string    `query:"model" doc:"model id or alias" maxlen:"128"`
	Status    string    `query:"status" doc:"how the calls ended" enum:"success,failed,timeout,cancelled,interrupted,refused"`
	KeyID     string    `query:"key_id" doc:"id of an API key" maxlen:"64"`
	RequestID reqid.ID  `query:"request_id" doc:"one request"`

	Conversation string `query:"conversation_id" doc:"the calls' x-conversation-id; refused calls are of none" maxlen:"128"`
}

func (f *billingFilter) report() report.BillingFilter {
	return report.BillingFilter{From: f.From, To: f.To, Model: f.Model, Status: f.Status, KeyID: f.KeyID, RequestID: f.RequestID, Conversation: f.Conversation}
}

// billingQuery is a page of them.
type billingQuery struct {
	billingFilter
	requestPage
}

// csvPageSize is how many rows of a file are read at a time.
const csvPageSize = 500

func (a *api) billingRoutes() []Route {
	return []Route{
		find("/openapi/v1/billing/detail", "S1-44", "Calls with their charges, newest first", a.billingDetail).refuses(apierr.NotFound),
		export("/openapi/v1/billing/detail.csv", "S1-45", "The same as CSV, all pages", a.billingDetailCSV).refuses(apierr.NotFound),
	}
}

func (a *api) billingDetail(c *Call, q *billingQuery) (*billingPage, error) {
	f := q.report()
	f.Limit, f.Before = q.Limit, q.Cursor
	rows, next, err := a.Report.Billing(c.Context, c.Caller, &f)
	if err != nil {
		return nil, err
	}
	page := &billingPage{Items: rows}
	if rows == nil {
		page.Items = []report.BillingRow{}
	}
	if !next.IsZero() {
		cursor := next.String()
		page.NextCursor = &cursor
	}
	return page, nil
}

// billingDetailCSV streams every page; the rows are read while they are written.
func (a *api) billingDetailCSV(c *Call, q *billingFilter) (*table, error) {
	return &table{"billing-detail.csv", report.BillingHeader, a.Report.BillingPages(c.Caller, q.report(), csvPageSize)}, nil
}
