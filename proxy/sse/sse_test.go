package sse

import (
	"bytes"
	"fmt"
	"testing"
)

// split gives stream to a scanner in the given pieces and returns its events; what
// is left at the end is the last one.
func split(stream []byte, sizes func(i int) int) (events []string) {
	var s Scanner
	var buf []byte
	for i := 0; len(stream) > 0; i++ {
		n := min(max(1, sizes(i)), len(stream))
		buf, stream = append(buf, stream[:n]...), stream[n:]
		for {
			n := s.Next(buf)
			if n == 0 {
				break
			}
			events = append(events, string(buf[:n]))
			buf = append(buf[:0], buf[n:]...)
		}
	}
	if len(buf) > 0 {
		events = append(events, string(buf))
	}
	return events
}

// C7: line ends of all kinds, comments, several data lines, a last event without a
// blank line.
func TestEvents(t *testing.T) {
	for _, tt := range []struct {
		name, stream string
		want         []string
	}{
		{"LF", "data: 1\n\ndata: 2\n\n", []string{"data: 1\n\n", "data: 2\n\n"}},
		{"CRLF", "data: 1\r\n\r\ndata: 2\r\n\r\n", []string{"data: 1\r\n\r\n", "data: 2\r\n\r\n"}},
		{"CR", "data: 1\r\rdata: 2\r\r", []string{"data: 1\r\r", "data: 2\r\r"}},
		{"mixed", "data: 1\n\r\ndata: 2\r\n\ndata: 3\r\n\rdata: 4\n\n", []string{"data: 1\n\r\n", "data: 2\r\n\n", "data: 3\r\n\r", "data: 4\n\n"}},
		{"leading blank lines", "\n\ndata: 1\n\n", []string{"\n\ndata: 1\n\n"}},
		{"comment", ": ping\n\ndata: 1\n\n", []string{": ping\n\n", "data: 1\n\n"}},
		{"no end", "data: 1\n\ndata: [DONE]", []string{"data: 1\n\n", "data: [DONE]"}},
		{"one line end", "data: 1\n\ndata: [DONE]\n", []string{"data: 1\n\n", "data: [DONE]\n"}},
		{"only blank", "\n\n\n", []string{"\n\n\n"}},
		{"BOM", "\xef\xbb\xbfdata: 1\n\n", []string{"\xef\xbb\xbfdata: 1\n\n"}},
	} {
		for size := 1; size <= len(tt.stream); size++ {
			if got := split([]byte(tt.stream), func(int) int { return size }); fmt.Sprintf("%q", got) != fmt.Sprintf("%q", tt.want) {
				t.Errorf("%s in pieces of %d: %q, want %q", tt.name, size, got, tt.want)
			}
		}
	}
}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		ev, name, data        string
		datas, comment, other int
	}{
		{"data: {\"a\":1}\n\n", "", `{"a":1}`, 1, 0, 0},
		{"data:{\"a\":1}\n\n", "", `{"a":1}`, 1, 0, 0},
		{"data:  x\n\n", "", ` x`, 1, 0, 0},
		{"id:1\nevent:result\n:HTTP_STATUS/200\ndata:{}\n\n", "result", `{}`, 1, 1, 2},
		{"event: error\r\ndata: {}\r\n\r\n", "error", `{}`, 1, 0, 1},
		{"event: error\rdata: {}\r\r", "error", `{}`, 1, 0, 1},
		{"data: a\ndata: b\n\n", "", `a`, 2, 0, 0},
		{"data\n\n", "", ``, 1, 0, 0},
		{": ping\n\n", "", ``, 0, 1, 0},
		{"retry: 5\n\n", "", ``, 0, 0, 1},
		{"\xef\xbb\xbfdata: x", "", `x`, 1, 0, 0},
		{"data: x\r", "", `x`, 1, 0, 0},
		{"datax: x\n\n", "", ``, 0, 0, 1},
		{"", "", "", 0, 0, 0},
	} {
		e := Parse([]byte(tt.ev))
		if string(e.Name) != tt.name || string(e.Data) != tt.data || e.Datas != tt.datas || e.Comment != tt.comment || e.Other != tt.other {
			t.Errorf("%q: %q %q %+v", tt.ev, e.Name, e.Data, e)
		}
		if e.Datas > 0 && tt.ev[e.DataAt:e.DataAt+len(e.Data)] != string(e.Data) {
			t.Errorf("%q: data is not at %d", tt.ev, e.DataAt)
		}
	}
	if got := string(Join(nil, []byte("event: x\ndata: a\r\n: c\ndata:b\ndata\n\n"))); got != "a\nb\n" {
		t.Errorf("joined %q", got)
	}
}

// An event larger than the buffer ends at the same byte in any pieces.
func TestOversize(t *testing.T) {
	for _, eol := range []string{"\n", "\r\n", "\r"} {
		event := "event: x" + eol + "data: " + string(bytes.Repeat([]byte("0123456789"), 40)) + eol + "data: z" + eol + eol
		stream := event + "data: next" + eol + eol
		for head := 1; head < len(event)-4; head += 3 {
			for _, size := range []int{1, 2, 7, 1000} {
				var s Scanner
				if s.Next([]byte(stream[:head])) != 0 {
					t.Fatal("complete too early")
				}
				s.Oversize([]byte(stream[:head]))
				at := head
				for {
					n, done := s.Tail([]byte(stream[at:min(at+size, len(stream))]))
					at += n
					if done {
						break
					}
					if at >= len(stream) {
						t.Fatalf("eol %q head %d pieces %d: no end", eol, head, size)
					}
				}
				if at != len(event) {
					t.Fatalf("eol %q head %d pieces %d: ended at %d, want %d", eol, head, size, at, len(event))
				}
			}
		}
	}
}

// FuzzSplit: any split of a stream gives the same events, which together are the
// stream.
func FuzzSplit(f *testing.F) {
	f.Add([]byte("data: 1\n\ndata: 2\r\n\r\n: c\rdata\r\r"), uint64(3))
	f.Add([]byte("event: a\ndata: {}\n\n\n\ndata: [DONE]"), uint64(99))
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64) {
		whole := split(stream, func(int) int { return len(stream) })
		pieces := split(stream, func(i int) int { return int(seed>>(uint(i)%56)) & 15 })
		if fmt.Sprintf("%q", whole) != fmt.Sprintf("%q", pieces) {
			t.Fatalf("whole %q, in pieces %q", whole, pieces)
		}
		all := ""
		for _, e := range whole {
			all += e
			ev := Parse([]byte(e))
			if ev.Datas == 1 && string(Join(nil, []byte(e))) != string(ev.Data) {
				t.Fatalf("%q: joined differs", e)
			}
		}
		if all != string(stream) {
			t.Fatalf("events are not the stream: %q, %q", all, stream)
		}
	})
}
