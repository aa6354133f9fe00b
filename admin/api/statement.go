package api

import (
	"context"
	"time"

	"github.com/gofiber/fiber/v2"

	"tokenrelay/admin/report"
)

var monthParam = Param{"month", "YYYY-MM (UTC), default: this month"}

func (a *api) statementRoutes() []Route {
	statement := read(fiber.MethodGet, "/openapi/v1/billing/monthly-statement", "S1-46", "A month's calls and payments, added up", a.statement).query(monthParam)
	csv := read(fiber.MethodGet, "/openapi/v1/billing/monthly-statement.csv", "S1-47", "The same as CSV", a.statementCSV).query(monthParam)
	csv.CSV = true
	return []Route{statement, csv}
}

func (a *api) statement(c *Call) (*report.Statement, error) {
	month := a.Now().UTC()
	if text := c.c.Query("month"); text != "" {
		var err error
		if month, err = time.Parse("2006-01", text); err != nil || month.Year() < 2000 {
			return nil, badRequest("month", "month must be like 2026-11")
		}
	}
	return a.Report.Statement(c.Context, c.Caller.ClientID, c.Caller.WalletID, month)
}

func (a *api) statementCSV(c *Call) (any, error) {
	st, err := a.statement(c)
	if err != nil {
		return nil, err
	}
	done := false
	return nil, a.sendCSV(c, "statement-"+st.Month+".csv", report.StatementHeader, func(context.Context) ([][]string, error) {
		if done {
			return nil, nil
		}
		done = true
		return st.Records(), nil
	})
}
