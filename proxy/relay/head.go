package relay

import (
	"bytes"

	"tokenrelay/proxy/field"
	"tokenrelay/shared/apierr"
)

// Head is what the relay reads of a request's head, found in one pass over its raw
// lines. The slices point into the request and live as long as it.
type Head struct {
	Authorization []byte
	APIKey        []byte // x-api-key
	GoogKey       []byte // x-goog-api-key

	Accept           []byte
	DashScopeSSE     []byte // x-dashscope-sse
	AnthropicVersion []byte
	AnthropicBeta    []byte
	ContentEncoding  []byte
	RequestID        []byte // inbound x-request-id
	ForwardedFor     []byte // the last x-forwarded-for line
	IdempotencyKey   []byte
	Conversation     []byte // x-conversation-id
	MaxCharge        []byte // x-relay-max-charge
	CacheControl     []byte
	PriceVersion     []byte // x-relay-price-version
	HasLength        bool
	HasCoding        bool // transfer-encoding
}

// maxLines is the most header lines a request may have (D19).
const maxLines = 100

var (
	errFolded      = apierr.Invalid("", "A folded header line is not accepted.")
	errTwoLengths  = apierr.Invalid("", "Content-Length and Transfer-Encoding exclude each other.")
	errTwoKeys     = apierr.Invalid("", "A key header was sent twice: it is ambiguous which key is meant.")
	errTwoIdemKeys = apierr.Invalid("Idempotency-Key", "The header Idempotency-Key was sent twice: it is ambiguous which is meant.")
	errTwoWishes   = apierr.Invalid("", "A header of the relay (x-relay-max-charge, x-relay-price-version, x-conversation-id) was sent twice: it is ambiguous which is meant.")
	errManyHeaders = apierr.New(apierr.HeadersTooLarge, "Too many headers.")
)

// ReadHead reads the raw header lines of a request. It refuses what two readers
// could read in two ways: folded lines, both length and coding, a key twice (D12,
// D14).
func ReadHead(raw []byte, h *Head) *apierr.Error {
	*h = Head{}
	lines := 0
	for len(raw) > 0 {
		i := bytes.IndexByte(raw, '\n')
		if i < 0 {
			i = len(raw) - 1
		}
		line := raw[:i]
		raw = raw[i+1:]
		if n := len(line); n > 0 && line[n-1] == '\r' {
			line = line[:n-1]
		}
		if len(line) == 0 {
			break
		}
		if line[0] == ' ' || line[0] == '\t' {
			return errFolded
		}
		if lines++; lines > maxLines {
			return errManyHeaders
		}
		c := bytes.IndexByte(line, ':')
		if c <= 0 {
			continue // the server has judged the syntax
		}
		if dst := h.field(line[:c]); dst != nil {
			if *dst != nil && (dst == &h.Authorization || dst == &h.APIKey || dst == &h.GoogKey) {
				return errTwoKeys
			}
			if dst == &h.IdempotencyKey && *dst != nil {
				return errTwoIdemKeys
			}
			if *dst != nil && (dst == &h.MaxCharge || dst == &h.PriceVersion || dst == &h.Conversation) {
				return errTwoWishes
			}
			*dst = field.Trim(line[c+1:])
			if dst == &h.IdempotencyKey && *dst == nil {
				*dst = line[:0] // sent, and empty
			}
		}
	}
	if h.HasLength && h.HasCoding {
		return errTwoLengths
	}
	return nil
}

// QueryKey takes the key of a request for Gemini from the query of its target, where
// some of its clients put it, unless a header has one.
func (h *Head) QueryKey(target []byte) *apierr.Error {
	path, query, ok := bytes.Cut(target, []byte("?"))
	if !ok || h.GoogKey != nil || !bytes.Contains(path, []byte("/v1beta/")) {
		return nil
	}
	for more := true; more; {
		var arg []byte
		arg, query, more = bytes.Cut(query, []byte("&"))
		if v, ok := bytes.CutPrefix(arg, []byte("key=")); ok {
			if h.GoogKey != nil {
				return errTwoKeys
			}
			h.GoogKey = v
		}
	}
	return nil
}

// field returns where the value of a header goes, nil for one that nobody reads.
func (h *Head) field(name []byte) *[]byte {
	switch len(name) {
	case len("accept"):
		if field.Fold(name, "accept") {
			return &h.Accept
		}
	case len("x-api-key"):
		if field.Fold(name, "x-api-key") {
			return &h.APIKey
		}
	case len("x-request-id"):
		if field.Fold(name, "x-request-id") {
			return &h.RequestID
		}
	case len("authorization"):
		if field.Fold(name, "authorization") {
			return &h.Authorization
		}
		if field.Fold(name, "cache-control") {
			return &h.CacheControl
		}
	case len("x-goog-api-key"):
		if field.Fold(name, "x-goog-api-key") {
			return &h.GoogKey
		}
		if field.Fold(name, "anthropic-beta") {
			return &h.AnthropicBeta
		}
		if field.Fold(name, "content-length") {
			h.HasLength = true
		}
	case len("x-forwarded-for"):
		if field.Fold(name, "idempotency-key") {
			return &h.IdempotencyKey
		}
		if field.Fold(name, "x-dashscope-sse") {
			return &h.DashScopeSSE
		}
		if field.Fold(name, "x-forwarded-for") {
			return &h.ForwardedFor
		}
	case len("content-encoding"):
		if field.Fold(name, "content-encoding") {
			return &h.ContentEncoding
		}
	case len("anthropic-version"):
		if field.Fold(name, "anthropic-version") {
			return &h.AnthropicVersion
		}
		if field.Fold(name, "transfer-encoding") {
			h.HasCoding = true
		}
		if field.Fold(name, "x-conversation-id") {
			return &h.Conversation
		}
	case len("x-relay-max-charge"):
		if field.Fold(name, "x-relay-max-charge") {
			return &h.MaxCharge
		}
	case len("x-relay-price-version"):
		if field.Fold(name, "x-relay-price-version") {
			return &h.PriceVersion
		}
	}
	return nil
}
