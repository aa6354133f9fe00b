package relay

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"tokenrelay/proxy/guard"
	"tokenrelay/proxy/guard/hook"
	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/walk"
	"tokenrelay/proxy/upstream"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/policy"
	"tokenrelay/shared/price"
	"tokenrelay/shared/usage"
)

// What a judgement came to, as Stats.Judged counts it.
const (
	judgedPassed = iota
	judgedFound
	judgedNot
)

// judge has the request judged by those whom the policy names: a moderation model, and
// then the customer's own webhook. They get the texts as the upstream would.
func (x *Exchange) judge() *apiError {
	m, w := &x.key.Policy.Rules.Moderation, &x.key.Policy.Rules.Webhook
	// Nothing comes of a text that is only counted or only judged.
	moderated := m.On() && !x.lane.free && x.lane != &moderationLane
	if !moderated && w.URL == "" {
		return nil
	}
	texts, n := x.texts()
	if n == 0 {
		return nil
	}
	if moderated {
		if err := x.moderate(m, texts); err != nil {
			return err
		}
	}
	if w.URL != "" {
		return x.askHook(w, texts)
	}
	return nil
}

// texts are those of the request, as a JSON array of strings.
func (x *Exchange) texts() ([]byte, int) {
	if x.boundary == nil {
		return guard.AppendTexts(make([]byte, 0, len(x.body)), x.body)
	}
	at := x.peek.Media.Prompt
	if !at.Present() {
		return nil, 0
	}
	return append(protocol.AppendString([]byte{'['}, string(x.body[at.Start:at.End])), ']'), 1
}

// unjudged is what follows when a judge could not be asked.
func (x *Exchange) unjudged(who string, open bool, cause *apiError) *apiError {
	x.r.Stats.Judged[judgedNot].Add(1)
	if open {
		x.judged |= usage.FlagUnjudged
		return nil
	}
	return apierr.New(apierr.PolicyUnavailable, "The "+who+" that the policy of this account asks for could not be had ("+string(cause.Code)+"), so the request was refused. Try again shortly.").
		WithRetryAfter(1).WithCause(cause)
}

// judgement is that of a model, on its way from the goroutine that asked.
type judgement struct {
	answer []byte
	err    *apiError
}

