package aws

import (
	"bytes"
	"encoding/binary"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
)

const (
	prelude  = 12 // bytes before the headers of a frame: two lengths and their checksum
	frameEnd = 4  // its own checksum
)

// A Decoder turns the frames of an event stream into server-sent events, one by one as
// they come. The zero value is ready; Reset makes it so again.
type Decoder struct {
	d       *eventstream.Decoder
	r       bytes.Reader
	held    []byte // the beginning of a frame
	payload []byte
}

// maxKept is how much memory a decoder keeps, in bytes.
const maxKept = 64 << 10

// Reset forgets what has come.
func (d *Decoder) Reset() {
	d.held = d.held[:0]
	if cap(d.held) > maxKept {
		d.held = nil
	}
	if cap(d.payload) > maxKept {
		d.payload = nil
	}
}

// Rest reports whether a frame has begun and not ended.
func (d *Decoder) Rest() bool { return len(d.held) > 0 }

// Append takes the next bytes of a stream and appends each frame that is whole as a
// server-sent event. Its data is an object with one member, named as the frame:
//
//	data: {"contentBlockDelta":{…}}
//
// An exception becomes an event named error, its data the payload with the exception's
// name as the member type. A frame of more than most bytes is ErrFrame, as is one whose
// checksums are wrong.
func (d *Decoder) Append(dst, p []byte, most int) ([]byte, error) {
	if len(d.held) > 0 {
		d.held = append(d.held, p...)
		p = d.held
	}
	for len(p) >= prelude {
		n := int(binary.BigEndian.Uint32(p))
		if n < prelude+frameEnd || n > most {
			return dst, ErrFrame
		}
		if len(p) < n {
			break
		}
		var err error
		if dst, err = d.event(dst, p[:n]); err != nil {
			return dst, err
		}
		p = p[n:]
	}
	d.held = append(d.held[:0], p...)
	return dst, nil
}

// event appends one whole frame.
func (d *Decoder) event(dst, frame []byte) ([]byte, error) {
	if d.d == nil {
		d.d = eventstream.NewDecoder()
	}
	d.r.Reset(frame)
	m, err := d.d.Decode(&d.r, d.payload)
	if err != nil {
		return dst, ErrFrame
	}
	d.payload = m.Payload[:0]
	header := func(name string) string {
		if v, ok := m.Headers.Get(name).(eventstream.StringValue); ok {
			return string(v)
		}
		return ""
	}
	switch header(":message-type") {
	case "event":
		dst = append(dst, `data: {`...)
		dst = appendName(dst, header(":event-type"))
		dst = append(dst, ':')
		if len(bytes.TrimSpace(m.Payload)) == 0 {
			dst = append(dst, "{}"...)
		} else {
			dst = appendLine(dst, m.Payload)
		}
		return append(dst, "}\n\n"...), nil
	case "exception":
		dst = append(dst, "event: error\ndata: {\"type\":"...)
		dst = appendName(dst, header(":exception-type"))
		if p := bytes.TrimSpace(m.Payload); len(p) > 2 && p[0] == '{' {
			dst = append(dst, ',')
			return append(appendLine(dst, p[1:]), "\n\n"...), nil
		}
		return append(dst, "}\n\n"...), nil
	}
	// An error of the transport has no payload.
	dst = append(dst, "event: error\ndata: {\"type\":"...)
	dst = appendName(dst, header(":error-code"))
	dst = append(dst, `,"message":`...)
	dst = appendName(dst, header(":error-message"))
	return append(dst, "}\n\n"...), nil
}

// appendName appends what a header holds as a JSON string. Names are ASCII; what is not
// is nobody's to quote.
func appendName(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			c = '?'
		}
		dst = append(dst, c)
	}
	return append(dst, '"')
}

// AppendFrame appends a frame as a provider sends it: an event, or an exception if it
// fails.
func AppendFrame(dst []byte, name string, fails bool, payload []byte) ([]byte, error) {
	kind, as := ":event-type", "event"
	if fails {
		kind, as = ":exception-type", "exception"
	}
	var b bytes.Buffer
	err := eventstream.NewEncoder().Encode(&b, eventstream.Message{
		Headers: eventstream.Headers{
			{Name: kind, Value: eventstream.StringValue(name)},
			{Name: ":content-type", Value: eventstream.StringValue("application/json")},
			{Name: ":message-type", Value: eventstream.StringValue(as)},
		},
		Payload: payload,
	})
	return append(dst, b.Bytes()...), err
}
