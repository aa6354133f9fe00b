package api

import (
	"github.com/gofiber/fiber/v2"

	"tokenrelay/admin/report"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/usage"
)

// billingPage is a page of calls, newest first.
type billingPage struct {
	Items      []report.BillingRow `json:"items"`
	NextCursor *string             `json:"next_cursor"` // null on the last page
}

var billingFilters = []Param{
	{"from", "first moment, RFC 3339 or a date (UTC)"},
	{"to", "moment before which the calls began, RFC 3339 or a date (UTC)"},
	{"model", "model id or alias"},
	{"status", "success, failed, timeout, cancelled, interrupted or refused"},
	{"key_id", "id of an API key"},
	{"request_id", "one request"},
}

const (
	billingPageSize = 50
	billingPageMax  = 200
	csvPageSize     = 500
)

func (a *api) billingRoutes() []Route {
	detail := read(fiber.MethodGet, "/openapi/v1/billing/detail", "S1-44", "Calls with their charges, newest first", a.billingDetail).
		query(billingFilters...).
		query(Param{"cursor", "next_cursor of the page before"}, Param{"limit", "rows of a page, 1 to 200, default 50"})
	csv := read(fiber.MethodGet, "/openapi/v1/billing/detail.csv", "S1-45", "The same as CSV, all pages", a.billingDetailCSV).
		query(billingFilters...)
	csv.CSV = true
	return []Route{detail, csv}
}

// billingFilter reads the filters that the list and the CSV share.
func billingFilter(c *Call) (f report.BillingFilter, err error) {
	if f.From, err = timeParam(c.c, "from"); err != nil {
		return f, err
	}
	if f.To, err = timeParam(c.c, "to"); err != nil {
		return f, err
	}
	f.Model, f.Status, f.KeyID = c.c.Query("model"), c.c.Query("status"), c.c.Query("key_id")
	if f.Status != "" {
		if _, ok := usage.ParseStatus(f.Status); !ok {
			return f, badRequest("status", "status must be success, failed, timeout, cancelled, interrupted or refused")
		}
	}
	if text := c.c.Query("request_id"); text != "" {
		if f.RequestID, err = reqid.Parse(text); err != nil {
			return f, badRequest("request_id", "request_id is not a request id")
		}
	}
	return f, nil
}

func (a *api) billingDetail(c *Call) (*billingPage, error) {
	f, err := billingFilter(c)
	if err != nil {
		return nil, err
	}
	if f.Limit, err = limitParam(c.c, billingPageSize, billingPageMax); err != nil {
		return nil, err
	}
	if text := c.c.Query("cursor"); text != "" {
		if f.Before, err = reqid.Parse(text); err != nil {
			return nil, badRequest("cursor", "cursor is not one that this endpoint gave")
		}
	}
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
func (a *api) billingDetailCSV(c *Call) (any, error) {
	f, err := billingFilter(c)
	if err != nil {
		return nil, err
	}
	return nil, a.sendCSV(c, "billing-detail.csv", report.BillingHeader, a.Report.BillingPages(c.Caller, f, csvPageSize))
}
