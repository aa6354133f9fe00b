// Package dashscope is the lane of DashScope's own text generation, the same protocol
// in and out: bytes pass, and only what D8 lists is changed. Whether an answer is
// streamed stands in a header there, and its cap inside the member parameters.
package dashscope

import (
	"errors"
	"strconv"
	"strings"

	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/shared/peek"
)

// ErrUnreadable means that a whole answer is no JSON object.
var ErrUnreadable = errors.New("the answer is not a JSON object")

// AppendRequest appends body to dst with the edit's changes and nothing else changed.
// r is what peek found in body. IncludeUsage means nothing here: DashScope always
// reports.
func AppendRequest(dst, body []byte, r *peek.Request, e *protocol.Edit) []byte {
	list := [2]protocol.Splice{{Start: r.ModelSpan.Start, End: r.ModelSpan.End, Quoted: e.Model}}
	n := 1
	if e.MaxTokens > 0 {
		at := r.MaxTokensSpan
		if e.MaxTokensField == fieldCompletion {
			at = r.MaxCompletionSpan
		}
		c := &list[1]
		switch config := r.Config; {
		case at.Present():
			*c = protocol.Splice{Start: at.Start, End: at.End, Number: e.MaxTokens}
		case config.Present() && body[config.Start] == '{':
			*c = protocol.Splice{Start: config.Start + 1, End: config.Start + 1, Text: capName(e), Number: e.MaxTokens}
			if !emptyObject(body[config.Start:config.End]) {
				c.Tail = ","
			}
		case config.Present(): // null
			*c = protocol.Splice{Start: config.Start, End: config.End, Text: "{" + capName(e), Number: e.MaxTokens, Tail: "}"}
		default:
			*c = protocol.Splice{Start: r.Contents.End, End: r.Contents.End, Text: `,"parameters":{` + capName(e), Number: e.MaxTokens, Tail: "}"}
		}
		n = 2
	}
	return protocol.AppendSplices(dst, body, list[:n])
}

// The members for the output cap: the first leaves thoughts out.
const (
	fieldMaxTokens  = "max_tokens"
	fieldCompletion = "max_completion_tokens"
)

// CapField is the member for the output cap of a request: the one that it uses.
func CapField(r *peek.Request) string {
	if r.MaxCompletion > 0 {
		return fieldCompletion
	}
	return fieldMaxTokens
}

func capName(e *protocol.Edit) string {
	if e.MaxTokensField == fieldCompletion {
		return `"max_completion_tokens":`
	}
	return `"max_tokens":`
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

// Where answers are generated, below a provider's base URL: those of text models, and
// those of models that see.
const (
	Path           = "/services/aigc/text-generation/generation"
	MultimodalPath = "/services/aigc/multimodal-generation/generation"
)

// PathOf is where a request of the common form is answered: one with pictures, and every
// one of a model that is known to see, is the multimodal endpoint's.
func PathOf(r *chat.Request, model string) string {
	if strings.Contains(model, "-vl") || strings.HasPrefix(model, "qvq") {
		return MultimodalPath
	}
	for i := range r.Turns {
		for j := range r.Turns[i].Parts {
			if r.Turns[i].Parts[j].Kind == chat.PartImage {
				return MultimodalPath
			}
		}
	}
	return Path
}

// Heartbeat is written to a silent stream at an event boundary.
func Heartbeat() []byte { return heartbeat }

var heartbeat = []byte(": keep-alive\n\n")

// ErrorClass says what to do about an answer with an error status, or with status 0
// about an error inside a stream whose event tells none. retryAfter is the value of that
// header, nil without one.
func ErrorClass(status int, retryAfter, body []byte) protocol.Class {
	p := protocol.ReadProblem(body)
	if p.CodeIs("allocationquota.freetieronly") {
		return protocol.Class{Fault: protocol.FaultModelMissing, Failover: true} // of one model: the account is fine
	}
	if status == 0 || status == 200 {
		status = statusOf(p.Code)
	}
	if status == 400 && len(p.Message) == 0 && len(p.Code) == 0 {
		status = 500 // nothing says that the request is at fault
	}
	return protocol.Classify(status, retryAfter, &p)
}

// statusOf is the HTTP status that DashScope answers with a code, 500 for one that is
// not known.
func statusOf(code []byte) int {
	word := code
	for i, c := range code {
		if c == '.' {
			word = code[:i]
			break
		}
	}
	switch string(word) {
	case "InvalidParameter", "BadRequest", "InvalidURL", "InvalidFile", "DataInspectionFailed", "Arrearage", "invalid_request_error":
		return 400
	case "InvalidApiKey":
		return 401
	case "AccessDenied", "WorkSpace", "Workspace", "Model", "AllocationQuota":
		return 403
	case "ModelNotFound", "NotFound", "model_not_found":
		return 404
	case "Throttling", "LimitRequests", "limit_requests":
		return 429
	case "RequestTimeOut", "ServiceUnavailable":
		return 503
	}
	return 500
}

// AppendPassedError renders an upstream's error that the client may see
// (Class.PassOn): its own code and text, without names of the upstream, its model or our
// account. requestID is what the client sees of its request.
func AppendPassedError(dst, body []byte, cfg *protocol.StreamConfig, requestID []byte) []byte {
	p := protocol.ReadProblem(body)
	code := p.Code
	if !codeWord(code) {
		code = invalidParameter
	}
	return AppendError(dst, code, &p, cfg, requestID)
}

var invalidParameter = []byte("InvalidParameter")

// codeWord reports whether an upstream's code is one that a client may see.
func codeWord(code []byte) bool {
	if len(code) == 0 || len(code) > 64 {
		return false
	}
	for _, c := range code {
		if c|0x20 < 'a' || c|0x20 > 'z' {
			if c != '.' && c != '_' {
				return false
			}
		}
	}
	return true
}

// AppendError is an error in DashScope's shape: a code, the words of p, and the id of
// the request, nil to leave it out.
func AppendError(dst, code []byte, p *protocol.Problem, cfg *protocol.StreamConfig, requestID []byte) []byte {
	dst = append(dst, `{"code":"`...)
	dst = append(dst, code...)
	dst = append(dst, `","message":`...)
	if len(p.Message) == 0 {
		dst = append(dst, `"The provider refused the request."`...)
	} else {
		dst = protocol.AppendClean(dst, p.Message, cfg)
	}
	if requestID != nil {
		dst = append(dst, `,"request_id":"`...)
		dst = append(dst, requestID...)
		dst = append(dst, '"')
	}
	return append(dst, '}')
}

// AppendErrorHead appends what stands before the data of an error in a stream.
func AppendErrorHead(dst []byte, status int) []byte {
	dst = append(dst, "event:error\n:HTTP_STATUS/"...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	return append(dst, "\ndata:"...)
}
