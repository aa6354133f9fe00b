// Package sse splits server-sent events on the caller's own buffer. Nothing is
// copied and nothing is kept: an event is a run of the caller's bytes that ends
// with its blank line.
package sse

import "bytes"

// Next returns the length of the first complete event of buf with its blank
// line, or 0 if buf holds no complete event. Lines end with LF, CRLF or CR. A CR
// that is the last byte of buf ends nothing yet: the LF that may belong to it has
// not arrived. Blank lines before the first line of an event belong to that
// event.
//
// Next looks at buf from its start on every call; a reader that grows its buffer
// by small steps uses a Scanner, which remembers how far it has looked.
func Next(buf []byte) int {
	var s Scanner
	return s.Next(buf)
}

// Scanner finds the events of one stream. The zero value is ready. It holds
// positions only, never bytes.
type Scanner struct {
	line int  // where the line under work starts, relative to the event
	off  int  // how far that line has been searched for its end
	some bool // the event has a line that is not blank
	cr   bool // Tail: the bytes before end with a CR
	text bool // Tail: the line under work is not blank
}

// Next returns the length of the first complete event of buf, or 0. buf must
// start where the event before ended (where Next's last result ended), and on a
// repeated call hold at least the bytes of the call before. All bytes before a
// blank line are looked at once only.
func (s *Scanner) Next(buf []byte) int {
	for {
		end, next := lineEnd(buf, s.off)
		if end < 0 {
			s.off = next
			return 0
		}
		blank := end == s.line
		s.line, s.off = next, next
		if !blank {
			s.some = true
			continue
		}
		if s.some {
			*s = Scanner{}
			return next
		}
	}
}

// lineEnd finds the first line end at or after off: end is its first byte, next
// the byte after it. Without one it returns -1 and the place to look from later.
func lineEnd(buf []byte, off int) (end, next int) {
	rest := buf[off:]
	i := bytes.IndexByte(rest, '\n')
	line := rest
	if i >= 0 {
		line = rest[:i]
	}
	if c := bytes.IndexByte(line, '\r'); c >= 0 {
		switch {
		case c+1 < len(rest) && rest[c+1] == '\n':
			return off + c, off + c + 2
		case c+1 < len(rest):
			return off + c, off + c + 1
		default: // its LF may still come
			return -1, off + c
		}
	}
	if i >= 0 {
		return off + i, off + i + 1
	}
	return -1, len(buf)
}

// Started reports whether a part of an event has been seen since the last
// complete one, as far as calls of Next have told.
func (s *Scanner) Started() bool { return s.some || s.line > 0 || s.off > 0 }

// Oversize begins the skipping of an event that does not fit the caller's
// buffer: buf is the part that has arrived, and all of it is taken as the head of
// the event. The caller passes it on and then gives what follows to Tail.
func (s *Scanner) Oversize(buf []byte) {
	*s = Scanner{}
	for i := range buf {
		s.step(buf[i])
	}
}

// Tail returns how many bytes of chunk still belong to the event that Oversize
// began, and whether the event ends with them. After done the scanner is ready
// for the next event.
func (s *Scanner) Tail(chunk []byte) (n int, done bool) {
	for i := 0; i < len(chunk); i++ {
		if !s.cr && chunk[i] != '\r' && chunk[i] != '\n' {
			// Skip to the next line end at once: an oversized event is mostly
			// one long line.
			j := len(chunk)
			if k := bytes.IndexByte(chunk[i:], '\n'); k >= 0 {
				j = i + k
			}
			if k := bytes.IndexByte(chunk[i:j], '\r'); k >= 0 {
				j = i + k
			}
			s.text = true
			i = j
			if i == len(chunk) {
				break
			}
		}
		if end, before := s.step(chunk[i]); end {
			*s = Scanner{}
			if before {
				return i, true
			}
			return i + 1, true
		}
	}
	return len(chunk), false
}

// step takes one byte of an oversized event. end: the event is over; before: it
// was over before this byte (a lone CR ended it).
func (s *Scanner) step(c byte) (end, before bool) {
	if s.cr {
		s.cr = false
		blank := !s.text
		s.text = false
		if c == '\n' {
			return blank, false
		}
		if blank {
			return true, true
		}
	}
	switch c {
	case '\r':
		s.cr = true
	case '\n':
		if !s.text {
			return true, false
		}
		s.text = false
	default:
		s.text = true
	}
	return false, false
}

// Event is one parsed event. Its slices point into the event's bytes.
type Event struct {
	Name    []byte // value of the last event: line, nil without one
	Data    []byte // value of the first data: line
	DataAt  int    // where Data stands in the event
	Datas   int    // number of data: lines; with more than one, Join gives the data
	Other   int    // number of lines of other fields: event, id, retry, unknown
	Comment int    // number of comment lines
}

// Parse reads the fields of the complete event ev, as Next or the end of the
// stream gave it.
func Parse(ev []byte) (e Event) {
	at := 0
	if bytes.HasPrefix(ev, bom) {
		at = len(bom)
	}
	for at < len(ev) {
		end, next := lineEnd(ev, at)
		if end < 0 {
			end, next = len(ev), len(ev)
			if ev[end-1] == '\r' {
				end--
			}
		}
		line := ev[at:end]
		switch {
		case len(line) == 0:
		case line[0] == ':':
			e.Comment++
		default:
			name, value := cutField(line)
			switch string(name) {
			case "data":
				if e.Datas == 0 {
					e.Data, e.DataAt = value, end-len(value)
				}
				e.Datas++
			case "event":
				e.Name = value
				e.Other++
			default:
				e.Other++
			}
		}
		at = next
	}
	return e
}

// Fields returns the event's name (nil without one) and its data. With several
// data: lines the data is only the first of them; see Event.Datas and Join.
func Fields(ev []byte) (name, data []byte) {
	e := Parse(ev)
	return e.Name, e.Data
}

// Join appends the event's data to dst: its data: lines joined by LF.
func Join(dst, ev []byte) []byte {
	ev = bytes.TrimPrefix(ev, bom)
	first := true
	for len(ev) > 0 {
		line, rest := cutLine(ev)
		ev = rest
		if name, value := cutField(line); string(name) == "data" {
			if !first {
				dst = append(dst, '\n')
			}
			first = false
			dst = append(dst, value...)
		}
	}
	return dst
}

var bom = []byte("\xef\xbb\xbf")

// Line cuts the first line off ev: the line without its end, the bytes of its
// end, and what follows.
func Line(ev []byte) (line, end, rest []byte) {
	e, next := lineEnd(ev, 0)
	if e < 0 {
		if n := len(ev); n > 0 && ev[n-1] == '\r' {
			return ev[:n-1], ev[n-1:], nil
		}
		return ev, nil, nil
	}
	return ev[:e], ev[e:next], ev[next:]
}

func cutLine(ev []byte) (line, rest []byte) {
	line, _, rest = Line(ev)
	return line, rest
}

// cutField splits a line at its first colon and drops one space after it.
func cutField(line []byte) (name, value []byte) {
	i := bytes.IndexByte(line, ':')
	if i < 0 {
		return line, nil
	}
	name, value = line[:i], line[i+1:]
	if len(value) > 0 && value[0] == ' ' {
		value = value[1:]
	}
	return name, value
}
