package mockllm

import (
	"bytes"
	"strings"
)

// replay answers with a case's own bytes: status, its headers, its body, in the
// writes that the script asks for. Events are counted where blank lines end them.
func (s *Server) replay(o *out) error {
	c := s.cases[o.sc.Case]
	if c == nil {
		return o.whole(404, "application/json", []byte(`{"error":{"message":`+quoted("no case "+o.sc.Case)+`,"type":"invalid_request_error","param":null,"code":"mock_case"}}`), "")
	}
	contentType, extra := "", []byte(nil)
	for _, h := range c.Headers {
		switch strings.ToLower(h.Name) {
		case "content-type":
			contentType = h.Value
		case "content-length", "transfer-encoding", "content-encoding", "connection", "cache-control":
		default:
			extra = append(append(append(append(extra, h.Name...), ": "...), h.Value...), "\r\n"...)
		}
	}
	o.l.mu.Lock()
	o.l.rec.CaseServed = c.ID
	o.l.mu.Unlock()
	u := Units{
		Input: c.Expected.InputUncached, CacheRead: c.Expected.CacheRead, CacheWrite: c.Expected.CacheWrite - c.Expected.CacheWrite1h,
		CacheWrite1h: c.Expected.CacheWrite1h, Output: c.Expected.OutputTotal, Reasoning: c.Expected.Reasoning,
	}
	if !c.IsStream() || c.Status != 200 {
		if c.HasUsage {
			o.state(u)
			o.input, o.tokens, o.think = u, max(u.Output-u.Reasoning, 0), u.Reasoning
		}
		return o.whole(c.Status, contentType, c.Body, string(extra))
	}
	o.stream = true
	if err := o.begin(c.Status, contentType, -1, string(extra)); err != nil {
		return err
	}
	o.nl = "\n" // the bytes are final
	for rest := c.Body; len(rest) > 0; {
		n := eventEnd(rest)
		ev := rest[:n]
		rest = rest[n:]
		tokens, think := int64(0), int64(0)
		if len(rest) == 0 && c.HasUsage {
			o.state(u)
			o.input, tokens, think = u, max(u.Output-u.Reasoning, 0), u.Reasoning
		}
		if err := o.event(ev, tokens, think); err != nil {
			return err
		}
	}
	return o.finish()
}

// eventEnd gives the length of the first event with its blank line.
func eventEnd(b []byte) int {
	end := len(b)
	for _, sep := range [...]string{"\n\n", "\r\n\r\n", "\r\r"} {
		if i := bytes.Index(b[:end], []byte(sep)); i >= 0 {
			end = i + len(sep)
		}
	}
	return end
}
