package anthropic

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"tokenrelay/proxy/protocol/chat"
)

// block of an answer as a client has it in the end.
type heard struct {
	Type, Text string
	Citations  []struct{ URL string }
}

// hear joins the events of a stream as a client does.
func hear(t *testing.T, out []byte) (list []heard) {
	t.Helper()
	for line := range strings.Lines(string(out)) {
		data, ok := strings.CutPrefix(line, "data: ")
		if !ok {
			continue
		}
		var e struct {
			Type  string
			Index int
			Block heard `json:"content_block"`
			Delta struct {
				Text     string
				Citation *struct{ URL string }
			}
		}
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			t.Fatalf("%v: %s", err, data)
		}
		switch e.Type {
		case "content_block_start":
			list = append(list, e.Block)
		case "content_block_delta":
			if e.Index != len(list)-1 {
				t.Fatalf("a piece for block %d of %d", e.Index, len(list))
			}
			b := &list[e.Index]
			b.Text += e.Delta.Text
			if e.Delta.Citation != nil {
				b.Citations = append(b.Citations, *e.Delta.Citation)
			}
		}
	}
	return list
}

// A citation stands in the text that it is of, however late it comes, streamed or whole:
// never in a block of text that is empty, which Messages would not take back. What cannot
// be told any more, because a stream has left the text behind, is left out.
func TestLateCitations(t *testing.T) {
	text := func(s string) chat.Event { return chat.Event{Kind: chat.Text, Text: []byte(s)} }
	cite := func(s string) chat.Event { return chat.Event{Kind: chat.Citation, URL: []byte(s)} }
	block, start, end := chat.Event{Kind: chat.Block}, chat.Event{Kind: chat.Start}, chat.Event{Kind: chat.Finish}
	think := chat.Event{Kind: chat.Thinking, Text: []byte("h")}
	call := chat.Event{Kind: chat.CallStart, ID: []byte("c"), Name: []byte("f")}
	for name, c := range map[string]struct {
		list          []chat.Event
		stream, whole string
	}{
		"with its text":        {[]chat.Event{start, text("a"), cite("1"), text("b"), cite("2"), end}, "text ab[1 2]", ""},
		"before any text":      {[]chat.Event{start, cite("1"), text("a"), end}, "text a[1]", ""},
		"behind the block":     {[]chat.Event{start, text("a"), block, cite("1"), end}, "text a[1]", ""},
		"of the next block":    {[]chat.Event{start, text("a"), block, cite("1"), text("b"), block, end}, "text a[], text b[1]", ""},
		"behind, then a call":  {[]chat.Event{start, text("a"), block, cite("1"), call, end}, "text a[1], tool_use []", ""},
		"behind a call":        {[]chat.Event{start, text("a"), call, cite("1"), cite("2"), end}, "text a[], tool_use []", "text a[1 2], tool_use []"},
		"behind, then a text":  {[]chat.Event{start, text("a"), block, call, cite("1"), text("b"), end}, "text a[], tool_use [], text b[1]", "text a[1], tool_use [], text b[]"},
		"amid thoughts":        {[]chat.Event{start, think, cite("1"), text("a"), end}, "thinking [], text a[1]", ""},
		"of no text":           {[]chat.Event{start, think, block, cite("1"), call, end}, "thinking [], tool_use []", ""},
		"of no text whatever":  {[]chat.Event{start, cite("1"), end}, "", ""},
		"an empty text before": {[]chat.Event{start, text("a"), block, block, cite("1"), cite("2"), think, end}, "text a[1 2], thinking []", ""},
	} {
		tell := func(list []heard) string {
			var parts []string
			for _, b := range list {
				var urls []string
				for _, c := range b.Citations {
					urls = append(urls, c.URL)
				}
				parts = append(parts, fmt.Sprintf("%s %s%v", b.Type, b.Text, urls))
			}
			return strings.Join(parts, ", ")
		}
		if c.whole == "" {
			c.whole = c.stream
		}
		var e AnswerEncoder
		e.Reset(&chat.Config{ID: []byte("x")})
		out := e.End(e.Events(nil, c.list), &chat.Total{})
		if got := tell(hear(t, out)); got != c.stream {
			t.Errorf("%s, streamed: %s\nwant %s", name, got, c.stream)
		}
		e.Reset(&chat.Config{ID: []byte("x")})
		var m struct{ Content []heard }
		whole := e.Whole(nil, c.list, &chat.Total{})
		if err := json.Unmarshal(whole, &m); err != nil {
			t.Fatalf("%s: %v: %s", name, err, whole)
		}
		if got := tell(m.Content); got != c.whole {
			t.Errorf("%s, whole: %s\nwant %s", name, got, c.whole)
		}
	}
}
