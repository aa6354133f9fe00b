package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"tokenrelay/admin/manage"
	"tokenrelay/admin/report"
	"tokenrelay/shared/config"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
)

// optionalUSD declares an amount that stays unset (store.None) unless it is given.
// The returned function reads it after the flags are parsed.
func optionalUSD(s *config.Set, to *money.Amount, name, doc string) func() error {
	*to = store.None
	var text string
	s.String(&text, name, "", doc+", in USD; none given: no limit")
	return func() error {
		if text == "" {
			return nil
		}
		a, err := money.ParseUSD(text)
		if err != nil || a < 0 {
			return usageError("--%s must be an amount of USD such as 25 or 0.50", name)
		}
		*to = a
		return nil
	}
}

func keyCreate(ctx context.Context, p *process, usage string, args []string) error {
	s := newSettings(usage).withKeyPrefix()
	var client, models, ips string
	in := manage.NewKey{KeyLimits: store.Unlimited()}
	s.set.String(&client, "client", "", "the customer").Required()
	s.set.String(&in.Name, "name", "", "name of the key").Required()
	s.set.String(&models, "models", "", "model ids that the key may use, comma separated; none given: all the customer may use")
	given := []func() error{
		optionalUSD(s.set, &in.MonthlyCap, "monthly-cap", "most that may be spent a calendar month (UTC)"),
		optionalUSD(s.set, &in.TotalQuota, "total-quota", "most that may be spent in all"),
		optionalUSD(s.set, &in.DailyUSD, "daily-usd", "most that may be spent a day (UTC)"),
	}
	const most = 1e12
	s.set.Int(&in.RPM, "rpm", "0", "requests a minute, 0 = no limit", 0, most)
	s.set.Int(&in.TPM, "tpm", "0", "tokens a minute, 0 = no limit", 0, most)
	s.set.Int(&in.MaxConcurrency, "max-concurrency", "0", "requests at the same time, 0 = no limit", 0, most)
	s.set.Int(&in.DrainTokens, "drain-tokens", "0", "when a client leaves a stream, read on for so many output tokens instead of cancelling", 0, most)
	s.set.String(&ips, "ip-allow", "", "IP addresses or CIDRs that may use the key, comma separated; none given: any")
	s.set.Time(&in.ExpiresAt, "expires", "", "when the key ends; none given: never")
	if _, err := s.parse(p, args); err != nil {
		return err
	}
	for _, f := range given {
		if err := f(); err != nil {
			return err
		}
	}
	in.Models = split(models)
	var err error
	if in.IPAllow, err = manage.ParsePrefixes("--ip-allow", split(ips)); err != nil {
		return err
	}
	db, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	m := manage.New(db, nil, s.keyPrefix, now)
	c, err := m.ClientByName(ctx, client)
	if err != nil {
		return err
	}
	in.ClientID = c.ID
	k, token, err := m.CreateKey(ctx, cli, in)
	if err != nil {
		return err
	}
	result := struct {
		ID    string `json:"id"`
		Token string `json:"token"`
	}{k.PublicID, token}
	return s.print(p, result, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "Key %s of %s. The token is shown this once:\n%s\n", k.PublicID, c.Name, token)
	})
}

func split(list string) []string {
	var out []string
	for part := range strings.SplitSeq(list, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

func keyList(ctx context.Context, p *process, usage string, args []string) error {
	s := newSettings(usage)
	var client string
	s.set.String(&client, "client", "", "the customer").Required()
	if _, err := s.parse(p, args); err != nil {
		return err
	}
	db, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	c, err := manage.New(db, nil, "", now).ClientByName(ctx, client)
	if err != nil {
		return err
	}
	r := report.New(db, now)
	list := []report.APIKey{}
	for after := int64(0); ; {
		page, next, err := r.Keys(ctx, c.ID, after, 200)
		if err != nil {
			return err
		}
		list = append(list, page...)
		if next == 0 {
			break
		}
		after = next
	}
	return s.print(p, list, func(w io.Writer) {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprintln(t, "ID\tNAME\tSTATUS\tMODELS\tSPENT MONTH\tCREATED")
		for _, k := range list {
			_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", k.ID, k.Name, k.Status, k.ModelScope, k.SpentMonth, k.CreatedAt.Format("2006-01-02"))
		}
		_ = t.Flush()
	})
}

func keyStatus(verb string) func(context.Context, *process, string, []string) error {
	to := map[string]store.KeyStatus{"disable": store.KeyDisabled, "enable": store.KeyActive, "revoke": store.KeyRevoked}[verb]
	return func(ctx context.Context, p *process, usage string, args []string) error {
		s := newSettings(usage)
		rest, err := s.parse(p, args, "ID")
		if err != nil {
			return err
		}
		db, err := s.open(ctx)
		if err != nil {
			return err
		}
		defer db.Close()
		k, err := manage.New(db, nil, "", now).SetKeyStatus(ctx, cli, 0, rest[0], to)
		if err != nil {
			return err
		}
		view := report.New(db, now).ViewKey(&k)
		return s.print(p, view, func(w io.Writer) { _, _ = fmt.Fprintf(w, "Key %s (%s) is %s.\n", view.ID, view.Name, view.Status) })
	}
}
