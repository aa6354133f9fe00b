package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"tokenrelay/admin/manage"
	"tokenrelay/admin/report"
	"tokenrelay/shared/money"
)

func proxyList(ctx context.Context, p *process, usage string, args []string) error {
	s := newSettings(usage)
	if _, err := s.parse(p, args); err != nil {
		return err
	}
	db, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	list, err := report.New(db, now).Proxies(ctx)
	if err != nil {
		return err
	}
	return s.print(p, list, func(w io.Writer) {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprintln(t, "NAME\tSLOT\tSTATE\tLIVE\tHEARTBEAT\tREVISION")
		for _, x := range list.Proxies {
			_, _ = fmt.Fprintf(t, "%s\t%d\t%s\t%t\t%s\t%d\n", x.Name, x.Slot, x.State, x.Live, x.Heartbeat.Format("2006-01-02T15:04:05Z"), x.AppliedRevision)
		}
		_ = t.Flush()
		_, _ = fmt.Fprintf(w, "Revision %d is live on %d of %d proxies.\n", list.Revision, list.Applied, list.Live)
	})
}

func proxyLost(ctx context.Context, p *process, usage string, args []string) error {
	s := newSettings(usage)
	rest, err := s.parse(p, args, "NAME")
	if err != nil {
		return err
	}
	db, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	closed, err := manage.New(db, nil, "", now).ProxyLost(ctx, cli, rest[0])
	if err != nil {
		return err
	}
	result := struct {
		Proxy     string       `json:"proxy"`
		Leases    int          `json:"leases"`
		Reclaimed money.Amount `json:"reclaimed"`
	}{rest[0], closed.Leases, closed.Reclaimed}
	return s.print(p, result, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "Proxy %s is declared lost: %d leases closed, %s USD back in the wallets. At most that much may still be charged late.\n",
			result.Proxy, result.Leases, result.Reclaimed)
	})
}
