package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"tokenrelay/admin/manage"
	"tokenrelay/admin/report"
	"tokenrelay/shared/money"
	"tokenrelay/shared/price"
	"tokenrelay/shared/store"
)

type clientResult struct {
	ID         string       `json:"id"`
	Name       string       `json:"name"`
	Group      string       `json:"group"`
	Multiplier string       `json:"multiplier"`
	Active     bool         `json:"active"`
	Balance    money.Amount `json:"balance"`
	Reserved   money.Amount `json:"reserved"`
	Escrowed   money.Amount `json:"escrowed"`
}

func viewClient(ctx context.Context, db *store.DB, c *store.Client) (*clientResult, error) {
	b, err := db.WalletBalance(ctx, c.WalletID)
	if err != nil {
		return nil, err
	}
	return &clientResult{
		ID: report.ClientID(c.ID), Name: c.Name, Group: c.Group, Multiplier: price.FormatPPM(c.PPM), Active: c.Active,
		Balance: b.Balance, Reserved: b.Reserved, Escrowed: b.Leased,
	}, nil
}

func clientCreate(ctx context.Context, p *process, usage string, args []string) error {
	s := newSettings(usage)
	var in store.NewClient
	var multiplier string
	s.set.String(&in.Group, "group", "default", "the customer's group")
	s.set.USD(&in.Credit, "credit", "0", "first credit")
	s.set.String(&multiplier, "multiplier", "1", "the customer's price multiplier, a decimal with at most 6 places")
	s.set.String(&in.Note, "note", "", "note of the first credit")
	rest, err := s.parse(p, args, "NAME")
	if err != nil {
		return err
	}
	in.Name = rest[0]
	if in.PPM, err = price.ParsePPM(multiplier); err != nil || in.PPM == 0 {
		return usageError("--multiplier must be a decimal number above 0 with at most 6 places")
	}
	db, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	c, err := manage.New(db, nil, "", now).CreateClient(ctx, cli, in)
	if err != nil {
		return err
	}
	result, err := viewClient(ctx, db, &c)
	if err != nil {
		return err
	}
	return s.print(p, result, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "Client %s (%s) in group %s, balance %s USD.\n", result.Name, result.ID, result.Group, result.Balance)
	})
}

func clientRetention(ctx context.Context, p *process, usage string, args []string) error {
	s := newSettings(usage)
	var days int64
	s.set.Int(&days, "responses", strconv.Itoa(store.ResponseDays), "days for which responses are kept (GET /v1/responses/{id}, previous_response_id), 0 = never; absent: as it is", 0, store.ResponseDays)
	rest, err := s.parse(p, args, "CLIENT", "HOURS")
	if err != nil {
		return err
	}
	hours, err := strconv.Atoi(rest[1])
	if err != nil || hours < 0 || hours > 24 {
		return usageError("HOURS must be a whole number from 0 to 24")
	}
	db, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	c, err := db.ClientByName(ctx, rest[0])
	if err != nil {
		return err
	}
	if err := db.SetRetention(ctx, cli, c.ID, time.Duration(hours)*time.Hour); err != nil {
		return err
	}
	result := struct {
		Name  string `json:"name"`
		Hours int    `json:"retention_hours"`
		Days  *int64 `json:"response_days,omitempty"`
	}{Name: c.Name, Hours: hours}
	if s.set.Given("responses") {
		if err := db.SetResponseDays(ctx, cli, c.ID, int32(days)); err != nil {
			return err
		}
		result.Days = &days
	}
	return s.print(p, result, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "Answers of %s are kept for %d hours.\n", c.Name, hours)
		if result.Days != nil {
			_, _ = fmt.Fprintf(w, "Responses are kept for %d days.\n", days)
		}
	})
}

func clientList(ctx context.Context, p *process, usage string, args []string) error {
	s := newSettings(usage)
	if _, err := s.parse(p, args); err != nil {
		return err
	}
	db, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	list := []*clientResult{}
	var after int64
	for {
		page, err := db.ListClients(ctx, after, 200)
		if err != nil {
			return err
		}
		for i := range page {
			view, err := viewClient(ctx, db, &page[i])
			if err != nil {
				return err
			}
			list = append(list, view)
			after = page[i].ID
		}
		if len(page) < 200 {
			break
		}
	}
	return s.print(p, list, func(w io.Writer) {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprintln(t, "ID\tNAME\tGROUP\tBALANCE\tRESERVED\tACTIVE")
		for _, c := range list {
			_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%t\n", c.ID, c.Name, c.Group, c.Balance, c.Reserved, c.Active)
		}
		_ = t.Flush()
	})
}

type creditResult struct {
	Client  string       `json:"client"`
	EntryID int64        `json:"entry_id"`
	Kind    string       `json:"kind"`
	Amount  money.Amount `json:"amount"`
	Balance money.Amount `json:"balance"`
}

func credit(ctx context.Context, p *process, usage string, args []string) error {
	s := newSettings(usage)
	var in manage.Credit
	s.set.String(&in.Note, "note", "", "why, kept with the entry")
	s.set.String(&in.Ref, "ref", "", "your own id of this booking; the same one is booked once")
	rest, err := s.parse(p, args, "CLIENT", "USD")
	if err != nil {
		return err
	}
	if in.Amount, err = money.ParseUSD(rest[1]); err != nil {
		return usageError("USD: %v", err)
	}
	db, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	m := manage.New(db, nil, "", now)
	c, err := m.ClientByName(ctx, rest[0])
	if err != nil {
		return err
	}
	e, err := m.Credit(ctx, cli, c, in)
	if err != nil {
		return err
	}
	result := creditResult{Client: c.Name, EntryID: e.ID, Kind: string(e.Kind), Amount: e.Amount, Balance: e.Balance}
	return s.print(p, result, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "Booked a %s of %s USD for %s, balance %s USD.\n", result.Kind, result.Amount, result.Client, result.Balance)
	})
}
