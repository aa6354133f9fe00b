package api

import (
	"time"

	"github.com/gofiber/fiber/v2"

	"tokenrelay/admin/report"
	"tokenrelay/shared/apierr"
)

type breakdownQuery struct {
	spendQuery
	Limit int `query:"limit" doc:"calls listed as recent" min:"0" max:"200" default:"20"`
}

type chargePage struct {
	From       time.Time          `json:"from"`
	To         time.Time          `json:"to"`
	Items      []report.ChargeRow `json:"items"`
	NextCursor *string            `json:"next_cursor"`
}

type spendPageQuery struct {
	spendQuery
	page
}

// modelQuery is spendQuery for a model that the path names.
type modelQuery struct {
	From  time.Time `query:"from" doc:"first moment, RFC 3339 or a date (UTC); widened to a whole day"`
	To    time.Time `query:"to" doc:"moment before which the calls began, RFC 3339 or a date (UTC); widened to a whole day"`
	KeyID string    `query:"key_id" doc:"id of an API key" maxlen:"64"`
}

// defaultDays is what reports by day cover when nothing is said.
const defaultDays = 30

func (a *api) spendRoutes() []Route {
	return []Route{
		find("/openapi/v1/usage/breakdown", "S1-42", "What was used, by day, and the last calls", func(c *Call, q *breakdownQuery) (*report.UsageBreakdown, error) {
			f, err := q.days(a.Now(), defaultDays)
			if err != nil {
				return nil, err
			}
			return a.Report.UsageBreakdown(c.Context, c.Caller, f, q.Limit)
		}).refuses(apierr.NotFound),
		find("/openapi/v1/billing/cost-breakdown", "S1-43", "Charges by day, model and key, newest first", a.charges).refuses(apierr.NotFound),
		read(fiber.MethodGet, "/openapi/v1/cost/overview", "S1-50", "Spending at a glance", func(c *Call) (*report.SpendOverview, error) {
			return a.Report.SpendOverview(c.Context, c.Caller)
		}),
		find("/openapi/v1/cost/trend", "S1-51", "Spending by day", func(c *Call, q *spendQuery) (*report.SpendTrend, error) {
			f, err := q.days(a.Now(), defaultDays)
			if err != nil {
				return nil, err
			}
			return a.Report.SpendTrend(c.Context, c.Caller, f)
		}).refuses(apierr.NotFound),
		find("/openapi/v1/cost/models", "S1-52", "Spending by model", func(c *Call, q *spendPageQuery) (*report.SpendModels, error) {
			f, err := q.days(a.Now(), defaultDays)
			if err != nil {
				return nil, err
			}
			return a.Report.SpendModels(c.Context, c.Caller, f, q.Cursor, q.Limit)
		}).refuses(apierr.NotFound),
		find("/openapi/v1/cost/models/:model", "S1-53", "Spending on one model", func(c *Call, q *modelQuery) (*report.SpendModel, error) {
			all := spendQuery{From: q.From, To: q.To, KeyID: q.KeyID, Model: c.Param("model")}
			f, err := all.days(a.Now(), defaultDays)
			if err != nil {
				return nil, err
			}
			return a.Report.SpendModel(c.Context, c.Caller, f)
		}),
	}
}

func (a *api) charges(c *Call, q *spendPageQuery) (*chargePage, error) {
	f, err := q.days(a.Now(), defaultDays)
	if err != nil {
		return nil, err
	}
	rows, next, err := a.Report.Charges(c.Context, c.Caller, f, q.Cursor, q.Limit)
	return &chargePage{From: f.From, To: f.To, Items: rows, NextCursor: cursorOrNil(next)}, err
}
