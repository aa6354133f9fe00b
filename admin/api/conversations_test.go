package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"tokenrelay/admin/report"
	"tokenrelay/shared/money"
	"tokenrelay/shared/usage"
)

// S1-08 … S1-12: made, listed by pages, read, changed member by member, archived for good.
func TestConversationsS108toS112(t *testing.T) {
	w := newWorld(t)
	acme, other := w.tenant("Acme", "", 0), w.tenant("Other", "", 0)
	const base = "/openapi/v1/conversations"
	var made report.Conversation
	w.expect(w.call(acme, "POST", base, `{"title":"Trip","model":"alpha-1.0","metadata":{"ticket":"4711"}}`), 201, &made)
	if made.Title != "Trip" || made.Model == nil || *made.Model != "alpha" || !maps.Equal(made.Metadata, map[string]string{"ticket": "4711"}) ||
		made.Status != "active" || made.ArchivedAt != nil || !strings.HasPrefix(made.ID, "conv_") {
		t.Errorf("made %+v", made)
	}
	var empty report.Conversation
	if w.expect(w.call(acme, "POST", base, ""), 201, &empty); empty.Title != "" || empty.Model != nil || len(empty.Metadata) != 0 {
		t.Errorf("made of nothing: %+v", empty)
	}
	var got report.Conversation
	if w.get(acme, base+"/"+made.ID, &got); got.ID != made.ID || got.Title != "Trip" {
		t.Errorf("read %+v", got)
	}
	for _, step := range []struct{ body, title, model, metadata string }{
		{`{}`, "Trip", "alpha", `{"ticket":"4711"}`},
		{`{"title":"Lisbon"}`, "Lisbon", "alpha", `{"ticket":"4711"}`},
		{`{"model":"vendor/beta"}`, "Lisbon", "vendor/beta", `{"ticket":"4711"}`},
		{`{"metadata":{"a":"1","b":"2"}}`, "Lisbon", "vendor/beta", `{"a":"1","b":"2"}`},
		{`{"model":null,"metadata":null}`, "Lisbon", "", `{}`},
		{`{"title":null}`, "", "", `{}`},
	} {
		w.expect(w.call(acme, "PATCH", base+"/"+made.ID, step.body), 200, &got)
		meta, err := json.Marshal(got.Metadata)
		model := ""
		if got.Model != nil {
			model = *got.Model
		}
		if err != nil || got.Title != step.title || model != step.model || string(meta) != step.metadata || got.UpdatedAt.Before(got.CreatedAt) {
			t.Errorf("PATCH %s: %+v", step.body, got)
		}
		got = report.Conversation{}
	}
	many := `{"metadata":{`
	for i := range 17 {
		many += fmt.Sprintf(`"k%d":"v",`, i)
	}
	for body, names := range map[string]string{
		`{"title":"` + strings.Repeat("x", 257) + `"}`: "title", `{"title":1}`: "title", `{"title":"a\u0000b"}`: "title", `{"model":"nothing"}`: "model",
		`{"model":"unpriced"}`: "model", `{"metadata":[]}`: "metadata", `{"metadata":{"a":1}}`: "metadata.a", `{"metadata":{"":"x"}}`: "metadata",
		`{"metadata":{"a":"\u0000"}}`: "metadata.a", strings.TrimSuffix(many, ",") + "}}": "metadata", `{"messages":[]}`: "messages",
		`{"metadata":{"a":"` + strings.Repeat("x", 513) + `"}}`: "metadata.a",
	} {
		for method, path := range map[string]string{"POST": base, "PATCH": base + "/" + made.ID} {
			if r := w.call(acme, method, path, body); r.Status != 400 || !strings.Contains(*r.Body.Message, names) {
				t.Errorf("%s %.60s: %d %s, want 400 that names %s", method, body, r.Status, r.Raw, names)
			}
		}
	}
	// Archived for good: listed apart, read, not changed any more.
	var archived report.Conversation
	for range 2 {
		if w.expect(w.call(acme, "DELETE", base+"/"+made.ID, ""), 200, &archived); archived.Status != "archived" || archived.ArchivedAt == nil {
			t.Errorf("archived %+v", archived)
		}
	}
	if w.get(acme, base+"/"+made.ID, &got); got.ArchivedAt == nil || !got.ArchivedAt.Equal(*archived.ArchivedAt) {
		t.Errorf("read after it was archived: %+v", got)
	}
	if r := w.call(acme, "PATCH", base+"/"+made.ID, `{"title":"x"}`); r.Status != 400 {
		t.Errorf("changed after it was archived: %d %s", r.Status, r.Raw)
	}
	for i := range 4 {
		w.expect(w.call(acme, "POST", base, fmt.Sprintf(`{"title":"%d"}`, i)), 201, nil)
	}
	w.expect(w.call(other, "POST", base, `{"title":"foreign"}`), 201, nil)
	var titles []string
	for path := base + "?limit=2"; path != ""; {
		var p conversationList
		w.get(acme, path, &p)
		for _, c := range p.Items {
			titles = append(titles, c.Title)
		}
		path = ""
		if p.NextCursor != nil {
			path = base + "?limit=2&cursor=" + *p.NextCursor
		}
	}
	if len(titles) != 5 || titles[4] != "" {
		t.Errorf("listed %q, want four and the empty one, which is the oldest", titles)
	}
	var p conversationList
	if w.get(acme, base+"?archived=true", &p); len(p.Items) != 1 || p.Items[0].ID != made.ID {
		t.Errorf("archived ones: %+v", p.Items)
	}
	for _, query := range []string{"archived=1", "cursor=x", "limit=0", "title=x"} {
		if r := w.call(acme, "GET", base+"?"+query, ""); r.Status != 400 {
			t.Errorf("?%s: %d %s", query, r.Status, r.Raw)
		}
	}
	for _, method := range []string{"GET", "PATCH", "DELETE"} {
		for _, id := range []string{"conv_01JD4M4M4M4M4M4M4M4M4M4M4M", "req_" + strings.TrimPrefix(made.ID, "conv_"), "x"} {
			if r := w.call(acme, method, base+"/"+id, ""); r.Status != 404 {
				t.Errorf("%s %s: %d %s", method, id, r.Status, r.Raw)
			}
		}
		if r := w.call(other, method, base+"/"+empty.ID, ""); r.Status != 404 {
			t.Errorf("%s of another customer's: %d %s", method, r.Status, r.Raw)
		}
	}
}

