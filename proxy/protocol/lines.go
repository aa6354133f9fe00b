package protocol

import (
	"bytes"

	"tokenrelay/proxy/sse"
)

var keepAlive = []byte(": keep-alive")

// AppendComments appends an event without data, each comment as a keep-alive (D8:
// comments name suppliers).
func AppendComments(dst, ev []byte) []byte {
	for len(ev) > 0 {
		line, end, rest := sse.Line(ev)
		if len(line) > 0 && line[0] == ':' && !StatusComment(line) {
			line = keepAlive
		}
		dst = append(dst, line...)
		dst = append(dst, end...)
		ev = rest
	}
	return dst
}

// StatusComment reports whether a line is the HTTP status that DashScope writes into
// each event, in the form of a comment: it is a part of the protocol and names nobody.
func StatusComment(line []byte) bool {
	const name = ":HTTP_STATUS/"
	if len(line) != len(name)+3 || string(line[:len(name)]) != name {
		return false
	}
	for _, c := range line[len(name):] {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// AppendLines appends the event ev with data in the place of its own data, split
// at line feeds. dataAt is where ev's first data stands (sse.Event.DataAt).
// Comments become keep-alives unless they are kept.
func AppendLines(dst, ev, data []byte, dataAt int, keepComments bool) []byte {
	space := " "
	if dataAt > 0 && ev[dataAt-1] == ':' {
		space = ""
	}
	written := false
	for len(ev) > 0 {
		line, end, rest := sse.Line(ev)
		ev = rest
		switch {
		case len(line) > 0 && line[0] == ':' && !keepComments && !StatusComment(line):
			dst = append(dst, keepAlive...)
			dst = append(dst, end...)
		case bytes.HasPrefix(line, dataName) && (len(line) == len(dataName) || line[len(dataName)] == ':'):
			if written {
				continue
			}
			written = true
			for {
				part := data
				i := bytes.IndexByte(data, '\n')
				if i >= 0 {
					part = data[:i]
				}
				dst = append(dst, "data:"...)
				dst = append(dst, space...)
				dst = append(dst, part...)
				dst = append(dst, end...)
				if i < 0 {
					break
				}
				data = data[i+1:]
			}
		default:
			dst = append(dst, line...)
			dst = append(dst, end...)
		}
	}
	return dst
}

var dataName = []byte("data")
