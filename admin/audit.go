package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"tokenrelay/admin/manage"
	"tokenrelay/admin/report"
	"tokenrelay/shared/store"
)

func audit(ctx context.Context, p *process, usage string, args []string) error {
	s := newSettings(usage)
	var client, since string
	var strict bool
	s.set.String(&client, "client", "", "only this customer's wallet")
	s.set.String(&since, "since", "", "recompute charges from the month of this date on (YYYY-MM-DD); none given: all")
	s.set.Bool(&strict, "strict", "off", "also fail on records that were set aside")
	if _, err := s.parse(p, args); err != nil {
		return err
	}
	var o store.AuditOptions
	if since != "" {
		t, err := time.Parse(time.DateOnly, since)
		if err != nil {
			return usageError("--since must be a date like 2026-11-30")
		}
		o.Since = t
	}
	result, err := auditBooks(ctx, s, client, o)
	if err != nil {
		return &exit{code: exitUsage, err: fmt.Errorf("could not check the books: %s", message(err))}
	}
	if err := s.print(p, result, func(w io.Writer) { printAudit(w, result) }); err != nil {
		return &exit{code: exitUsage, err: err}
	}
	return auditVerdict(result, strict)
}

// auditVerdict is the exit code of an audit: 1 if the books are broken.
func auditVerdict(a *report.Audit, strict bool) error {
	if !a.Clean || strict && a.Rejected > 0 {
		return &exit{code: exitFailed}
	}
	return nil
}

func auditBooks(ctx context.Context, s *settings, client string, o store.AuditOptions) (*report.Audit, error) {
	db, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	if client != "" {
		c, err := manage.New(db, nil, "", now).ClientByName(ctx, client)
		if err != nil {
			return nil, err
		}
		o.WalletID = c.WalletID
	}
	r, err := db.Audit(ctx, o)
	if err != nil {
		return nil, err
	}
	return report.ViewAudit(r), nil
}

func printAudit(w io.Writer, a *report.Audit) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "INVARIANT\t\tCHECKED\tBROKEN\tWORST")
	for _, l := range a.Lines {
		_, _ = fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%s\n", l.ID, l.Name, l.Checked, l.Broken, l.Worst)
	}
	_ = t.Flush()
	for _, l := range a.Lines {
		for _, sample := range l.Samples {
			_, _ = fmt.Fprintf(w, "  %s broken: %s\n", l.ID, sample)
		}
	}
	_, _ = fmt.Fprintf(w, "With proxies (in flight or not shipped): %s USD. Written off (bad debt, overrun): %s USD. Interrupted calls: %d. Records set aside: %d.\n",
		a.Leased, a.WrittenOff, a.Interrupted, a.Rejected)
	if a.Clean {
		_, _ = fmt.Fprintln(w, "The books are right.")
	} else {
		_, _ = fmt.Fprintln(w, "THE BOOKS ARE BROKEN.")
	}
}
