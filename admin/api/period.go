package api

import (
	"fmt"
	"time"

	"tokenrelay/admin/report"
)

// maxDays is the longest time that a report by day covers, as many rows as a page has.
const maxDays = 200

// spendQuery is the filters of reports that add calls up.
type spendQuery struct {
	From  time.Time `query:"from" doc:"first moment, RFC 3339 or a date (UTC); widened to a whole day"`
	To    time.Time `query:"to" doc:"moment before which the calls began, RFC 3339 or a date (UTC); widened to a whole day"`
	Model string    `query:"model" doc:"model id or alias" maxlen:"128"`
	KeyID string    `query:"key_id" doc:"id of an API key" maxlen:"64"`
}

// days is the filter in whole days: to left out is the end of today, from left out is
// back days before to.
func (q *spendQuery) days(now time.Time, back int) (*report.SpendFilter, error) {
	f, err := q.report(now, 24*time.Hour, back)
	if err == nil && f.To.Sub(f.From) > maxDays*24*time.Hour {
		err = badRequest("from", fmt.Sprintf("from is more than %d days before to", maxDays))
	}
	return f, err
}

// report is the filter in whole steps: back of them where from is left out.
func (q *spendQuery) report(now time.Time, step time.Duration, back int) (*report.SpendFilter, error) {
	f := &report.SpendFilter{Model: q.Model, KeyID: q.KeyID}
	to := q.To
	if to.IsZero() {
		to = now.UTC().Add(1)
	}
	if f.To = to.Truncate(step); f.To.Before(to) {
		f.To = f.To.Add(step)
	}
	f.From = q.From.Truncate(step)
	if q.From.IsZero() {
		f.From = f.To.Add(time.Duration(-back) * step)
	}
	if !f.From.Before(f.To) {
		return nil, badRequest("from", "from must be before to")
	}
	return f, nil
}
