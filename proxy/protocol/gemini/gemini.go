// Package gemini is the lane of Google's Gemini, the same protocol in and out: bytes
// pass, and only what D8 lists is changed. Model and kind of answer stand in the path
// there, not in the body.
package gemini

import (
	"errors"
	"strconv"

	"tokenrelay/proxy/protocol"
	"tokenrelay/shared/peek"
)

// ErrUnreadable means that a whole answer is no JSON object.
var ErrUnreadable = errors.New("the answer is not a JSON object")

// AppendRequest appends body to dst with the edit's changes and nothing else changed.
// r is what peek found in body. Model and IncludeUsage mean nothing here: the model
// stands in the path, and Gemini always reports.
func AppendRequest(dst, body []byte, r *peek.Request, e *protocol.Edit) []byte {
	var list [2]protocol.Splice
	n := 0
	if e.MaxTokens > 0 {
		switch at, config := r.MaxTokensSpan, r.Config; {
		case at.Present():
			list[0] = protocol.Splice{Start: at.Start, End: at.End, Number: e.MaxTokens}
		case config.Present() && body[config.Start] == '{':
			list[0] = protocol.Splice{Start: config.Start + 1, End: config.Start + 1, Text: `"maxOutputTokens":`, Number: e.MaxTokens}
			if !emptyObject(body[config.Start:config.End]) {
				list[0].Tail = ","
			}
		case config.Present(): // null
			list[0] = protocol.Splice{Start: config.Start, End: config.End, Text: `{"maxOutputTokens":`, Number: e.MaxTokens, Tail: "}"}
		default:
			list[0] = protocol.Splice{Start: r.Contents.End, End: r.Contents.End, Text: `,"generationConfig":{"maxOutputTokens":`, Number: e.MaxTokens, Tail: "}"}
		}
		n = 1
	}
	if r.ModelSpan.Present() { // inside countTokens' generateContentRequest
		list[n] = protocol.Splice{Start: r.ModelSpan.Start, End: r.ModelSpan.End, Quoted: "models/" + e.Model}
		n++
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

// AppendPath appends the path of an operation below a provider's base URL: the
// operator's name of the model as one segment, and the operation.
func AppendPath(dst []byte, model, operation string) []byte {
	const hex = "0123456789ABCDEF"
	dst = append(dst, "/models/"...)
	for i := 0; i < len(model); i++ {
		c := model[i]
		if c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '-' || c == '.' || c == '_' || c == '~' || c == ':' || c == '@' || c == '+' {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		}
	}
	dst = append(dst, ':')
	return append(dst, operation...)
}

// Heartbeat is written to a silent event stream at an event boundary.
func Heartbeat() []byte { return heartbeat }

var heartbeat = []byte(": keep-alive\n\n")

// ArrayHeartbeat is written to a silent JSON array between two elements.
func ArrayHeartbeat() []byte { return arrayHeartbeat }

var arrayHeartbeat = []byte("\n")

// ErrorClass says what to do about an answer with an error status, or with status 0
// about an error inside a stream. retryAfter is the value of that header, nil without
// one.
func ErrorClass(status int, retryAfter, body []byte) protocol.Class {
	p := protocol.ReadProblem(body)
	if status == 429 || status == 0 && p.CodeIs("resource_exhausted") {
		if !p.Says("credits are depleted", "billing is disabled", "billing account") {
			// Google says "You exceeded your current quota" of each rate limit; the words are
			// those of an empty account elsewhere.
			p = protocol.Problem{Readable: true, Status: 429, Retry: p.Retry}
		} else {
			p.Code = []byte("insufficient_quota")
		}
		return protocol.Classify(429, retryAfter, &p)
	}
	if p.CodeIs("failed_precondition") && p.Says("location is not supported", "billing") {
		p.Code = []byte("account_deactivated") // the operator's account cannot be used from where it is
	}
	return protocol.Classify(status, retryAfter, &p)
}

// AppendPassedError renders an upstream's error that the client may see
// (Class.PassOn): its own text and status, without names of the upstream, its model or
// our account.
func AppendPassedError(dst, body []byte, status int, cfg *protocol.StreamConfig) []byte {
	p := protocol.ReadProblem(body)
	return AppendError(dst, &p, status, cfg)
}

// AppendError is AppendPassedError for an error that was read.
func AppendError(dst []byte, p *protocol.Problem, status int, cfg *protocol.StreamConfig) []byte {
	if status < 400 {
		status = 400
	}
	dst = append(dst, `{"error":{"code":`...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, `,"message":`...)
	if len(p.Message) == 0 {
		dst = append(dst, `"The provider refused the request."`...)
	} else {
		dst = protocol.AppendClean(dst, p.Message, cfg)
	}
	return append(dst, `,"status":"INVALID_ARGUMENT"}}`...)
}

// AppendModel appends one model object, the body of GET /v1beta/models/{id}.
func AppendModel(dst []byte, m *protocol.ModelInfo) []byte {
	dst = append(dst, `{"name":`...)
	dst = protocol.AppendString(dst, "models/"+m.ID)
	dst = append(dst, `,"version":"001","displayName":`...)
	dst = protocol.AppendString(dst, m.ID)
	if m.MaxInput > 0 {
		dst = append(dst, `,"inputTokenLimit":`...)
		dst = strconv.AppendInt(dst, m.MaxInput, 10)
	}
	if m.MaxOutput > 0 {
		dst = append(dst, `,"outputTokenLimit":`...)
		dst = strconv.AppendInt(dst, m.MaxOutput, 10)
	}
	return append(dst, `,"supportedGenerationMethods":["generateContent","streamGenerateContent","countTokens"]}`...)
}

// AppendModels appends the body of GET /v1beta/models: one page of the list, and the
// token of the next page, "" for the last.
func AppendModels(dst []byte, page []protocol.ModelInfo, next string) []byte {
	dst = append(dst, `{"models":[`...)
	for i := range page {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendModel(dst, &page[i])
	}
	dst = append(dst, ']')
	if next != "" {
		dst = append(dst, `,"nextPageToken":`...)
		dst = protocol.AppendString(dst, next)
	}
	return append(dst, '}')
}

// AppendCount appends the body of a counted request.
func AppendCount(dst []byte, tokens int64) []byte {
	dst = append(dst, `{"totalTokens":`...)
	dst = strconv.AppendInt(dst, tokens, 10)
	return append(dst, '}')
}
