package api

import (
	"github.com/gofiber/fiber/v2"

	"tokenrelay/admin/report"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/reqid"
)

func (a *api) traceRoutes() []Route {
	return []Route{
		read(fiber.MethodGet, "/openapi/v1/traces/:request_id", "S1-57", "What happened to one call", func(c *Call) (*report.Trace, error) {
			id, err := reqid.Parse(c.Param("request_id"))
			if err != nil {
				return nil, apierr.ErrNotFound
			}
			return a.Report.Trace(c.Context, c.Caller, id)
		}),
	}
}
