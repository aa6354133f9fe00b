package api

import (
	"context"
	"errors"
	"strconv"

	"github.com/gofiber/fiber/v2"

	"tokenrelay/shared/apierr"
	"tokenrelay/shared/store"
	"tokenrelay/shared/stored"
)

// mountResponses mounts what a customer does with the responses that the data plane
// has kept. These are OpenAI's endpoints: their answers are OpenAI's objects and
// errors, not the envelope.
func (a *api) mountResponses(app *fiber.App) {
	app.Get("/v1/responses/:id", a.openAI(a.response))
	app.Delete("/v1/responses/:id", a.openAI(a.deleteResponse))
	app.Post("/v1/responses/:id/cancel", a.openAI(a.cancelResponse))
	app.Get("/v1/responses/:id/input_items", a.openAI(a.inputItems))
}

// openAI is a handler for a customer's key.
func (a *api) openAI(run func(call *Call, id string) ([]byte, error)) fiber.Handler {
	return func(c *fiber.Ctx) error {
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		defer cancel()
		call := &Call{Context: ctx, RequestID: c.Locals(localID).(string), IP: clientIP(c, a.TrustedProxies), c: c}
		c.Locals(localStatus, &Route{Method: c.Method(), Path: c.Route().Path})
		c.Locals(localCall, call)
		body, err := []byte(nil), a.authenticate(call)
		if err == nil {
			body, err = run(call, call.Param("id"))
		}
		if err != nil {
			return a.failAs(c, err, apierr.ShapeOpenAI)
		}
		c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
		return c.Send(body)
	}
}

var errNoResponse = apierr.New(apierr.NotFound, "No response with this id was found. It may have expired, or it was made with 'store': false.")

// gone gives a response that is not there its own words.
func gone(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return errNoResponse
	}
	return err
}

func (a *api) response(call *Call, id string) ([]byte, error) {
	if s := call.c.Query("stream"); s != "" && s != "false" {
		return nil, badRequest("stream", "responses are not streamed again: leave 'stream' out")
	}
	t, err := a.Stored.Load(call.Context, call.Caller.ClientID, id)
	return t.Answer, gone(err)
}

func (a *api) deleteResponse(call *Call, id string) ([]byte, error) {
	if err := a.Stored.Delete(call.Context, call.Caller.ClientID, id); err != nil {
		return nil, gone(err)
	}
	return []byte(`{"id":` + strconv.Quote(id) + `,"object":"response","deleted":true}`), nil
}

// cancelResponse refuses: only responses that are made in the background can be
// cancelled, and none are.
func (a *api) cancelResponse(call *Call, id string) ([]byte, error) {
	if _, err := a.Stored.Find(call.Context, call.Caller.ClientID, id); err != nil {
		return nil, gone(err)
	}
	return nil, apierr.New(apierr.InvalidRequest, "Cannot cancel a synchronous response.")
}

func (a *api) inputItems(call *Call, id string) ([]byte, error) {
	p := stored.Page{After: call.c.Query("after"), Limit: 20, Descending: true}
	if s := call.c.Query("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > 100 {
			return nil, badRequest("limit", "must be a whole number from 1 to 100")
		}
		p.Limit = n
	}
	switch s := call.c.Query("order"); s {
	case "", "desc":
	case "asc":
		p.Descending = false
	default:
		return nil, badRequest("order", "must be asc or desc")
	}
	t, err := a.Stored.Load(call.Context, call.Caller.ClientID, id)
	if err != nil {
		return nil, gone(err)
	}
	return stored.AppendItems(nil, id, &t, &p)
}
