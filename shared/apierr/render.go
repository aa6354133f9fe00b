package apierr

import (
	"strconv"
	"unicode/utf8"
)

// Shape is the form in which a protocol writes errors.
type Shape uint8

// The shapes.
const (
	ShapeOpenAI Shape = iota
	ShapeAnthropic
	ShapeDashScope
	ShapeGemini
	ShapeEnvelope  // management and customer API (S1-B6)
	ShapeResponses // as ShapeOpenAI, but for errors in a stream
)

// Append appends the body of e in the given shape: one JSON object, whatever the
// texts contain (C15). requestID is the shown form, "" where there is none. Nothing
// is allocated beyond dst.
func Append(dst []byte, shape Shape, e *Error, requestID []byte) []byte {
	k := kindOf(e.Status)
	switch shape {
	case ShapeAnthropic:
		dst = append(dst, `{"type":"error","error":{"type":`...)
		dst = appendString(dst, k.anthropic)
		dst = append(dst, `,"message":`...)
		dst = e.appendMessageJSON(dst, requestID)
		dst = append(dst, `},"request_id":`...)
		dst = appendJSON(dst, requestID)
	case ShapeDashScope:
		dst = append(dst, `{"code":`...)
		dst = appendString(dst, k.dashScope)
		dst = append(dst, `,"message":`...)
		dst = e.appendMessageJSON(dst, requestID)
		dst = append(dst, `,"request_id":`...)
		dst = appendJSON(dst, requestID)
	case ShapeGemini:
		dst = append(dst, `{"error":{"code":`...)
		dst = strconv.AppendInt(dst, int64(e.Status), 10)
		dst = append(dst, `,"message":`...)
		dst = e.appendMessageJSON(dst, requestID)
		dst = append(dst, `,"status":`...)
		dst = appendString(dst, k.gemini)
		dst = append(dst, '}')
	case ShapeEnvelope:
		dst = append(dst, `{"request_id":`...)
		dst = appendJSON(dst, requestID)
		dst = append(dst, `,"success":false,"data":null,"code":`...)
		dst = appendString(dst, string(e.Code))
		dst = append(dst, `,"message":`...)
		dst = e.appendMessageJSON(dst, requestID)
	default:
		dst = append(dst, `{"error":{"message":`...)
		dst = e.appendMessageJSON(dst, requestID)
		dst = append(dst, `,"type":`...)
		dst = appendString(dst, k.openAI)
		dst = append(dst, `,"code":`...)
		dst = strconv.AppendInt(dst, int64(e.Status), 10)
		if e.Status != 429 { // a 429 has exactly these three members (S2-13)
			dst = append(dst, `,"param":`...)
			if e.Param == "" {
				dst = append(dst, "null"...)
			} else {
				dst = appendString(dst, e.Param)
			}
			dst = append(dst, `,"relay_code":`...)
			dst = appendString(dst, string(e.Code))
		}
		dst = append(dst, '}')
	}
	return append(dst, '}')
}

// AppendStreamError appends e as the event that ends a stream whose headers are
// already out: complete with its blank line.
func AppendStreamError(dst []byte, shape Shape, e *Error, requestID []byte) []byte {
	switch shape {
	case ShapeAnthropic:
		dst = append(dst, "event: error\ndata: "...)
	case ShapeDashScope:
		dst = append(dst, "event:error\n:HTTP_STATUS/"...)
		dst = strconv.AppendInt(dst, int64(e.Status), 10)
		dst = append(dst, "\ndata:"...)
	case ShapeResponses:
		// The event's own members, and besides them the object that SDKs raise.
		dst = append(dst, "event: error\ndata: {\"type\":\"error\",\"code\":"...)
		dst = appendString(dst, string(e.Code))
		dst = append(dst, `,"message":`...)
		dst = e.appendMessageJSON(dst, requestID)
		dst = append(dst, `,"param":null,`...)
		at := len(dst)
		dst = Append(dst, ShapeOpenAI, e, requestID)
		dst = append(dst[:at], dst[at+1:]...)
		return append(dst, "\n\n"...)
	default:
		dst = append(dst, "data: "...)
	}
	dst = Append(dst, shape, e, requestID)
	return append(dst, "\n\n"...)
}

// appendMessageJSON appends the client's text as a JSON string.
func (e *Error) appendMessageJSON(dst, requestID []byte) []byte {
	if e.Message != "" {
		return appendString(dst, e.Message)
	}
	// The catalogue's own texts are short; a text that outgrows the array moves to
	// the heap and is still right.
	var text [256]byte
	return appendJSON(dst, e.AppendMessage(text[:0], requestID))
}

func appendString(dst []byte, s string) []byte { return appendJSON(dst, s) }

// appendJSON appends s as a JSON string. Invalid UTF-8 becomes U+FFFD; control
// characters are escaped, and U+2028 and U+2029 with them, so that the text also
// survives readers that treat JSON as JavaScript.
func appendJSON[T string | []byte](dst []byte, s T) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			i++
			switch {
			case c == '"' || c == '\\':
				dst = append(dst, '\\', c)
			case c == '\n':
				dst = append(dst, '\\', 'n')
			case c == '\r':
				dst = append(dst, '\\', 'r')
			case c == '\t':
				dst = append(dst, '\\', 't')
			case c < 0x20 || c == 0x7f:
				dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			default:
				dst = append(dst, c)
			}
			continue
		}
		// A conversion of at most four bytes stays on the stack.
		r, n := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
		switch {
		case r == utf8.RuneError && n == 1:
			dst = append(dst, "\ufffd"...)
		case r == '\u2028' || r == '\u2029':
			dst = append(dst, '\\', 'u', '2', '0', '2', hex[r&15])
		default:
			dst = append(dst, s[i:i+n]...)
		}
		i += n
	}
	return append(dst, '"')
}
