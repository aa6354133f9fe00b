package api

import (
	"github.com/gofiber/fiber/v2"

	"tokenrelay/admin/report"
)

func (a *api) balanceRoutes() []Route {
	return []Route{
		read(fiber.MethodGet, "/openapi/v1/balance", "S1-26", "Balance, what running requests hold of it, and what is left", func(c *Call) (*report.CustomerBalance, error) {
			return a.Report.Balance(c.Context, c.Caller)
		}),
	}
}
