package respcache

import (
	"bytes"
	"testing"

	"tokenrelay/shared/usage"
)

// Ruling 18, peers 237: every part of a question makes it another one; the order of its
// members and its spaces do not.
func TestQuestions(t *testing.T) {
	base := Question{Client: 1, Model: "m", Asked: "a", PriceVersion: "p", Rules: "{}", Endpoint: 1, Body: []byte(`{"a":1,"b":[1,2.0]}`)}
	seen := map[Key]string{}
	for name, change := range map[string]func(*Question){
		"base": func(*Question) {}, "client": func(q *Question) { q.Client = 2 }, "model": func(q *Question) { q.Model = "n" }, "asked": func(q *Question) { q.Asked = "b" },
		"price": func(q *Question) { q.PriceVersion = "q" }, "rules": func(q *Question) { q.Rules = "{ }" }, "endpoint": func(q *Question) { q.Endpoint = 2 }, "stream": func(q *Question) { q.Stream = true },
		"array": func(q *Question) { q.Array = true }, "body": func(q *Question) { q.Body = []byte(`{"a":1,"b":[2.0,1]}`) }, "number": func(q *Question) { q.Body = []byte(`{"a":1,"b":[1,2]}`) },
		"shifted": func(q *Question) { q.Model, q.Asked = "ma", "" },
	} {
		q := base
		change(&q)
		k, ok := q.Key()
		if other := seen[k]; !ok || other != "" {
			t.Errorf("%s is the same question as %q", name, other)
		}
		seen[k] = name
	}
	q := base
	q.Body = []byte("{ \"b\" : [1, 2.0],\n\"a\":1}")
	if k, _ := q.Key(); seen[k] != "base" {
		t.Error("spaces and order make another question")
	}
	q.Body = []byte("{")
	if _, ok := q.Key(); ok {
		t.Error("half a body is no question")
	}
}

func TestKeepAndForget(t *testing.T) {
	c, err := New(4 << 20)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	k, other := Key{1}, Key{1}
	other[31] = 1 // the same slot
	body := []byte("answer")
	c.Keep(&k, Answer{Body: body, Type: "t", Units: usage.Units{1}}, 1000, 10)
	body[0] = 'x'
	c.Wait()
	if a := c.Get(&k, 10_999); a == nil || string(a.Body) != "answer" || a.Units[0] != 1 {
		t.Errorf("kept %+v", a)
	}
	if c.Get(&other, 1000) != nil {
		t.Error("another question got the answer")
	}
	if c.Get(&k, 11_000) != nil {
		t.Error("it is too old")
	}
	c.Keep(&k, Answer{Body: bytes.Repeat([]byte("x"), MaxAnswer+1)}, 1000, 10)
	c.Wait()
	if a := c.Get(&k, 1000); a != nil && len(a.Body) > MaxAnswer {
		t.Error("a huge answer is kept")
	}
	// It holds what it may, whatever is kept.
	for i := range 64 {
		c.Keep(&Key{byte(i), 2}, Answer{Body: make([]byte, MaxAnswer)}, 1000, 10)
	}
	c.Wait()
	total := 0
	for i := range 64 {
		if a := c.Get(&Key{byte(i), 2}, 1000); a != nil {
			total += len(a.Body)
		}
	}
	if total > 4<<20 {
		t.Errorf("%d bytes are held", total)
	}
}
