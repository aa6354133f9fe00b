package api

import (
	"github.com/gofiber/fiber/v2"

	"tokenrelay/admin/report"
)

type modelList struct {
	Items []report.CustomerModel `json:"items"`
}

type tagList struct {
	Items []report.ModelTag `json:"items"`
}

type resourceQuery struct {
	Type string `query:"type" doc:"only resources of this type" enum:"model,mcp,skill,agent"`
	page
}

type resourceList struct {
	Items      []report.Resource `json:"items"`
	NextCursor *string           `json:"next_cursor"`
}

type resourceTypes struct {
	Items []report.ResourceType `json:"items"`
}

type ruleList struct {
	Items      []report.BillingRule `json:"items"`
	NextCursor *string              `json:"next_cursor"`
}

func (a *api) modelRoutes() []Route {
	return []Route{
		read(fiber.MethodGet, "/openapi/v1/model-tags", "S1-25", "The tags of the models that the customer may use", func(c *Call) (*tagList, error) {
			items, err := a.Report.ModelTags(c.Context, c.Caller)
			return &tagList{Items: items}, err
		}),
		read(fiber.MethodGet, "/openapi/v1/models/:model/preflight", "S1-24", "Whether a call of a model would be let in, and where to send it", func(c *Call) (*report.Preflight, error) {
			return a.Report.Preflight(c.Context, c.Caller, c.Param("model"), a.PublicURL)
		}),
		find("/openapi/v1/resources", "S1-19", "What the customer may use, models among it", func(c *Call, q *resourceQuery) (*resourceList, error) {
			items, next, err := a.Report.Resources(c.Context, c.Caller, q.Type, q.Cursor, q.Limit)
			return &resourceList{Items: items, NextCursor: next}, err
		}),
		read(fiber.MethodGet, "/openapi/v1/resources/:resource_id", "S1-20", "One resource", func(c *Call) (*report.Resource, error) {
			return a.Report.Resource(c.Context, c.Caller, c.Param("resource_id"))
		}),
		read(fiber.MethodGet, "/openapi/v1/resource-types", "S1-21", "The types of resources", func(c *Call) (*resourceTypes, error) {
			items, err := a.Report.ResourceTypes(c.Context, c.Caller)
			return &resourceTypes{Items: items}, err
		}),
		find("/openapi/v1/billing/rules", "S1-48", "How calls of each model are charged", func(c *Call, q *page) (*ruleList, error) {
			items, next, err := a.Report.BillingRules(c.Context, c.Caller, q.Cursor, q.Limit)
			return &ruleList{Items: items, NextCursor: next}, err
		}),
		read(fiber.MethodGet, "/openapi/v1/billing/rules/:model", "S1-49", "How calls of one model are charged", func(c *Call) (*report.BillingRule, error) {
			return a.Report.BillingRule(c.Context, c.Caller, c.Param("model"))
		}),
		read(fiber.MethodGet, "/openapi/v1/models", "S1-22", "The models that the customer may use, with prices", func(c *Call) (*modelList, error) {
			items, err := a.Report.Models(c.Context, c.Caller)
			return &modelList{Items: items}, err
		}),
		read(fiber.MethodGet, "/openapi/v1/models/:model", "S1-23", "One model", func(c *Call) (*report.CustomerModel, error) {
			return a.Report.Model(c.Context, c.Caller, c.Param("model"))
		}),
	}
}
