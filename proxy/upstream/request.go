package upstream

import "strconv"

// AppendRequestLine begins a POST to path below the host's base path, with the
// Host field.
func (h *Host) AppendRequestLine(dst []byte, path string) []byte {
	return h.AppendLineEnd(append(h.AppendLineStart(dst), path...))
}

// AppendLineStart begins a POST to a path below the host's base path; the caller
// appends the path and then AppendLineEnd.
func (h *Host) AppendLineStart(dst []byte) []byte {
	return append(dst, h.lineStart...)
}

// AppendLineEnd ends the request line and adds the Host field.
func (h *Host) AppendLineEnd(dst []byte) []byte {
	return append(dst, h.lineEnd...)
}

// AppendField adds a header field. name and value must be free of CR and LF.
//
// It is called and not inlined, as whatever a request does several times: a request that
// comes alone finds its code cold, and each copy is fetched from memory.
//
//go:noinline
func AppendField(dst []byte, name, value string) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, "\r\n"...)
}

// AppendFieldBytes adds a header field.
func AppendFieldBytes(dst []byte, name string, value []byte) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, "\r\n"...)
}

// AppendEnd ends the head with room for the body's length. The body is appended
// behind it; then PutLength fills the length in, up to ten digits. Leading spaces
// of a field value are no part of it (RFC 9110 5.5). bodyAt is where the body
// begins.
func AppendEnd(dst []byte) (out []byte, bodyAt int) {
	dst = append(dst, "Content-Length:           \r\n\r\n"...)
	return dst, len(dst)
}

// PutLength writes the length of req[bodyAt:] into the head.
func PutLength(req []byte, bodyAt int) { SetLength(req, bodyAt, len(req)-bodyAt) }

// SetLength writes a length of n bytes into the head before bodyAt, for a body whose bytes
// stand elsewhere.
func SetLength(req []byte, bodyAt, n int) {
	var digits [20]byte
	d := strconv.AppendInt(digits[:0], int64(n), 10)
	end := bodyAt - len("\r\n\r\n")
	copy(req[end-len(d):end], d)
}
