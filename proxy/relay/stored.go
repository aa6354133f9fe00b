package relay

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"time"

	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/walk"
	"tokenrelay/proxy/route"
	"tokenrelay/proxy/sse"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/peek"
	"tokenrelay/shared/store"
	"tokenrelay/shared/stored"
)

// Stored keeps responses of customers who may ask for them again, and finds what a
// request goes on from; *stored.Book is one.
type Stored interface {
	Keep(ctx context.Context, r *stored.Response) (bool, error)
	Find(ctx context.Context, clientID int64, id string) (store.ResponseHead, error)
	History(ctx context.Context, clientID int64, id string) ([]stored.Turn, error)
}

// storedTimeout bounds a question to the store: such requests are the only ones that
// wait for the database.
const storedTimeout = 3 * time.Second

// thread is what a request for responses has to do with kept ones.
type thread struct {
	keep     bool   // its answer is to be kept
	input    []byte // the member input as the customer sent it
	previous string // the response that it goes on from, "" = none
	before   store.ResponseHead
	forgot   bool // the account that should have that response has not
	spelled  bool // the body says all that was said before, and names no response
}

var errNoResponse = &apierr.Error{Code: apierr.NotFound, Status: 404, Param: "previous_response_id", Message: "The previous response was not found. It may have expired, or it was made with 'store': false."}

// goesOn finds what the request goes on from. A response is its client's own; anybody
// else's is not there.
func (x *Exchange) goesOnFrom() *apiError {
	if x.lane.shape != peek.OpenAIResponses {
		return nil
	}
	t := &x.thread
	t.input = x.body[x.peek.InputSpan.Start:x.peek.InputSpan.End]
	t.keep = !x.peek.NotStored && x.r.o.Stored != nil
	if x.peek.Previous == nil {
		return nil
	}
	if x.r.o.Stored == nil {
		return errNoResponse
	}
	t.previous = string(chat.Unescape(nil, x.peek.Previous))
	err := x.store(func(ctx context.Context) (err error) {
		t.before, err = x.r.o.Stored.Find(ctx, x.key.ClientID, t.previous)
		return err
	})
	if err != nil {
		return x.lost(err)
	}
	if t.before.Bytes > stored.MaxChain || t.before.Turns >= store.MaxResponseTurns {
		return apierr.Invalid("previous_response_id", "The conversation is longer than what can be gone on from: send it as input.")
	}
	return nil
}

// maxStoring is how many requests of a proxy may ask the store at a time: money must
// not wait behind them for a connection.
const maxStoring = 4

