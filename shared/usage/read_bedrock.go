package usage

import (
	"encoding/binary"
	"hash/crc32"
)

// converseTop takes the members of a Converse answer, or of the payload of its
// stream's metadata event.
func converseTop(r *Reader, key, v []byte) {
	if string(key) == "usage" {
		r.object(v, converseUsage)
	}
}

func converseUsage(r *Reader, key, v []byte) {
	f := &r.work
	switch string(key) {
	case "inputTokens":
		r.count(v, &f.in)
	case "outputTokens":
		r.count(v, &f.out)
	case "totalTokens":
		r.count(v, &f.total)
	case "cacheReadInputTokens", "cacheReadInputTokenCount": // both stand there, with one figure
		r.count(v, &f.read)
	case "cacheWriteInputTokens", "cacheWriteInputTokenCount":
		r.count(v, &f.write)
	case "cacheDetails":
		r.lifetimes(v)
	}
}

// lifetimes reads how long what was written to the cache lives.
func (r *Reader) lifetimes(v []byte) {
	if len(v) == 0 || v[0] != '[' {
		return
	}
	m := inside(v, 0)
	for m.next() {
		t := m.value()
		if len(t) == 0 || t[0] != '{' {
			continue
		}
		n := orNull(member(t, "inputTokens"))
		if string(word(member(t, "ttl"))) == "1h" {
			r.more(n, &r.work.write1h)
		} else {
			r.more(n, &r.work.write5m)
		}
	}
	r.broken = r.broken || m.bad
}

// converse: inputTokens leaves both caches out.
func (s *state) converse(u *Units) bool {
	if !s.seen || s.in < 0 && s.out < 0 {
		return false
	}
	s.apart(u)
	return true
}

// The parts of a frame: its length and that of its headers with their checksum stand
// first, a checksum of all last.
const (
	framePrelude = 12
	frameEnd     = 4
	// MaxFrame is the largest frame that is read, in bytes: 16 MiB of payload and
	// 128 KiB of headers, what the form itself allows.
	MaxFrame = 16<<20 + 128<<10 + framePrelude + frameEnd
)

// Frame takes the first frame of an AWS event stream off buf: its length in bytes, 0
// while it has not arrived as a whole, and its payload, a view of buf. ok is false if
// buf does not start with a frame (its lengths or checksums are wrong): nothing behind
// it can be found then.
func Frame(buf []byte) (n int, payload []byte, ok bool) {
	if len(buf) < framePrelude {
		return 0, nil, true
	}
	size, headers := binary.BigEndian.Uint32(buf), binary.BigEndian.Uint32(buf[4:])
	if binary.BigEndian.Uint32(buf[8:]) != crc32.ChecksumIEEE(buf[:8]) ||
		size < framePrelude+frameEnd || size > MaxFrame || headers > size-framePrelude-frameEnd {
		return 0, nil, false
	}
	n = int(size)
	if len(buf) < n {
		return 0, nil, true
	}
	end := n - frameEnd
	if binary.BigEndian.Uint32(buf[end:]) != crc32.ChecksumIEEE(buf[:end]) {
		return 0, nil, false
	}
	return n, buf[framePrelude+int(headers) : end], true
}
