package manage

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"tokenrelay/shared/apierr"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
)

// NewVouchers is an order of codes of one amount.
type NewVouchers struct {
	Count     int
	Amount    money.Amount
	Note      string
	ExpiresAt time.Time // zero: never
}

// MadeVoucher is a voucher with its code, which nobody can read again.
type MadeVoucher struct {
	store.Voucher
	Code string
}

const maxVouchers = 1000

// CreateVouchers makes codes of 128 random bits and stores their digests.
func (s *Service) CreateVouchers(ctx context.Context, actor store.Actor, in NewVouchers) ([]MadeVoucher, error) {
	if in.Count < 1 || in.Count > maxVouchers {
		return nil, apierr.Invalid("count", fmt.Sprintf("count must be between 1 and %d", maxVouchers))
	}
	if in.Amount <= 0 {
		return nil, apierr.Invalid("amount", "amount must be above 0")
	}
	if err := checkText("note", in.Note, 0, 500); err != nil {
		return nil, err
	}
	if !in.ExpiresAt.IsZero() && !in.ExpiresAt.After(s.now()) {
		return nil, apierr.Invalid("expires_at", "expires_at must be in the future")
	}
	codes, list := make([]string, in.Count), make([]store.NewVoucher, in.Count)
	for i := range list {
		text := rand.Text() // 26 letters and digits without look-alikes
		codes[i] = text[:6] + "-" + text[6:11] + "-" + text[11:16] + "-" + text[16:21] + "-" + text[21:]
		list[i] = store.NewVoucher{Digest: voucherDigest(codes[i]), Last4: text[len(text)-4:], Amount: in.Amount, Note: in.Note, ExpiresAt: in.ExpiresAt}
	}
	rows, err := s.db.CreateVouchers(ctx, actor, list)
	if err != nil {
		return nil, refused(err, "voucher", "")
	}
	made := make([]MadeVoucher, len(rows))
	for i := range rows {
		made[i] = MadeVoucher{Voucher: rows[i], Code: codes[i]}
	}
	return made, nil
}

// voucherDigest is what is stored of a code: case, spaces and dashes do not matter.
func voucherDigest(code string) [32]byte {
	return sha256.Sum256([]byte(strings.Map(func(r rune) rune {
		if r == '-' || r == ' ' {
			return -1
		}
		return r
	}, strings.ToUpper(code))))
}

// Redeem books a code's amount on a wallet, once. The same customer asking again gets
// the same booking.
func (s *Service) Redeem(ctx context.Context, actor store.Actor, walletID int64, code string) (e store.Entry, repeated bool, err error) {
	code = strings.TrimSpace(code)
	if err := checkText("code", code, 1, 100); err != nil {
		return e, false, err
	}
	e, repeated, err = s.db.Redeem(ctx, actor, walletID, voucherDigest(code))
	switch {
	case errors.Is(err, store.ErrNotFound):
		err = apierr.New(apierr.NotFound, "There is no such code.").WithParam("code").WithCause(err)
	case errors.Is(err, store.ErrSpent):
		err = apierr.Invalid("code", "this code was used already").WithCause(err)
	case errors.Is(err, store.ErrExpired):
		err = apierr.Invalid("code", "this code has expired").WithCause(err)
	}
	return e, repeated, err
}

// RevokeVoucher makes a code worthless.
func (s *Service) RevokeVoucher(ctx context.Context, actor store.Actor, id int64) (store.Voucher, error) {
	v, err := s.db.RevokeVoucher(ctx, actor, id)
	if errors.Is(err, store.ErrSpent) {
		return v, apierr.Invalid("voucher", "the voucher was redeemed: correct the customer's balance instead").WithCause(err)
	}
	return v, refused(err, "voucher", fmt.Sprint(id))
}
