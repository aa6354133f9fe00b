package api

import (
	"fmt"

	"github.com/gofiber/fiber/v2"

	"tokenrelay/admin/report"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store"
)

// conversationBody is the body of POST and PATCH. In a PATCH a member left out stays;
// null clears it.
type conversationBody struct {
	Title    Opt[string]            `json:"title" maxlen:"256" example:"Trip to Lisbon"`
	Model    Opt[string]            `json:"model" maxlen:"128" doc:"model id or alias" example:"gpt-5-mini"`
	Metadata Opt[map[string]string] `json:"metadata" maxlen:"16" doc:"up to 16 texts of the customer's own; replaced as a whole" example:"{\"ticket\":\"4711\"}"`
}

type conversationQuery struct {
	Archived bool `query:"archived" doc:"true: the archived ones, false: the others" default:"false"`
	page
}

type conversationList struct {
	Items      []report.Conversation `json:"items"`
	NextCursor *string               `json:"next_cursor"`
}

func (a *api) conversationRoutes() []Route {
	const one = "/openapi/v1/conversations/:conversation_id"
	return []Route{
		write(fiber.MethodPost, "/openapi/v1/conversations", "S1-08", "Keep a name and notes about a conversation", a.createConversation).status(fiber.StatusCreated),
		find("/openapi/v1/conversations", "S1-09", "The conversations kept, newest first", func(c *Call, q *conversationQuery) (*conversationList, error) {
			items, next, err := a.Report.Conversations(c.Context, c.Caller.ClientID, q.Archived, q.Cursor, q.Limit)
			return &conversationList{Items: items, NextCursor: next}, err
		}),
		read(fiber.MethodGet, one, "S1-10", "One conversation, and what its calls came to", func(c *Call) (*report.ConversationDetail, error) {
			id, err := c.conversation()
			if err != nil {
				return nil, err
			}
			return a.Report.Conversation(c.Context, c.Caller.ClientID, id)
		}),
		write(fiber.MethodPatch, one, "S1-11", "Change what is kept about a conversation", a.patchConversation),
		read(fiber.MethodDelete, one, "S1-12", "Archive a conversation; it is kept and can be read", func(c *Call) (*report.Conversation, error) {
			id, err := c.conversation()
			if err != nil {
				return nil, err
			}
			archived, err := a.Manage.ArchiveConversation(c.Context, c.Caller.ClientID, id)
			if err != nil {
				return nil, err
			}
			return report.ViewConversation(&archived), nil
		}),
	}
}

// conversation is the id in the path; what is none is nobody's.
func (c *Call) conversation() (reqid.ID, error) {
	id, ok := report.ParseConversationID(c.Param("conversation_id"))
	if !ok {
		return id, apierr.ErrNotFound
	}
	return id, nil
}

func (a *api) createConversation(c *Call, in *conversationBody) (*report.Conversation, error) {
	model, err := a.visibleModel(c, in.Model.V)
	if err != nil {
		return nil, err
	}
	made, err := a.Manage.CreateConversation(c.Context, &store.Conversation{ClientID: c.Caller.ClientID, Title: in.Title.V, Model: model, Metadata: in.Metadata.V})
	if err != nil {
		return nil, err
	}
	return report.ViewConversation(&made), nil
}

func (a *api) patchConversation(c *Call, in *conversationBody) (*report.Conversation, error) {
	id, err := c.conversation()
	if err != nil {
		return nil, err
	}
	p := store.ConversationPatch{Title: text(in.Title)}
	if in.Model.Set {
		model, err := a.visibleModel(c, in.Model.V)
		if err != nil {
			return nil, err
		}
		p.Model = &model
	}
	if in.Metadata.Set {
		p.Metadata = &in.Metadata.V
	}
	changed, err := a.Manage.PatchConversation(c.Context, c.Caller.ClientID, id, p)
	if err != nil {
		return nil, err
	}
	return report.ViewConversation(&changed), nil
}

// visibleModel is the public id of a model that the customer may see, "" for "".
func (a *api) visibleModel(c *Call, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	m, err := a.findModel(c, "model", name)
	if err != nil {
		return "", err
	}
	return m.PublicID, nil
}

// findModel is a model that the customer may see, by id or alias; field is what names it.
func (a *api) findModel(c *Call, field, name string) (*report.Model, error) {
	catalogue, err := a.Report.Catalogue(c.Context)
	if err != nil {
		return nil, err
	}
	m := catalogue.Find(name)
	if m == nil || !catalogue.Visible(m, c.Caller.GroupID, a.Now()) {
		return nil, apierr.Invalid(field, fmt.Sprintf("%s: there is no model %q", field, clip(name, 64)))
	}
	return m, nil
}
