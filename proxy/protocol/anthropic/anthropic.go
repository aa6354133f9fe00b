// Package anthropic is the lane of Anthropic's Messages, the same protocol in and
// out: bytes pass, and only what D8 lists is changed.
package anthropic

import (
	"errors"
	"strconv"
	"time"

	"tokenrelay/proxy/protocol"
	"tokenrelay/shared/peek"
)

// ErrUnreadable means that a whole answer is no JSON object.
var ErrUnreadable = errors.New("the answer is not a JSON object")

// AppendRequest appends body to dst with the edit's changes and nothing else
// changed. r is what peek found in body. The model is always written, so that what
// was admitted is what every parser reads (E2). IncludeUsage means nothing here:
// Anthropic always reports.
func AppendRequest(dst, body []byte, r *peek.Request, e *protocol.Edit) []byte {
	var list [2]protocol.Splice
	n := 1
	list[0] = protocol.Splice{Start: r.ModelSpan.Start, End: r.ModelSpan.End, Quoted: e.Model}
	if at := r.MaxTokensSpan; e.MaxTokens > 0 && at.Present() {
		list[1] = protocol.Splice{Start: at.Start, End: at.End, Number: e.MaxTokens}
		n = 2
	}
	return protocol.AppendSplices(dst, body, list[:n])
}

// Heartbeat is written to a silent stream at an event boundary.
func Heartbeat() []byte { return heartbeat }

var heartbeat = []byte("event: ping\ndata: {\"type\": \"ping\"}\n\n")

// ErrorClass says what to do about an answer with an error status, or with status
// 0 about an error inside a stream. retryAfter is the value of that header, nil
// without one.
func ErrorClass(status int, retryAfter, body []byte) protocol.Class {
	p := protocol.ReadProblem(body)
	return protocol.Classify(status, retryAfter, &p)
}

// AppendPassedError renders an upstream's error that the client may see
// (Class.PassOn): its own type and text, in this protocol's shape and with our
// request id, without names of the upstream, its model or our account.
func AppendPassedError(dst, body []byte, cfg *protocol.StreamConfig, requestID []byte) []byte {
	p := protocol.ReadProblem(body)
	dst = append(dst, `{"type":"error","error":{"type":`...)
	if len(p.Type) == 0 {
		dst = append(dst, `"invalid_request_error"`...)
	} else {
		dst = protocol.AppendClean(dst, p.Type, cfg)
	}
	dst = append(dst, `,"message":`...)
	if len(p.Message) == 0 {
		dst = append(dst, `"The provider refused the request."`...)
	} else {
		dst = protocol.AppendClean(dst, p.Message, cfg)
	}
	dst = append(dst, `},"request_id":"`...)
	dst = append(dst, requestID...)
	return append(dst, `"}`...)
}

// AppendModel appends one model object, the body of GET /v1/models/{id}.
func AppendModel(dst []byte, m *protocol.ModelInfo) []byte {
	dst = append(dst, `{"type":"model","id":`...)
	dst = protocol.AppendString(dst, m.ID)
	dst = append(dst, `,"display_name":`...)
	dst = protocol.AppendString(dst, m.ID)
	dst = append(dst, `,"created_at":"`...)
	dst = time.Unix(m.CreatedUnix, 0).UTC().AppendFormat(dst, time.RFC3339)
	dst = append(dst, '"')
	if m.MaxInput > 0 {
		dst = append(dst, `,"max_input_tokens":`...)
		dst = strconv.AppendInt(dst, m.MaxInput, 10)
	}
	if m.MaxOutput > 0 {
		dst = append(dst, `,"max_tokens":`...)
		dst = strconv.AppendInt(dst, m.MaxOutput, 10)
	}
	return append(dst, '}')
}

// AppendModels appends the body of GET /v1/models: one page of the list.
func AppendModels(dst []byte, page []protocol.ModelInfo, hasMore bool) []byte {
	dst = append(dst, `{"data":[`...)
	for i := range page {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendModel(dst, &page[i])
	}
	dst = append(dst, `],"has_more":`...)
	dst = strconv.AppendBool(dst, hasMore)
	dst = append(dst, `,"first_id":`...)
	if len(page) > 0 {
		dst = protocol.AppendString(dst, page[0].ID)
	} else {
		dst = append(dst, "null"...)
	}
	dst = append(dst, `,"last_id":`...)
	if len(page) > 0 {
		dst = protocol.AppendString(dst, page[len(page)-1].ID)
	} else {
		dst = append(dst, "null"...)
	}
	return append(dst, '}')
}

// Page cuts one page out of the list as Anthropic's models list does: what follows
// the id after, or what stands before the id before, at most limit of them (0 means
// 20, at most 1,000). An id that is not in the list gives an empty page.
func Page(list []protocol.ModelInfo, after, before string, limit int) (page []protocol.ModelInfo, hasMore bool) {
	if limit <= 0 {
		limit = 20
	}
	limit = min(limit, 1000)
	at := func(id string) int {
		for i := range list {
			if list[i].ID == id {
				return i
			}
		}
		return -1
	}
	switch {
	case before != "":
		i := at(before)
		if i < 0 {
			return nil, false
		}
		from := max(0, i-limit)
		return list[from:i], from > 0
	case after != "":
		i := at(after)
		if i < 0 {
			return nil, false
		}
		list = list[i+1:]
	}
	if len(list) <= limit {
		return list, false
	}
	return list[:limit], true
}

// AppendCount appends the body of a counted request.
func AppendCount(dst []byte, tokens int64) []byte {
	dst = append(dst, `{"input_tokens":`...)
	dst = strconv.AppendInt(dst, tokens, 10)
	return append(dst, '}')
}
