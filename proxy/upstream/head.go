package upstream

import (
	"bytes"
	"errors"

	"tokenrelay/proxy/field"
)

// The errors of a response whose framing can not be trusted. Its connection is
// never used again.
var (
	ErrBadResponse  = errors.New("upstream: unreadable response head")
	ErrHeadTooLarge = errors.New("upstream: response head over 64 KiB")
	ErrBadChunk     = errors.New("upstream: unreadable chunk")
)

const maxHead = 64 << 10

// Head is the part of a response head that the relay acts on. Byte slices point
// into the call's buffer and are nil when its body is read, but for ContentType.
type Head struct {
	Status          int
	ContentLength   int64 // -1 = not told
	Chunked         bool
	Close           bool   // the connection ends with this response
	ContentType     []byte // its first 64 bytes, valid until the next call
	ContentEncoding []byte
	RetryAfter      []byte
	RetryAfterMs    []byte
	ErrorType       []byte // Amazon's name of an error
}

// parseHead reads a whole response head at the start of b. It returns its length,
// 0 if more bytes are needed. It is strict where a mistake would let one response
// be read as another (C18): both length and chunked, two differing lengths, an
// unknown transfer coding, folded lines, spaces before a colon.
func parseHead(b []byte, h *Head) (int, error) {
	*h = Head{ContentLength: -1}
	line, rest, ok := cutLine(b)
	if !ok {
		return 0, tooLong(b)
	}
	// HTTP/1.1 200 OK
	if len(line) < 12 || string(line[:7]) != "HTTP/1." || line[8] != ' ' || (len(line) > 12 && line[12] != ' ') {
		return 0, ErrBadResponse
	}
	switch line[7] {
	case '1':
	case '0':
		h.Close = true
	default:
		return 0, ErrBadResponse
	}
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return 0, ErrBadResponse
		}
		h.Status = h.Status*10 + int(c-'0')
	}
	if h.Status < 100 {
		return 0, ErrBadResponse
	}
	for {
		line, rest2, ok := cutLine(rest)
		if !ok {
			return 0, tooLong(b)
		}
		rest = rest2
		if len(line) == 0 {
			break
		}
		if err := h.field(line); err != nil {
			return 0, err
		}
	}
	if h.Chunked && h.ContentLength >= 0 {
		return 0, ErrBadResponse
	}
	return len(b) - len(rest), nil
}

func tooLong(b []byte) error {
	if len(b) >= maxHead {
		return ErrHeadTooLarge
	}
	return nil
}

// cutLine splits at the first LF and drops a CR before it.
func cutLine(b []byte) (line, rest []byte, ok bool) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		return nil, b, false
	}
	line = b[:i]
	if i > 0 && line[i-1] == '\r' {
		line = line[:i-1]
	}
	return line, b[i+1:], true
}

func (h *Head) field(line []byte) error {
	i := bytes.IndexByte(line, ':')
	if i <= 0 || line[0] == ' ' || line[0] == '\t' || line[i-1] == ' ' || line[i-1] == '\t' || bytes.IndexByte(line, '\r') >= 0 || bytes.IndexByte(line, 0) >= 0 {
		return ErrBadResponse
	}
	name, value := line[:i], field.Trim(line[i+1:])
	switch len(name) {
	case len("connection"):
		if !field.Fold(name, "connection") {
			break
		}
		if field.Fold(value, "close") {
			h.Close = true
		} else if field.Fold(value, "keep-alive") {
			h.Close = false
		}
	case len("retry-after"):
		if field.Fold(name, "retry-after") {
			h.RetryAfter = value
		}
	case len("content-type"):
		if field.Fold(name, "content-type") {
			h.ContentType = value
		}
	case len("content-length"):
		if field.Fold(name, "content-length") {
			n, ok := parseLength(value)
			if !ok || (h.ContentLength >= 0 && h.ContentLength != n) {
				return ErrBadResponse
			}
			h.ContentLength = n
		} else if field.Fold(name, "retry-after-ms") {
			h.RetryAfterMs = value
		}
	case len("content-encoding"):
		if field.Fold(name, "content-encoding") {
			h.ContentEncoding = value
		} else if field.Fold(name, "x-amzn-errortype") {
			h.ErrorType = value
		}
	case len("transfer-encoding"):
		if field.Fold(name, "transfer-encoding") {
			if !field.Fold(value, "chunked") || h.Chunked {
				return ErrBadResponse
			}
			h.Chunked = true
		}
	}
	return nil
}

func parseLength(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}
