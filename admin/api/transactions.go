package api

import (
	"time"

	"github.com/gofiber/fiber/v2"

	"tokenrelay/admin/report"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/reqid"
)

type transactionPage struct {
	Items      []report.Transaction `json:"items"`
	NextCursor *string              `json:"next_cursor"` // null on the last page
}

// transactionFilter is the filters that the list and the CSV share.
type transactionFilter struct {
	From      time.Time `query:"from" doc:"first moment, RFC 3339 or a date (UTC)"`
	To        time.Time `query:"to" doc:"moment before which it was, of a call its beginning; RFC 3339 or a date (UTC)"`
	Kind      string    `query:"kind" doc:"only movements of this kind" enum:"recharge,correction,refund,bad_debt,reservation,release,charge"`
	KeyID     string    `query:"key_id" doc:"only calls with this API key" maxlen:"64"`
	RequestID reqid.ID  `query:"request_id" doc:"only movements of one call"`
}

func (f *transactionFilter) report() report.TransactionFilter {
	return report.TransactionFilter{From: f.From, To: f.To, Kind: f.Kind, KeyID: f.KeyID, RequestID: f.RequestID}
}

type transactionQuery struct {
	transactionFilter
	page
}

func (a *api) transactionRoutes() []Route {
	return []Route{
		find("/openapi/v1/balance-transactions", "S1-30", "What moved the balance, newest first", a.transactions).refuses(apierr.NotFound),
		export("/openapi/v1/balance-transactions.csv", "S1-31", "The same as CSV, all pages", a.transactionsCSV).refuses(apierr.NotFound),
		read(fiber.MethodGet, "/openapi/v1/balance-transactions/:transaction_id", "S1-32", "One movement", func(c *Call) (*report.Transaction, error) {
			return a.Report.Transaction(c.Context, c.Caller, c.Param("transaction_id"))
		}),
	}
}

func (a *api) transactions(c *Call, q *transactionQuery) (*transactionPage, error) {
	f := q.report()
	f.Limit, f.After = q.Limit, q.Cursor
	list, next, err := a.Report.Transactions(c.Context, c.Caller, &f)
	if err != nil {
		return nil, err
	}
	return &transactionPage{Items: list, NextCursor: cursorOrNil(next)}, nil
}

func (a *api) transactionsCSV(c *Call, q *transactionFilter) (*table, error) {
	return &table{"balance-transactions.csv", report.TransactionHeader, a.Report.TransactionPages(c.Caller, q.report(), csvPageSize)}, nil
}
