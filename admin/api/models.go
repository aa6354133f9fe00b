package api

import (
	"github.com/gofiber/fiber/v2"

	"tokenrelay/admin/report"
)

type modelList struct {
	Items []report.CustomerModel `json:"items"`
}

func (a *api) modelRoutes() []Route {
	return []Route{
		read(fiber.MethodGet, "/openapi/v1/models", "S1-22", "The models that the customer may use, with prices", func(c *Call) (*modelList, error) {
			items, err := a.Report.Models(c.Context, c.Caller)
			return &modelList{Items: items}, err
		}),
		read(fiber.MethodGet, "/openapi/v1/models/:model", "S1-23", "One model", func(c *Call) (*report.CustomerModel, error) {
			return a.Report.Model(c.Context, c.Caller, c.Param("model"))
		}),
	}
}
