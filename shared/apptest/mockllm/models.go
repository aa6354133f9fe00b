package mockllm

import (
	"strconv"
	"strings"
)

// models answers …/models and …/models/ID in the shape that the headers ask for.
func (s *Server) models(o *out, path string) error {
	anthropic := o.c.header("anthropic-version") != ""
	one := func(b []byte, id string) []byte {
		if anthropic {
			b = append(b, `{"type":"model","id":`...)
			b = appendQuoted(b, id)
			b = append(b, `,"display_name":`...)
			b = appendQuoted(b, id)
			return append(b, `,"created_at":"2026-01-01T00:00:00Z"}`...)
		}
		b = append(b, `{"id":`...)
		b = appendQuoted(b, id)
		b = append(b, `,"object":"model","created":`...)
		b = strconv.AppendInt(b, created, 10)
		return append(b, `,"owned_by":"mockllm"}`...)
	}
	if _, id, ok := strings.Cut(path, "/models/"); ok {
		return o.whole(200, "application/json", one(nil, id), "")
	}
	b := []byte(`{"object":"list","data":[`)
	if anthropic {
		b = []byte(`{"data":[`)
	}
	for i, id := range s.opt.Models {
		if i > 0 {
			b = append(b, ',')
		}
		b = one(b, id)
	}
	b = append(b, ']')
	if anthropic {
		b = append(b, `,"has_more":false,"first_id":`...)
		b = appendQuoted(b, s.opt.Models[0])
		b = append(b, `,"last_id":`...)
		b = appendQuoted(b, s.opt.Models[len(s.opt.Models)-1])
	}
	return o.whole(200, "application/json", append(b, '}'), "")
}
