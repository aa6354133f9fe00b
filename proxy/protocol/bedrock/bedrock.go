// Package bedrock is Amazon Bedrock's Converse and ConverseStream, as upstreams speak
// them: requests of the common form on their way there, answers on their way back. The
// frames of a stream arrive here as events, each an object with one member that is
// named as the frame (package aws makes them).
package bedrock

import (
	"tokenrelay/proxy/protocol"
)

// ErrorClass says what to do about an answer with an error status, or with status 0
// about an exception inside a stream. kind is the name of the error that the answer's
// head tells (x-amzn-errortype), nil without one.
func ErrorClass(status int, retryAfter, kind, body []byte) protocol.Class {
	p := protocol.ReadProblem(body)
	if len(kind) > 0 {
		for i, c := range kind { // ThrottlingException:http://internal…
			if c == ':' {
				kind = kind[:i]
				break
			}
		}
		p.Type, p.Readable = kind, true
	}
	switch {
	case p.Says("content filter"): // what a maker's own filter says; a guardrail is a reason for the end
		p.Code = []byte("content_filter")
	case p.CodeIs("throttlingexception", "servicequotaexceededexception", "modelnotreadyexception"):
		status = 429
	case p.CodeIs("modelstreamerrorexception", "modelerrorexception", "modeltimeoutexception",
		"internalserverexception", "serviceunavailableexception"), status == 424:
		status = 500
	case p.CodeIs("resourcenotfoundexception"):
		status = 404
	case p.CodeIs("accessdeniedexception") && p.Says("access to the model", "model access", "not available for this account", "marketplace"):
		p.Code = []byte("model_not_found") // our account was not let in to this model
	case p.CodeIs("accessdeniedexception", "unrecognizedclientexception", "invalidsignatureexception",
		"expiredtokenexception", "incompletesignatureexception", "missingauthenticationtokenexception"):
		status = 403
	case p.Says("operation not allowed", "account is not authorized", "account is currently blocked"):
		p.Code = []byte("account_deactivated")
	case p.Says("model identifier is invalid", "with on-demand throughput", "end of its life", "doesn't support the model", "doesn’t support the model", "is not supported in this region"):
		p.Code = []byte("model_not_found")
	case p.CodeIs("validationexception") && status == 0:
		status = 400
	}
	return protocol.Classify(status, retryAfter, &p)
}
