// Package cohere is Cohere's Chat, version 2, as upstreams speak it: requests of the
// common form on their way there, answers on their way back.
package cohere

import (
	"tokenrelay/proxy/protocol"
)

// Path is where a model is asked, below a provider's base URL.
const Path = "/chat"

// ErrorClass says what to do about an answer with an error status, or with status 0
// about an error inside a stream. retryAfter is the value of that header, nil without
// one.
func ErrorClass(status int, retryAfter, body []byte) protocol.Class {
	p := protocol.ReadProblem(body)
	switch {
	case status == 498: // "blocked because of an invalid token": Cohere's own status
		status = 401
	case status == 400 && p.Says("content filter", "content_filter"):
		p.Code = []byte("content_filter")
	case status == 499: // cancelled on the way, which was not our doing
		status = 500
	case status == 404 && p.Says("was removed", "not found"):
		p.Code = []byte("model_not_found")
	case status == 429 && p.Says("trial key") && p.Says("calls / month", "calls per month"):
		p.Code = []byte("insufficient_quota") // nothing but a month or another key helps
	}
	return protocol.Classify(status, retryAfter, &p)
}
