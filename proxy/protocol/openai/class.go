package openai

import (
	"tokenrelay/proxy/protocol"
)

// ErrorClass says what to do about an answer with an error status, or with status
// 0 about an error inside a stream. retryAfter is the value of that header, nil
// without one.
func ErrorClass(status int, retryAfter, body []byte, d Dialect) protocol.Class {
	p := protocol.ReadProblem(body)
	return protocol.Classify(status, retryAfter, &p)
}

// AppendPassedError renders an upstream's error that the client may see
// (Class.PassOn): its own text, type, param and code, in this protocol's shape,
// without names of the upstream, its model or our account.
func AppendPassedError(dst, body []byte, cfg *protocol.StreamConfig) []byte {
	p := protocol.ReadProblem(body)
	dst = append(dst, `{"error":{"message":`...)
	if len(p.Message) == 0 {
		dst = append(dst, `"The provider refused the request."`...)
	} else {
		dst = protocol.AppendClean(dst, p.Message, cfg)
	}
	dst = append(dst, `,"type":`...)
	if len(p.Type) == 0 {
		dst = append(dst, `"invalid_request_error"`...)
	} else {
		dst = protocol.AppendClean(dst, p.Type, cfg)
	}
	dst = append(dst, `,"param":`...)
	dst = orNull(dst, p.Param, cfg)
	dst = append(dst, `,"code":`...)
	dst = orNull(dst, p.Code, cfg)
	return append(dst, "}}"...)
}

func orNull(dst, text []byte, cfg *protocol.StreamConfig) []byte {
	if len(text) == 0 {
		return append(dst, "null"...)
	}
	return protocol.AppendClean(dst, text, cfg)
}
