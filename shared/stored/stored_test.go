package stored

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"tokenrelay/shared/seal"
	"tokenrelay/shared/store"
)

// rows is a table of one client's responses.
type rows map[string]*store.ResponseRow

func (r rows) KeepResponse(_ context.Context, row *store.ResponseRow) (bool, error) {
	r[row.ID] = row
	return true, nil
}

func (r rows) FindResponse(_ context.Context, _ int64, id string) (store.ResponseHead, error) {
	if r[id] == nil {
		return store.ResponseHead{}, store.ErrNotFound
	}
	return store.ResponseHead{Tokens: r[id].Tokens, Bytes: r[id].Bytes, Turns: r[id].Turns}, nil
}

func (r rows) ResponseChain(_ context.Context, _ int64, id string, most int) (list []store.StoredResponse, err error) {
	for id != "" && len(list) < most {
		if r[id] == nil {
			return nil, store.ErrNotFound
		}
		list = append([]store.StoredResponse{{ID: id, Body: r[id].Body}}, list...)
		id = r[id].Previous
	}
	return list, nil
}

func (r rows) DeleteResponse(_ context.Context, _ int64, id string) error {
	delete(r, id)
	return nil
}

func book(t *testing.T, r rows, secret byte) *Book {
	t.Helper()
	b, err := New(r, bytes.Repeat([]byte{secret}, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What is kept comes back, is unreadable in the table, and opens for its client, its id
// and the installation's secret only.
func TestKeep(t *testing.T) {
	r := rows{}
	b := book(t, r, 1)
	ctx := t.Context()
	one := &Response{ClientID: 4, KeyID: 5, ID: "resp_1", Tokens: 9, Turn: Turn{Input: []byte(`"hello canary"`), Answer: []byte(`{"id":"resp_1","output":[]}`)}}
	if kept, err := b.Keep(ctx, one); !kept || err != nil {
		t.Fatal(kept, err)
	}
	if bytes.Contains(r["resp_1"].Body, []byte("canary")) {
		t.Error("the text stands in the table")
	}
	head, err := b.Find(ctx, 4, "resp_1")
	if err != nil || head.Turns != 1 || head.Bytes != int64(len(one.Input)+len(one.Answer)) {
		t.Errorf("%+v %v", head, err)
	}
	two := &Response{ClientID: 4, ID: "resp_2", Previous: "resp_1", Before: head, Turn: Turn{Input: []byte(`[]`), Answer: []byte(`{}`)}}
	if _, err := b.Keep(ctx, two); err != nil || r["resp_2"].Turns != 2 || r["resp_2"].Bytes != head.Bytes+4 {
		t.Errorf("%+v %v", r["resp_2"], err)
	}
	list, err := b.History(ctx, 4, "resp_2")
	if err != nil || len(list) != 2 || string(list[0].Input) != `"hello canary"` || string(list[1].Answer) != `{}` {
		t.Errorf("%s %v", list, err)
	}
	if _, err := b.Load(ctx, 77, "resp_1"); !errors.Is(err, errSealed) {
		t.Errorf("for another client: %v", err)
	}
	if _, err := book(t, r, 2).Load(ctx, 4, "resp_1"); !errors.Is(err, errSealed) {
		t.Errorf("with another secret: %v", err)
	}
	r["resp_1"].Body = r["resp_2"].Body
	if _, err := b.Load(ctx, 4, "resp_1"); !errors.Is(err, errSealed) {
		t.Errorf("the body of another response: %v", err)
	}
	for _, id := range []string{"", "a b", "é", "a\x00", strings.Repeat("x", 129)} {
		if _, err := b.Find(ctx, 4, id); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%q: %v", id, err)
		}
	}
	if kept, err := b.Keep(ctx, &Response{ID: "big", Turn: Turn{Answer: make([]byte, MaxBytes+1)}}); kept || !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v %v", kept, err)
	}
}

// A conversation written out: all that was said, ids and what only its provider knows
// left out.
func TestAppendInput(t *testing.T) {
	history := []Turn{
		{Input: []byte(`"My <name> is Ada"`), Answer: []byte(`{"output":[{"type":"reasoning","id":"rs","summary":[],"encrypted_content":"gA"},{"type":"reasoning","summary":[],"encrypted_content":"ours:x"},{"type":"message","id":"m","status":"completed","role":"assistant","content":[{"type":"output_text","text":"Hi & welcome"}]},{"type":"function_call","id":"fc","call_id":"c","name":"f","arguments":"{\"n\":12345678901234567890}"}]}`)},
		{Input: []byte(` [{"type":"function_call_output","call_id":"c","output":"r"},{"type":"item_reference","id":"x"}] `), Answer: []byte(`{"output":[{"type":"web_search_call","id":"w"}]}`)},
	}
	const mine = `[{"type":"reasoning","id":"keep","summary":[]}]`
	got, err := AppendInput(nil, history, []byte(mine), func(s string) bool { return strings.HasPrefix(s, "ours:") })
	want := `[{"type":"message","role":"user","content":[{"type":"input_text","text":"My <name> is Ada"}]},` +
		`{"encrypted_content":"ours:x","summary":[],"type":"reasoning"},` +
		`{"content":[{"type":"output_text","text":"Hi & welcome"}],"role":"assistant","type":"message"},` +
		`{"arguments":"{\"n\":12345678901234567890}","call_id":"c","name":"f","type":"function_call"},` +
		`{"call_id":"c","output":"r","type":"function_call_output"},{"type":"reasoning","id":"keep","summary":[]}]`
	var a, b any
	if err != nil || json.Unmarshal(got, &a) != nil || json.Unmarshal([]byte(want), &b) != nil || string(mustJSON(a)) != string(mustJSON(b)) || !bytes.Contains(got, []byte("<name>")) || !bytes.Contains(got, []byte("12345678901234567890")) {
		t.Errorf("%v\n got %s\nwant %s", err, got, want)
	}
	if got, _ := AppendInput(nil, history[:1], []byte(`"more"`), nil); bytes.Contains(got, []byte("ours:")) || !bytes.HasSuffix(got, []byte(`"text":"more"}]}]`)) {
		t.Errorf("%s", got)
	}
	for _, bad := range []Turn{{Input: []byte(`{}`), Answer: []byte(`{}`)}, {Input: []byte(`[1]`), Answer: []byte(`{}`)}, {Input: []byte(`""`), Answer: []byte(`x`)}} {
		if _, err := AppendInput(nil, []Turn{bad}, []byte(`""`), nil); err == nil {
			t.Errorf("%s was taken", bad.Input)
		}
	}
}

func mustJSON(v any) []byte {
	b, _ := json.Marshal(v)
	return b
}

func TestAppendItems(t *testing.T) {
	turn := &Turn{Input: []byte(`[{"role":"user","content":"a"},{"role":"assistant","content":"b","id":"msg_own"},{"type":"function_call_output","call_id":"c","output":"r"}]`)}
	page := func(p Page) (ids []string, more bool) {
		t.Helper()
		b, err := AppendItems(nil, "resp_1", turn, &p)
		var v struct {
			Object string
			Data   []struct{ ID, Type string }
			First  *string `json:"first_id"`
			Last   *string `json:"last_id"`
			More   bool    `json:"has_more"`
		}
		if err != nil || json.Unmarshal(b, &v) != nil || v.Object != "list" {
			t.Fatalf("%v %s", err, b)
		}
		for _, d := range v.Data {
			ids = append(ids, d.ID)
			if d.Type == "" {
				t.Errorf("an item without a type: %s", b)
			}
		}
		if len(ids) > 0 && (*v.First != ids[0] || *v.Last != ids[len(ids)-1]) || len(ids) == 0 && v.First != nil {
			t.Errorf("%s", b)
		}
		return ids, v.More
	}
	for _, c := range []struct {
		p    Page
		want string
		more bool
	}{
		{Page{Limit: 20}, "item_resp_1_0 msg_own item_resp_1_2", false},
		{Page{Limit: 20, Descending: true}, "item_resp_1_2 msg_own item_resp_1_0", false},
		{Page{Limit: 2}, "item_resp_1_0 msg_own", true},
		{Page{Limit: 2, After: "msg_own"}, "item_resp_1_2", false},
		{Page{Limit: 1, After: "item_resp_1_2", Descending: true}, "msg_own", true},
		{Page{Limit: 1, After: "item_resp_1_2"}, "", false},
	} {
		if ids, more := page(c.p); strings.Join(ids, " ") != c.want || more != c.more {
			t.Errorf("%+v: %v %v", c.p, ids, more)
		}
	}
	b, err := AppendItems(nil, "r", &Turn{Input: []byte(`"a\"b"`)}, &Page{Limit: 5})
	if err != nil || !bytes.Contains(b, []byte(`"text":"a\"b"`)) {
		t.Errorf("%s %v", b, err)
	}
}

// Whatever was kept: what comes of it is JSON, or an error.
func FuzzItems(f *testing.F) {
	f.Add([]byte(`"a"`), []byte(`{"output":[{"type":"message","id":"x"}]}`))
	f.Add([]byte(`[{"role":"user","content":"a"},{"id":"\u0000\"","type":"reasoning"}]`), []byte(`{}`))
	f.Fuzz(func(t *testing.T, input, answer []byte) {
		turn := Turn{Input: input, Answer: answer}
		if b, err := AppendInput(nil, []Turn{turn}, input, nil); err == nil && json.Valid(input) && !json.Valid(b) {
			t.Fatalf("%q", b)
		}
		if b, err := AppendItems(nil, "r", &turn, &Page{Limit: 3}); err == nil && !json.Valid(b) {
			t.Fatalf("%q", b)
		}
	})
}
