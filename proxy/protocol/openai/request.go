package openai

import (
	"tokenrelay/proxy/protocol"
	"tokenrelay/shared/peek"
)

// AppendRequest appends body to dst with the edit's changes and nothing else
// changed. r is what peek found in body. The model is always written, so that what
// was admitted is what every parser reads (E2).
func AppendRequest(dst, body []byte, r *peek.Request, e *protocol.Edit) []byte {
	var list [4]protocol.Splice
	n := 0
	add := func(s protocol.Splice) { list[n] = s; n++ }
	model := r.ModelSpan
	add(protocol.Splice{Start: model.Start, End: model.End, Quoted: e.Model})
	if e.IncludeUsage && r.Stream && !r.IncludeUsage {
		switch o := r.StreamOptions; {
		case r.IncludeUsageSpan.Present():
			add(protocol.Splice{Start: r.IncludeUsageSpan.Start, End: r.IncludeUsageSpan.End, Text: "true"})
		case o.Present() && body[o.Start] == '{':
			s := protocol.Splice{Start: o.Start + 1, End: o.Start + 1, Text: `"include_usage":true`}
			if !emptyObject(body[o.Start:o.End]) {
				s.Tail = ","
			}
			add(s)
		case o.Present():
			add(protocol.Splice{Start: o.Start, End: o.End, Text: `{"include_usage":true}`})
		default:
			add(protocol.Splice{Start: model.End, End: model.End, Text: `,"stream_options":{"include_usage":true}`})
		}
	}
	if e.MaxTokens > 0 {
		field := e.MaxTokensField
		if field == "" {
			field = "max_completion_tokens"
		}
		at := peek.Span{}
		switch field {
		case "max_tokens":
			at = r.MaxTokensSpan
		case "max_completion_tokens":
			at = r.MaxCompletionSpan
		}
		if at.Present() {
			add(protocol.Splice{Start: at.Start, End: at.End, Number: e.MaxTokens})
		} else {
			add(protocol.Splice{Start: model.End, End: model.End, Text: ",", Quoted: field, Tail: ":"})
			add(protocol.Splice{Start: model.End, End: model.End, Number: e.MaxTokens})
		}
	}
	return protocol.AppendSplices(dst, body, list[:n])
}

// emptyObject reports whether the object v has no members.
func emptyObject(v []byte) bool {
	for _, c := range v[1 : len(v)-1] {
		if c > ' ' {
			return false
		}
	}
	return true
}
