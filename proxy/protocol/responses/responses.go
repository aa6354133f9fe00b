// Package responses is the lane of OpenAI's Responses: the same protocol in and out,
// where bytes pass and only what D8 lists is changed, and the form in which requests
// for responses are translated for upstreams of other protocols.
package responses

import (
	"errors"

	"tokenrelay/proxy/protocol"
	"tokenrelay/shared/peek"
)

// ErrUnreadable means that a whole answer is no JSON object.
var ErrUnreadable = errors.New("the answer is not a JSON object")

// MaxEvent is the size up to which an event is read as a whole, in bytes: the first
// events and the last hold the whole response, its instructions and tools included,
// and the last one its usage.
const MaxEvent = 8 << 20

// AppendRequest appends body to dst with the edit's changes and nothing else
// changed. r is what peek found in body. The model is always written, so that what
// was admitted is what every parser reads (E2). IncludeUsage means nothing here:
// usage is always reported.
func AppendRequest(dst, body []byte, r *peek.Request, e *protocol.Edit) []byte {
	var list [3]protocol.Splice
	n := 1
	model := r.ModelSpan
	list[0] = protocol.Splice{Start: model.Start, End: model.End, Quoted: e.Model}
	if e.MaxTokens > 0 {
		if at := r.MaxOutputSpan; at.Present() {
			list[1] = protocol.Splice{Start: at.Start, End: at.End, Number: e.MaxTokens}
		} else {
			list[1] = protocol.Splice{Start: model.End, End: model.End, Text: `,"max_output_tokens":`, Number: e.MaxTokens}
		}
		n = 2
	}
	return protocol.AppendSplices(dst, body, list[:n])
}

// ErrorClass says what to do about an answer with an error status, or with status 0
// about an error inside a stream or a response that failed. retryAfter is the value
// of that header, nil without one.
func ErrorClass(status int, retryAfter, body []byte) protocol.Class {
	p := protocol.ReadProblem(body)
	if (status == 0 || status == 200) && (p.CodeIs("invalid_prompt", "empty_image_file", "unsupported_image_media_type", "failed_to_download_image", "image_file_not_found", "bio_policy", "cyber_policy") || p.Says("invalid_image", "image_too_", "image_parse_error", "invalid_base64_image", "image_content_policy")) {
		return protocol.Class{Fault: protocol.FaultClient, PassOn: true, Status: 400}
	}
	if p.CodeIs("previous_response_not_found") { // the whole conversation can be sent instead
		return protocol.Class{Fault: protocol.FaultClient, Failover: true, PassOn: true, Status: 400}
	}
	return protocol.Classify(status, retryAfter, &p)
}
