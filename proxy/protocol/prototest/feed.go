package prototest

import (
	"bytes"

	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/sse"
)

// Stream is a lane's observer of a streamed answer.
type Stream interface {
	Event(dst, ev []byte) (out []byte, k protocol.Kind)
}

// Feed gives body to a stream in writes of size bytes, as a connection would, and
// returns what the client gets and the kinds of its events. size 0 means all at once.
func Feed(s Stream, body []byte, size int) (out []byte, kinds []protocol.Kind) {
	if size <= 0 {
		size = max(1, len(body))
	}
	pieces := make([][]byte, 0, len(body)/size+1)
	for ; len(body) > size; body = body[size:] {
		pieces = append(pieces, body[:size])
	}
	return FeedPieces(s, append(pieces, body)...)
}

// FeedPieces is Feed with the writes as they are.
func FeedPieces(s Stream, pieces ...[]byte) (out []byte, kinds []protocol.Kind) {
	var sc sse.Scanner
	var buf []byte
	take := func(ev []byte) {
		var k protocol.Kind
		out, k = s.Event(out, ev)
		kinds = append(kinds, k)
	}
	for _, piece := range pieces {
		buf = append(buf, piece...)
		for {
			n := sc.Next(buf)
			if n == 0 {
				break
			}
			take(buf[:n])
			buf = append(buf[:0], buf[n:]...)
		}
	}
	if len(bytes.TrimSpace(buf)) > 0 {
		take(buf)
		return out, kinds
	}
	return append(out, buf...), kinds
}