// moderate has a model judge the texts. The judgement is a call of its own, with its own
// hold and its own row. The house pays for it (rulings 3.34): the hold only sees to it that
// nobody without money is judged at the house's expense.
func (x *Exchange) moderate(m *policy.Moderation, texts []byte) *apiError {
	body := protocol.AppendString([]byte(`{"model":`), m.Model)
	body = append(append(append(body, `,"input":`...), texts...), '}')
	patience := time.Duration(policy.Patience(m.TimeoutMS)) * time.Millisecond
	y := x.within(body, patience)
	// Not on this goroutine: connecting and waiting look at the clock in steps of their
	// own, and the customer's patience is a promise. Who comes late is settled all the same.
	done := make(chan judgement, 1)
	x.r.Running.Add(1)
	go func() {
		defer x.r.Running.Add(-1)
		done <- y.serveWithin()
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	j := judgement{err: apierr.ErrUpstreamTimeout}
	select {
	case j = <-done:
	case <-timer.C:
	}
	if j.err != nil {
		if j.err.Status == 402 || j.err.Status == 403 && j.err.Code != apierr.GroupNotAllowed {
			return j.err // no money for the judgement: the request has none, either
		}
		return x.unjudged("moderation", m.Open, j.err)
	}
	found, ok := flagged(j.answer, m.Categories)
	switch {
	case !ok:
		return x.unjudged("moderation", m.Open, apierr.ErrUpstreamError)
	case len(found) == 0:
		x.r.Stats.Judged[judgedPassed].Add(1)
		return nil
	}
	x.r.Stats.Judged[judgedFound].Add(1)
	x.judged |= usage.FlagModerated
	if m.Action == policy.Block {
		return apierr.New(apierr.ContentBlocked, "The content was blocked by the safety policy of this account (in the request: "+strings.Join(found, ", ")+").")
	}
	return nil
}

// flagged are the categories in a moderation's answer that count and were found. ok is
// false if the answer does not say so of every one that counts.
func flagged(answer []byte, count []string) (found []string, ok bool) {
	results := walk.Get(answer, "results")
	if len(results) == 0 || results[0] != '[' {
		return nil, false
	}
	list, n := walk.Array(results, 0), 0
	for list.Next() {
		n++
		r := list.Value()
		all := len(count) == 0
		told := walk.Get(r, "flagged")
		categories := walk.Get(r, "categories")
		if len(categories) == 0 || categories[0] != '{' || all && string(told) != "true" && string(told) != "false" {
			return nil, false
		}
		named := make([]bool, len(count))
		some := false
		members := walk.Object(categories, 0)
		for members.Next() {
			name, yes := string(members.Key), string(members.Value()) == "true"
			counts := all && string(told) == "true"
			for i, c := range count {
				if name == c || strings.HasPrefix(name, c+"/") {
					named[i], counts = true, true
				}
			}
			if yes && counts {
				some = true
				if policy.ValidCategory(name) && !slices.Contains(found, name) {
					found = append(found, name)
				}
			}
		}
		if members.Bad || slices.Contains(named, false) {
			return nil, false
		}
		if (some || all && string(told) == "true") && len(found) == 0 {
			found = append(found, "flagged")
		}
	}
	return found, !list.Bad && n > 0
}

var moderation = protocol.Match{Endpoint: protocol.OpenAIModerations, Family: protocol.FamilyOpenAI}

// within makes an exchange for a judgement that x asks for: by the same key, with a
// deadline of its own. It must not touch x's connection, which may outlive its interest.
func (x *Exchange) within(body []byte, patience time.Duration) *Exchange {
	// Its row names the request that it is a part of, and is of the same conversation.
	head := &Head{RequestID: slices.Clone(x.requestID()), Conversation: slices.Clone(x.head.Conversation)}
	y := x.r.acquire(x.ctx, head, &moderation, nil, netip.Addr{})
	y.ctx = nil
	y.inner, y.key, y.body = true, x.key, body
	y.input.Now = x.input.Now
	y.startedMono = upstream.Now()
	waited := int64(x.sinceMicros())
	y.rec.AdmittedMicros += waited
	y.startedMilli += waited / 1000
	y.endBy = min(x.endBy, y.startedMono+int64(patience))
	y.lane, y.via = &moderationLane, &moderationLane
	return y
}

// serveWithin is the way of a judgement: that of a request, without its ends. It ends y.
func (y *Exchange) serveWithin() (j judgement) {
	defer y.r.release(y)
	defer func() {
		if p := recover(); p != nil {
			y.r.logPanic(y, p)
			y.giveUp(apierr.ErrProxyError)
			j = judgement{err: apierr.ErrProxyError}
		}
	}()
	if err := y.asks(); err != nil {
		y.giveUp(err)
		if y.passed {
			err = apierr.ErrUpstreamError // the model's own refusal is not for the customer
		}
		return judgement{err: err}
	}
	return judgement{answer: slices.Clone(y.out)}
}

// onTheHouse is a rule by which the customer owes nothing: a multiplier of 0, so that the
// row says why.
func onTheHouse(rule *price.Rule) *price.Rule {
	r := *rule
	r.ClientPPM = 0
	return &r
}

func (y *Exchange) asks() *apiError {
	if err := y.lane.scan(y); err != nil {
		return err
	}
	if err := y.resolve(); err != nil {
		return err
	}
	if err := y.admit(); err != nil {
		return err
	}
	return y.attempts()
}

// askHook has the customer's own server judge the texts.
func (x *Exchange) askHook(w *policy.Webhook, texts []byte) *apiError {
	if x.r.o.Hooks == nil {
		return x.unjudged("webhook", w.Open, apierr.ErrNotImplemented)
	}
	body := append([]byte(`{"request_id":"`), x.requestID()...)
	body = protocol.AppendString(append(body, `","model":`...), x.model.ID)
	body = append(body, `,"key_id":`...)
	body = protocol.AppendString(body, x.key.PublicID)
	body = append(body, `,"conversation_id":`...)
	if c := x.head.Conversation; c != nil {
		body = protocol.AppendString(body, string(c))
	} else {
		body = append(body, "null"...)
	}
	body = append(append(append(body, `,"texts":`...), texts...), '}')
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(policy.Patience(w.TimeoutMS))*time.Millisecond)
	defer cancel()
	a, err := x.r.o.Hooks.Ask(ctx, w.URL, x.key.Policy.Secret, body, time.UnixMilli(x.startedMilli))
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return x.unjudged("webhook", w.Open, apierr.ErrUpstreamTimeout.WithCause(err))
	case err != nil:
		return x.unjudged("webhook", w.Open, apierr.ErrUpstreamError.WithCause(err))
	case a.Action == hook.Allow:
		x.r.Stats.Judged[judgedPassed].Add(1)
		return nil
	}
	x.r.Stats.Judged[judgedFound].Add(1)
	x.judged |= usage.FlagWarned
	if a.Action == hook.Flag {
		return nil
	}
	text := "The content was blocked by the webhook of this account."
	if a.Reason != "" {
		text = "The content was blocked by the webhook of this account: " + strconv.Quote(a.Reason)
	}
	return apierr.New(apierr.ContentBlocked, text)
}
