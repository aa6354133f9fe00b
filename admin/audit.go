package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"tokenrelay/admin/manage"
	"tokenrelay/admin/prove"
	"tokenrelay/admin/report"
	"tokenrelay/shared/store"
)

// auditFlags is what admin audit was asked.
type auditFlags struct {
	client, wallet, since, statement, csv, journals string
	deep, strict                                    bool

	o     store.AuditOptions
	month time.Time
}

func (f *auditFlags) read() (err error) {
	f.o.Deep = f.deep
	if f.since != "" {
		if f.o.Since, err = time.Parse(time.DateOnly, f.since); err != nil {
			return usageError("--since must be a date like 2026-11-30")
		}
	}
	if f.wallet != "" {
		if f.client != "" {
			return usageError("--client and --wallet name the same thing: give one")
		}
		if f.o.WalletID, err = strconv.ParseInt(f.wallet, 10, 64); err != nil || f.o.WalletID <= 0 {
			return usageError("--wallet must be the number of a wallet")
		}
	}
	if (f.statement == "") != (f.csv == "") {
		return usageError("--statement YYYY-MM and --csv FILE go together")
	}
	if f.statement != "" {
		if f.month, err = time.Parse("2006-01", f.statement); err != nil {
			return usageError("--statement must be a month like 2026-11")
		}
		if f.client == "" && f.wallet == "" {
			return usageError("--statement needs --client or --wallet: whose is it?")
		}
	}
	return nil
}

func audit(ctx context.Context, p *process, usage string, args []string) error {
	s := newSettings(usage)
	var f auditFlags
	s.set.String(&f.client, "client", "", "only this customer's wallet")
	s.set.String(&f.wallet, "wallet", "", "only this wallet, by its number")
	s.set.String(&f.since, "since", "", "add the rows again from this date on (YYYY-MM-DD, UTC), not only those of the open hours")
	s.set.Bool(&f.deep, "deep", "off", "add all rows again, hash every closed day again")
	s.set.String(&f.statement, "statement", "", "with --csv: the month (YYYY-MM) of the customer's bill")
	s.set.String(&f.csv, "csv", "", "with --statement: billing detail as CSV that the customer holds, - is stdin")
	s.set.String(&f.journals, "journals", "", "compare journals with the books: data folders separated by commas, or the word proxies")
	s.set.Bool(&f.strict, "strict", "off", "ask every live proxy too, fail on anything unexplained, print the three honest numbers")
	if _, err := s.parse(p, args); err != nil {
		return err
	}
	if err := f.read(); err != nil {
		return err
	}
	result, err := auditBooks(ctx, s, p, &f)
	if err != nil {
		return &exit{code: exitUsage, err: fmt.Errorf("could not check the books: %s", message(err))}
	}
	if err := s.print(p, result, func(w io.Writer) { printAudit(w, result) }); err != nil {
		return &exit{code: exitUsage, err: err}
	}
	return auditVerdict(result, f.strict)
}

// auditVerdict is the exit code of an audit: 1 if the books are broken.
func auditVerdict(a *report.Audit, strict bool) error {
	if !a.Clean || strict && a.Rejected > 0 {
		return &exit{code: exitFailed}
	}
	return nil
}

func auditBooks(ctx context.Context, s *settings, p *process, f *auditFlags) (*report.Audit, error) {
	db, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	if f.client != "" {
		c, err := manage.New(db, nil, "", now).ClientByName(ctx, f.client)
		if err != nil {
			return nil, err
		}
		f.o.WalletID = c.WalletID
	}
	var more []store.AuditLine
	var held *prove.Held
	// Journals first: what they offer must be in any later snapshot of the books.
	if f.journals != "" {
		line, h, err := prove.Journals(ctx, db, f.journals)
		if err != nil {
			return nil, err
		}
		more, held = append(more, line), &h
	}
	r, err := db.Audit(ctx, f.o)
	if err != nil {
		return nil, err
	}
	// Proxies answer for all wallets, not for one.
	if f.o.WalletID == 0 && (f.strict || f.journals == "proxies") {
		line, h, err := prove.Leases(ctx, db)
		if err != nil {
			return nil, err
		}
		if held != nil { // what journals really hold, instead of what leases let guess
			h.Unflushed, h.Records = held.Unflushed, held.Records
		}
		more, held = append(more, line), &h
	}
	if f.csv != "" {
		file := p.stdin
		if f.csv != "-" {
			opened, err := os.Open(f.csv)
			if err != nil {
				return nil, err
			}
			defer func() { _ = opened.Close() }()
			file = opened
		}
		line, err := prove.Bill(ctx, db, f.o.WalletID, f.month, file)
		if err != nil {
			return nil, err
		}
		more = append(more, line)
	}
	r.Lines = append(r.Lines, more...)
	number := func(l store.AuditLine) int {
		n, err := strconv.Atoi(strings.TrimPrefix(l.ID, "M"))
		if err != nil {
			return 99
		}
		return n
	}
	slices.SortStableFunc(r.Lines, func(a, b store.AuditLine) int { return cmp.Compare(number(a), number(b)) })
	a := report.ViewAudit(r)
	a.Held = held
	return a, nil
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
	if a.Deep {
		_, _ = fmt.Fprintf(w, "%d wallets; every row was added again.\n", a.Wallets)
	} else {
		_, _ = fmt.Fprintf(w, "%d wallets; rows since %s were added again, older ones by their roll-ups (--deep adds all).\n", a.Wallets, a.RowsSince.Format(time.RFC3339))
	}
	for _, acc := range a.Accounts {
		_, _ = fmt.Fprintf(w, "  %-14s %s USD\n", acc.Name, acc.Amount)
	}
	if h := a.Held; h != nil {
		_, _ = fmt.Fprintf(w, "In flight: %s USD held by running requests (%d proxies asked, %s USD lent and free).\n", h.InFlight, h.Proxies, h.Free)
		if len(h.Silent) > 0 {
			_, _ = fmt.Fprintf(w, "Silent proxies: %s, with %s USD until their leases expire.\n", strings.Join(h.Silent, ", "), h.Unasked)
		}
		_, _ = fmt.Fprintf(w, "Journaled but not in the books yet: %s USD, %d records.\n", h.Unflushed, h.Records)
		_, _ = fmt.Fprintf(w, "Written off: bad debt %s USD, overrun %s USD; interrupted calls: %d.\n", a.BadDebt, a.Overrun, a.Interrupted)
	}
	_, _ = fmt.Fprintf(w, "With proxies (in flight or not shipped): %s USD. Written off (bad debt, overrun): %s USD. Interrupted calls: %d. Records set aside: %d.\n",
		a.Leased, a.WrittenOff, a.Interrupted, a.Rejected)
	if a.Clean {
		_, _ = fmt.Fprintln(w, "The books are right.")
	} else {
		_, _ = fmt.Fprintln(w, "THE BOOKS ARE BROKEN.")
	}
}
