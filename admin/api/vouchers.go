package api

import (
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"tokenrelay/admin/manage"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
)

type redeemRequest struct {
	Code string `json:"code" required:"true"`
}

type redeemed struct {
	TransactionID string       `json:"transaction_id"`
	Amount        money.Amount `json:"amount"`
	Balance       money.Amount `json:"balance"`
	Currency      string       `json:"currency"`
	Repeated      bool         `json:"repeated"` // the code was redeemed by this customer before; nothing was booked now
}

type voucherCreate struct {
	Count     int64          `json:"count"` // default 1
	Amount    money.Amount   `json:"amount" required:"true"`
	Note      string         `json:"note"`
	ExpiresAt Opt[time.Time] `json:"expires_at"` // RFC 3339, left out: never
}

// voucherView is a voucher as operators see it; Code only when it was just made.
type voucherView struct {
	ID         int64        `json:"id"`
	Code       string       `json:"code,omitempty"`
	Last4      string       `json:"last4"`
	Amount     money.Amount `json:"amount"`
	Note       string       `json:"note"`
	Status     string       `json:"status"` // open, redeemed, revoked, expired
	WalletID   int64        `json:"wallet_id,omitempty"`
	EntryID    int64        `json:"entry_id,omitempty"`
	CreatedAt  time.Time    `json:"created_at"`
	ExpiresAt  *time.Time   `json:"expires_at"`
	RedeemedAt *time.Time   `json:"redeemed_at"`
}

type voucherList struct {
	Items      []voucherView `json:"items"`
	NextCursor *string       `json:"next_cursor"`
}

func (a *api) redeemRoutes() []Route {
	return []Route{
		write(fiber.MethodPost, "/openapi/v1/redeem", "F10", "Redeem a code for money, once", func(c *Call, in *redeemRequest) (*redeemed, error) {
			e, repeated, err := a.Manage.Redeem(c.Context, c.actor(), c.Caller.WalletID, in.Code)
			if err != nil {
				return nil, err
			}
			return &redeemed{TransactionID: "entry_" + strconv.FormatInt(e.ID, 10), Amount: e.Amount, Balance: e.Balance, Currency: "USD", Repeated: repeated}, nil
		}).only(store.RoleBilling).refuses(apierr.NotFound),
		write(fiber.MethodPost, "/admin/v1/vouchers", "F10", "Make codes that customers redeem; they are shown this once", a.createVouchers).by(operator).only(store.RoleFinance).status(fiber.StatusCreated),
		find("/admin/v1/vouchers", "F10", "Vouchers, newest first, without their codes", func(c *Call, q *page) (*voucherList, error) {
			before, err := q.row()
			if err != nil {
				return nil, err
			}
			rows, err := a.DB.ListVouchers(c.Context, before, q.Limit+1)
			if err != nil {
				return nil, err
			}
			rows, next := cut(rows, q.Limit, func(r *store.Voucher) int64 { return r.ID })
			list := &voucherList{Items: make([]voucherView, len(rows)), NextCursor: next}
			for i := range rows {
				list.Items[i] = a.viewVoucher(&rows[i])
			}
			return list, nil
		}).by(operator),
		read(fiber.MethodDelete, "/admin/v1/vouchers/:voucher_id", "F10", "Make a code worthless", func(c *Call) (*voucherView, error) {
			id, err := strconv.ParseInt(c.Param("voucher_id"), 10, 64)
			if err != nil {
				return nil, badRequest("voucher_id", "voucher_id must be a number")
			}
			v, err := a.Manage.RevokeVoucher(c.Context, c.actor(), id)
			if err != nil {
				return nil, err
			}
			view := a.viewVoucher(&v)
			return &view, nil
		}).by(operator).only(store.RoleFinance),
	}
}

func (a *api) createVouchers(c *Call, in *voucherCreate) (*voucherList, error) {
	n := manage.NewVouchers{Count: int(min(max(in.Count, -1), 1<<30)), Amount: in.Amount, Note: in.Note}
	if in.Count == 0 {
		n.Count = 1
	}
	n.ExpiresAt = in.ExpiresAt.V
	made, err := a.Manage.CreateVouchers(c.Context, c.actor(), n)
	if err != nil {
		return nil, err
	}
	list := &voucherList{Items: make([]voucherView, len(made))}
	for i := range made {
		list.Items[i] = a.viewVoucher(&made[i].Voucher)
		list.Items[i].Code = made[i].Code
	}
	return list, nil
}

func (a *api) viewVoucher(v *store.Voucher) voucherView {
	view := voucherView{ID: v.ID, Last4: v.Last4, Amount: v.Amount, Note: v.Note, Status: "open", WalletID: v.WalletID, EntryID: v.EntryID, CreatedAt: v.CreatedAt.UTC()}
	if !v.ExpiresAt.IsZero() {
		at := v.ExpiresAt.UTC()
		view.ExpiresAt = &at
		if !a.Now().Before(v.ExpiresAt) {
			view.Status = "expired"
		}
	}
	if !v.RevokedAt.IsZero() {
		view.Status = "revoked"
	}
	if !v.RedeemedAt.IsZero() {
		at := v.RedeemedAt.UTC()
		view.RedeemedAt, view.Status = &at, "redeemed"
	}
	return view
}
