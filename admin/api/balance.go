package api

import (
	"github.com/gofiber/fiber/v2"

	"tokenrelay/admin/report"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
)

// chargeToCheck is the body of POST /openapi/v1/balance/check.
type chargeToCheck struct {
	Amount money.Amount `json:"amount" required:"true" min:"0" doc:"USD" example:"1.50"`
}

func (a *api) balanceRoutes() []Route {
	return []Route{
		read(fiber.MethodGet, "/openapi/v1/balance", "S1-26", "Balance, what running requests hold of it, and what is left", func(c *Call) (*report.CustomerBalance, error) {
			return a.Report.Balance(c.Context, c.Caller)
		}),
		write(fiber.MethodPost, "/openapi/v1/balance/check", "S1-29", "Whether an amount could be paid now", func(c *Call, in *chargeToCheck) (*report.BalanceCheck, error) {
			return a.Report.CheckBalance(c.Context, c.Caller, in.Amount)
		}).only(store.RoleMember, store.RoleBilling, store.RoleReadOnly),
	}
}