// store asks the store of responses, for a moment at most.
func (x *Exchange) store(f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), storedTimeout)
	defer cancel()
	select {
	case x.r.storing <- struct{}{}:
		defer func() { <-x.r.storing }()
		return f(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lost is what a customer is told when a kept response is not to be had.
func (x *Exchange) lost(err error) *apiError {
	if errors.Is(err, store.ErrNotFound) {
		return errNoResponse
	}
	x.r.Stats.StoreErrors.Add(1)
	x.r.o.Log.Warn("cannot read a kept response", "request_id", string(x.requestID()), "error", err)
	return apierr.ErrOverloaded.WithRetryAfter(1).WithCause(err)
}

// bound adds to the bound what was said before: its bytes, or its tokens as the
// provider counted them if they are more.
func (x *Exchange) boundThread() {
	if x.thread.previous == "" {
		return
	}
	b := &x.input.Bound.InputTokens
	*b += max(x.thread.before.Bytes, x.thread.before.Tokens)
	if n := x.model.ContextTokens; n > 0 && x.peek.ServerTools == 0 && x.peek.Rereads == 0 {
		*b = min(*b, n)
	}
}

// resume chooses an upstream for a request that goes on from a response: the account
// that has it gets the request as it is, any other the whole conversation.
func (x *Exchange) resume() (chosen bool, err *apiError) {
	t := &x.thread
	if t.previous == "" || t.spelled {
		return false, nil
	}
	if t.before.ProviderKeyID != 0 && x.unfitWires&x.lane.wire == 0 {
		f := route.Filter{Wires: x.lane.wire, Provider: x.pinned, KeyID: t.before.ProviderKeyID}
		x.via = x.lane
		if why, _ := route.Pick(x.model, &f, &x.tried, false, x.r.o.Catalog, route.Now(), random(), &x.choice); why == route.Chosen {
			return true, nil
		}
	}
	return false, x.spell()
}

// spell writes into the body what was said before, in the place of the response's id.
func (x *Exchange) spell() *apiError {
	t := &x.thread
	var history []stored.Turn
	err := x.store(func(ctx context.Context) (err error) {
		history, err = x.r.o.Stored.History(ctx, x.key.ClientID, t.previous)
		return err
	})
	if err != nil {
		return x.lost(err)
	}
	input, err := stored.AppendInput(nil, history, t.input, provable)
	if err != nil {
		return x.lost(err)
	}
	list := [...]peek.Span{x.peek.InputSpan, x.peek.PreviousSpan}
	text := [...][]byte{input, []byte("null")}
	if list[1].Start < list[0].Start {
		list[0], list[1], text[0], text[1] = list[1], list[0], text[1], text[0]
	}
	body := make([]byte, 0, len(x.body)+len(input))
	body = append(append(body, x.body[:list[0].Start]...), text[0]...)
	body = append(append(body, x.body[list[0].End:list[1].Start]...), text[1]...)
	body = append(body, x.body[list[1].End:]...)
	if err := peek.Scan(body, x.lane.shape, &x.peek); err != nil {
		return err
	}
	x.body, t.spelled = body, true
	if t.forgot {
		x.tried.Reset() // it may answer now
	}
	return nil
}

// provable reports whether a thought is one whose proof this relay wrote down: a
// translation carries it to who made it. Others are bound to their provider's account.
func provable(encrypted string) bool {
	name, _, _ := bytes.Cut([]byte(encrypted), []byte(":"))
	return chat.ParseSigner(name) != chat.NoSigner
}

// echoed puts the id of the response that a spelled request goes on from into what its
// answer repeats.
func (x *Exchange) echoed(echo []byte) []byte {
	if !x.thread.spelled {
		return echo
	}
	const name = `"previous_response_id":`
	return bytes.Replace(echo, []byte(name+"null"), strconv.AppendQuote([]byte(name), x.thread.previous), 1)
}

// last notes the event that has the whole response.
func (x *Exchange) last(out []byte) {
	if !x.thread.keep {
		return
	}
	for len(out) > 0 {
		n := sse.Next(out)
		if n == 0 {
			n = len(out)
		}
		e := sse.Parse(out[:n])
		out = out[n:]
		at := walk.Space(e.Data, 0)
		if at >= len(e.Data) || e.Data[at] != '{' {
			continue
		}
		it := walk.Object(e.Data, at)
		final := false
		for it.Next() {
			switch v := it.Value(); string(it.Key) {
			case "type":
				final = string(v) == `"response.completed"` || string(v) == `"response.incomplete"`
			case "response":
				if final {
					x.final = append(x.final[:0], v...)
				}
			}
		}
	}
}

// keep keeps the answer, a whole one or the last event's. It is there when the
// customer sees its end. A failure costs the customer the response's second life, not
// its first.
func (x *Exchange) keep(answer []byte) {
	t := &x.thread
	if !t.keep || len(answer) == 0 || answer[0] != '{' {
		return
	}
	t.keep = false
	r := stored.Response{
		ClientID: x.key.ClientID, KeyID: x.key.ID, Previous: t.previous, Before: t.before, Tokens: tokens(&x.rec.Units),
		Turn: stored.Turn{Input: t.input, Answer: answer},
	}
	it := walk.Object(answer, 0)
	for it.Next() {
		switch v := it.Value(); string(it.Key) {
		case "id":
			id, _ := walk.Text(v)
			r.ID = string(id)
		case "store":
			if !x.translated && string(v) == "true" { // the provider says that it has it, too
				r.ProviderKeyID = x.choice.Key.ID
			}
		}
	}
	kept := false
	err := x.store(func(ctx context.Context) (err error) {
		kept, err = x.r.o.Stored.Keep(ctx, &r)
		return err
	})
	switch {
	case err != nil:
		x.r.Stats.StoreErrors.Add(1)
		x.r.o.Log.Warn("cannot keep a response", "request_id", string(x.requestID()), "error", err)
	case kept:
		x.r.Stats.Stored.Add(1)
	}
}
