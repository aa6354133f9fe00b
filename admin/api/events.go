package api

import (
	"github.com/gofiber/fiber/v2"

	"tokenrelay/admin/manage"
	"tokenrelay/admin/report"
	"tokenrelay/shared/store"
)

type eventFilter struct {
	page
	Kind string `query:"kind" enum:"low_balance,cap_near,cap_reached,daily_limit,statement_ready"`
}

type operatorEventFilter struct {
	page
	Kind     string `query:"kind" enum:"low_balance,cap_near,cap_reached,daily_limit,statement_ready,provider_paused,error_rate,provider_errors"`
	ClientID string `query:"client_id" doc:"client_<n>" maxlen:"64"`
}

type eventList struct {
	Items      []report.CustomerEvent `json:"items"`
	NextCursor *string                `json:"next_cursor"`
}

type operatorEventList struct {
	Items      []report.OperatorEvent `json:"items"`
	NextCursor *string                `json:"next_cursor"`
}

type eventSettingsPatch struct {
	ErrorPercent    Opt[int64]    `json:"error_percent" min:"0" max:"100" example:"20"`
	ProviderPercent Opt[int64]    `json:"provider_error_percent" min:"0" max:"100" example:"50"`
	Least           Opt[int64]    `json:"min_calls" min:"1" max:"1000000" example:"50"`
	Mail            Opt[bool]     `json:"mail" example:"true"`
	Recipients      Opt[[]string] `json:"recipients" maxlen:"5" example:"[\"ops@example.com\"]"`
}

type registrationPatch struct {
	Open  Opt[bool]   `json:"open" example:"false"`
	Group Opt[string] `json:"group" minlen:"1" maxlen:"64" example:"default"`
}

func (a *api) eventRoutes() []Route {
	return []Route{
		find("/openapi/v1/events", "S4-17", "What happened that the customer should know, newest first", func(c *Call, q *eventFilter) (*eventList, error) {
			before, err := q.row()
			if err != nil {
				return nil, err
			}
			items, next, err := a.Report.Events(c.Context, store.EventFilter{ClientID: c.Caller.ClientID, Kind: q.Kind, BeforeID: before, Limit: q.Limit})
			list := &eventList{Items: make([]report.CustomerEvent, len(items)), NextCursor: rowCursor(next)}
			for i := range items {
				e := &items[i]
				list.Items[i] = report.CustomerEvent{ID: e.ID, Time: e.Time, Date: e.Date, Kind: e.Kind, Subject: e.Subject, Detail: e.Detail}
			}
			return list, err
		}),
		find("/admin/v1/events", "S4-17", "Every event, newest first", func(c *Call, q *operatorEventFilter) (*operatorEventList, error) {
			before, err := q.row()
			if err != nil {
				return nil, err
			}
			f := store.EventFilter{Kind: q.Kind, BeforeID: before, Limit: q.Limit}
			if q.ClientID != "" {
				var ok bool
				if f.ClientID, ok = report.ParseClientID(q.ClientID); !ok {
					return nil, badRequest("client_id", "client_id must be like client_1")
				}
			}
			items, next, err := a.Report.Events(c.Context, f)
			return &operatorEventList{Items: items, NextCursor: rowCursor(next)}, err
		}).by(operator),
		read(fiber.MethodGet, "/admin/v1/event-settings", "S4-17", "From when on operators are told of failures, and whom", func(c *Call) (*report.EventSettings, error) {
			return a.Report.EventSettings(c.Context)
		}).by(operator),
		write(fiber.MethodPatch, "/admin/v1/event-settings", "S4-17", "Change that", a.patchEventSettings).by(operator),
		read(fiber.MethodGet, "/admin/v1/registration", "S3-2", "Whether strangers may make an account", func(c *Call) (*report.Registration, error) {
			return a.Report.Registration(c.Context)
		}).by(operator),
		write(fiber.MethodPatch, "/admin/v1/registration", "S3-2", "Open or close registration", func(c *Call, in *registrationPatch) (*report.Registration, error) {
			r, err := a.Report.Registration(c.Context)
			if err != nil {
				return nil, err
			}
			if in.Open.Set && !in.Open.Null {
				r.Open = in.Open.V
			}
			if in.Group.Set && !in.Group.Null {
				if _, err := a.group(c.Context, in.Group.V); err != nil {
					return nil, badRequest("group", "there is no such group")
				}
				r.Group = in.Group.V
			}
			return r, a.Manage.Set(c.Context, c.actor(), "registration", r)
		}).by(operator),
	}
}

func (a *api) patchEventSettings(c *Call, in *eventSettingsPatch) (*report.EventSettings, error) {
	s, err := a.Report.EventSettings(c.Context)
	if err != nil {
		return nil, err
	}
	for _, f := range []struct {
		to   *int
		from Opt[int64]
	}{{&s.ErrorPercent, in.ErrorPercent}, {&s.ProviderPercent, in.ProviderPercent}, {&s.Least, in.Least}} {
		if f.from.Set && !f.from.Null {
			*f.to = int(f.from.V)
		}
	}
	if in.Mail.Set && !in.Mail.Null {
		s.Mail = in.Mail.V
	}
	if in.Recipients.Set {
		if s.Recipients, err = manage.CheckRecipients(in.Recipients.V); err != nil {
			return nil, err
		}
	}
	return s, a.Manage.Set(c.Context, c.actor(), "events", s)
}

// patchAlerts changes whom the customer wants to be told.
func (a *api) patchAlerts(c *Call, in *alertPatch) error {
	if !in.Mail.Set && !in.Recipients.Set {
		return nil
	}
	plan, err := a.DB.Alerts(c.Context, c.Caller.ClientID)
	if err != nil {
		return err
	}
	if in.Mail.Set && !in.Mail.Null {
		plan.Mail = in.Mail.V
	}
	if in.Recipients.Set {
		if plan.Emails, err = manage.CheckRecipients(in.Recipients.V); err != nil {
			return err
		}
	}
	return a.Manage.SetAlerts(c.Context, c.actor(), c.Caller.ClientID, plan)
}
