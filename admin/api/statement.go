package api

import (
	"context"

	"tokenrelay/admin/report"
)

type monthQuery struct {
	Month Month `query:"month" doc:"YYYY-MM (UTC), left out: this month"`
}

func (a *api) statementRoutes() []Route {
	return []Route{
		find("/openapi/v1/billing/monthly-statement", "S1-46", "A month's calls and payments, added up", a.statement),
		export("/openapi/v1/billing/monthly-statement.csv", "S1-47", "The same as CSV", a.statementCSV),
	}
}

func (a *api) statement(c *Call, q *monthQuery) (*report.Statement, error) {
	month := q.Month.Time
	if month.IsZero() {
		month = a.Now().UTC()
	}
	return a.Report.Statement(c.Context, c.Caller.ClientID, c.Caller.WalletID, month)
}

func (a *api) statementCSV(c *Call, q *monthQuery) (*table, error) {
	st, err := a.statement(c, q)
	if err != nil {
		return nil, err
	}
	done := false
	return &table{"statement-" + st.Month + ".csv", report.StatementHeader, func(context.Context) ([][]string, error) {
		if done {
			return nil, nil
		}
		done = true
		return st.Records(), nil
	}}, nil
}