// S1-08 … S1-12, S1-56: the calls of a conversation are found by it and added up by it; the
// same name is another customer's own conversation.
func TestConversationsHaveTheirCalls(t *testing.T) {
	w := newWorld(t)
	acme, other := w.tenant("Acme", "", 10*money.USD), w.tenant("Other", "", 10*money.USD)
	const base = "/openapi/v1/conversations"
	var made report.ConversationDetail
	w.expect(w.call(acme, "POST", base, ""), 201, &made)
	if w.get(acme, base+"/"+made.ID, &made); made.Usage.Calls != 0 || made.Usage.Charge != 0 || made.Usage.FirstAt != nil || !made.Usage.Complete {
		t.Errorf("without calls: %+v", made.Usage)
	}
	at := time.Now().Add(-time.Second)
	w.used(acme, "alpha", usage.Success, "", at, 100, 10)
	w.talk = made.ID
	first := w.used(acme, "alpha", usage.Success, "", at, 100, 10)
	w.used(acme, "vendor/beta", usage.Failed, "upstream_error", at.Add(time.Millisecond), 0, 0)
	last := w.used(acme, "vendor/beta", usage.Success, "", at.Add(2*time.Millisecond), 1000, 10)
	w.used(other, "alpha", usage.Success, "", at, 100, 10)
	if w.get(acme, base+"/"+made.ID, &made); made.Usage.Calls != 3 || made.Usage.Charge != first.Charge+last.Charge || made.Usage.FirstAt == nil || made.Usage.LastAt.Before(*made.Usage.FirstAt) {
		t.Errorf("%+v, want three calls and %s", made.Usage, first.Charge+last.Charge)
	}
	list := func(n *tenant, query string) (ids []string) {
		t.Helper()
		var p logPage
		w.get(n, "/openapi/v1/observation/logs?conversation_id="+query, &p)
		for _, row := range p.Items {
			if ids = append(ids, row.RequestID); row.Conversation == nil || *row.Conversation != made.ID {
				t.Errorf("%+v", row)
			}
		}
		return ids
	}
	if ids := list(acme, made.ID); len(ids) != 3 || ids[0] != last.ID.String() {
		t.Errorf("logs %v", ids)
	}
	if ids := list(acme, made.ID+"&model=alpha&status=Success"); len(ids) != 1 || ids[0] != first.ID.String() {
		t.Errorf("logs %v", ids)
	}
	if ids := list(acme, "nothing"); len(ids) != 0 {
		t.Errorf("logs %v", ids)
	}
	if ids := list(other, made.ID); len(ids) != 1 {
		t.Errorf("another customer's %v", ids)
	}
	var bills billingPage
	if w.get(acme, "/openapi/v1/billing/detail?conversation_id="+made.ID, &bills); len(bills.Items) != 3 || bills.Items[0].ConversationID != made.ID {
		t.Errorf("bills %+v", bills.Items)
	}
	var trace report.Trace
	if w.get(acme, "/openapi/v1/traces/"+first.ID.String(), &trace); trace.ConversationID != made.ID {
		t.Errorf("trace %+v", trace)
	}
	operator := func(query string) *reply { return send(t, w.app, "GET", "/admin/v1/calls?"+query, operatorToken, "") }
	var calls callList
	if w.expect(operator("client_id="+report.ClientID(acme.ID)+"&conversation_id="+made.ID), 200, &calls); len(calls.Items) != 3 || calls.Items[0].ConversationID != made.ID {
		t.Errorf("calls %+v", calls.Items)
	}
	if r := operator("conversation_id=" + made.ID); r.Status != 400 || !strings.Contains(*r.Body.Message, "client_id") {
		t.Errorf("of nobody: %d %s", r.Status, r.Raw)
	}
	w.audit()
}
