package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"tokenrelay/admin/manage"
	"tokenrelay/shared/money"
)

// madeVoucher is a code as it is shown, once.
type madeVoucher struct {
	ID     int64        `json:"id"`
	Code   string       `json:"code"`
	Amount money.Amount `json:"amount"`
}

func voucherCreate(ctx context.Context, p *process, usage string, args []string) error {
	s := newSettings(usage)
	in := manage.NewVouchers{}
	var count int64
	var expires time.Time
	s.set.Int(&count, "count", "1", "how many codes", 1, 1000)
	s.set.String(&in.Note, "note", "", "note of the booking that redeeming makes")
	s.set.Time(&expires, "expires", "", "when the codes lose their worth, RFC 3339; none given: never")
	rest, err := s.parse(p, args, "USD")
	if err != nil {
		return err
	}
	in.Count, in.ExpiresAt = int(count), expires
	if in.Amount, err = money.ParseUSD(rest[0]); err != nil {
		return usageError("%q is not an amount in USD", rest[0])
	}
	db, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	made, err := manage.New(db, nil, "", now).CreateVouchers(ctx, cli, in)
	if err != nil {
		return err
	}
	list := make([]madeVoucher, len(made))
	for i := range made {
		list[i] = madeVoucher{ID: made[i].ID, Code: made[i].Code, Amount: made[i].Amount}
	}
	return s.print(p, list, func(w io.Writer) {
		for _, v := range list {
			_, _ = fmt.Fprintln(w, v.Code)
		}
	})
}
