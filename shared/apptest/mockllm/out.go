package mockllm

import (
	"bytes"
	"compress/gzip"
	"errors"
	"net"
	"strconv"
	"strings"
	"time"

	"tokenrelay/shared/aws"
)

// errEnd ends the answer and the connection; the end is in out.end.
var errEnd = errors.New("mockllm: the answer has ended")

// out writes one answer and commits the script's faults on the way.
type out struct {
	c       *conn
	sc      *Script
	l       *live
	ask     *ask // nil where no request was parsed
	status  int
	wire    []byte // framed bytes not yet written
	stream  bool
	chunked bool
	body    int64 // body bytes framed so far
	sent    int64 // body bytes written
	events  int64 // events framed so far
	pending int64 // of these not yet written
	tokens  int64 // output tokens in wire
	think   int64 // reasoning tokens in wire
	input   Units // stated once any of the answer has been written
	usage   *Units
	lie     string
	cut     bool // nothing more is to be framed
	end     string
	gz      *gzip.Writer
	gzBuf   bytes.Buffer
	nl      string
	dial    *dialect
	items   bool // a stream of Responses: its errors are events of its own, and end it
}

// begin renders status line and headers; nothing is written yet except by the
// script's wish. length < 0 means a stream or a body of unsaid length.
func (o *out) begin(status int, contentType string, length int64, extra string) error {
	sc := o.sc
	o.status = status
	if sc.Delay > 0 {
		if err := o.wait(sc.Delay); err != nil {
			return err
		}
	}
	switch {
	case sc.Hang == beforeHeaders:
		return o.hang()
	case sc.Cut == beforeHeaders:
		return o.fin()
	case sc.Rst == beforeHeaders:
		return o.reset()
	}
	h := o.c.headBuf[:0]
	if sc.Early != "" {
		code, times, _ := strings.Cut(sc.Early, "x")
		n, _ := strconv.Atoi(times)
		for range max(n, 1) {
			h = append(append(append(h, "HTTP/1.1 "...), code...), " Early\r\n"...)
			if code == "103" {
				h = append(h, "Link: </style.css>; rel=preload\r\n"...)
			}
			h = append(h, "\r\n"...)
		}
	}
	switch sc.Head {
	case "broken":
		h = append(h, "ICY two hundred\r\n"...)
	case "http10":
		h = append(h, "HTTP/1.0 "...)
	default:
		h = append(h, "HTTP/1.1 "...)
	}
	if sc.Head != "broken" {
		h = strconv.AppendInt(h, int64(status), 10)
		h = append(append(append(h, ' '), statusText(status)...), '\r', '\n')
	}
	if contentType != "" {
		h = append(append(append(h, "Content-Type: "...), contentType...), '\r', '\n')
	}
	h = append(append(append(h, "X-Request-Id: req_mockcanary_"...), o.l.rec.ID...), '\r', '\n')
	if o.stream {
		h = append(h, "Cache-Control: no-cache\r\n"...)
	}
	if sc.RetryAfter != "" {
		h = append(append(append(h, "Retry-After: "...), sc.RetryAfter...), '\r', '\n')
	}
	if sc.Location != "" {
		h = append(append(append(h, "Location: "...), sc.Location...), '\r', '\n')
	}
	h = append(h, extra...)
	if sc.Headers != "" {
		h = appendOddHeaders(h, sc.Headers)
	}
	for n := sc.HugeHeader; n > 0; n -= 4000 {
		h = append(h, "X-Huge: "...)
		h = append(h, strings.Repeat("h", int(min(n, 4000)))...)
		h = append(h, "\r\n"...)
	}
	switch sc.Gzip {
	case "1", "bomb":
		h = append(h, "Content-Encoding: gzip\r\n"...)
		o.gz = gzip.NewWriter(&o.gzBuf)
		length = -1
	case "lie":
		h = append(h, "Content-Encoding: gzip\r\n"...)
	}
	te := sc.TE
	if te == "" {
		if te = "chunked"; length >= 0 {
			te = "length"
		}
		if o.c.http10 || sc.Head == "http10" {
			te = "close"
		}
	}
	if length < 0 && (te == "length" || te == "short" || te == "long") {
		te = "chunked" // a stream has no length to say
	}
	switch te {
	case "chunked":
		o.chunked = true
		h = append(h, "Transfer-Encoding: chunked\r\n"...)
	case "both":
		o.chunked = true
		h = append(h, "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"...)
		o.c.close = true
	case "close":
		o.c.close = true
	default:
		switch te {
		case "short":
			length, o.c.close = length+17, true
		case "long":
			length, o.c.close = max(0, length-17), true
		}
		h = append(h, "Content-Length: "...)
		h = strconv.AppendInt(h, length, 10)
		h = append(h, "\r\n"...)
	}
	switch {
	case sc.Close == "silent":
		o.c.close = true
	case o.c.close || sc.Close == "1":
		o.c.close = true
		h = append(h, "Connection: close\r\n"...)
	}
	h = append(h, "\r\n"...)
	o.c.headBuf = h
	if sc.SlowHeaders > 0 {
		for i := range h {
			o.wire = append(o.wire, h[i])
			if err := o.flush(); err != nil {
				return err
			}
			if err := o.wait(sc.SlowHeaders); err != nil {
				return err
			}
		}
	} else {
		o.wire = append(o.wire, h...)
	}
	o.l.mu.Lock()
	o.l.rec.Status = status
	o.l.mu.Unlock()
	switch {
	case sc.Hang == 0:
		return o.hang()
	case sc.Cut == 0:
		return o.fin()
	case sc.Rst == 0:
		return o.reset()
	}
	return nil
}

func appendOddHeaders(h []byte, names string) []byte {
	for _, name := range strings.Split(names, ",") {
		switch name {
		case "cookie":
			h = append(h, "Set-Cookie: __cf_bm=mockllm-canary; path=/; HttpOnly\r\nSet-Cookie: session=mockllm-canary\r\n"...)
		case "hop":
			h = append(h, "Connection: X-Hop, keep-alive\r\nX-Hop: mockllm-canary\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic realm=mockllm-canary\r\nTrailer: X-Trail\r\nUpgrade: h2c\r\n"...)
		case "leak":
			h = append(h, "Server: mockllm-canary\r\nVia: 1.1 mockllm-canary\r\nCF-Ray: mockllm-canary\r\nOpenai-Organization: org-mockcanary\r\nOpenai-Project: proj_mockcanary\r\nOpenai-Processing-Ms: 12\r\nOpenai-Model: mockllm-canary\r\nAnthropic-Organization-Id: acct-mockcanary\r\nAnthropic-Workspace-Id: acct-mockcanary\r\nRequest-Id: req_mockcanary\r\nX-Generation-Id: gen-mockllm-canary\r\n"...)
		case "limits":
			h = append(h, "X-Ratelimit-Limit-Requests: 424242\r\nX-Ratelimit-Remaining-Requests: 424241\r\nX-Ratelimit-Reset-Requests: 120ms\r\nAnthropic-Ratelimit-Requests-Limit: 424242\r\nAnthropic-Ratelimit-Requests-Remaining: 424241\r\n"...)
		case "inject":
			h = append(h, "X-Inject: a\r b\x00c\r\nX-Relay-Error: mockllm-canary\r\n"...)
		case "fold":
			h = append(h, "X-Fold: a\r\n mockllm-canary\r\n"...)
		}
	}
	return h
}

// whole answers with a body that is known in full.
func (o *out) whole(status int, contentType string, body []byte, extra string) error {
	if o.sc.Gzip == "bomb" && status == 200 {
		return o.bomb(contentType, body, extra)
	}
	if err := o.begin(status, contentType, int64(len(body))+max(o.sc.Blank, 0), extra); err != nil {
		return err
	}
	if o.sc.Blank > 0 {
		if err := o.write(bytes.Repeat([]byte("\n"), int(o.sc.Blank))); err != nil {
			return err
		}
	}
	if err := o.write(body); err != nil {
		return err
	}
	return o.finish()
}

// bomb sends the body and then a gibibyte of blanks, compressed about 1000 : 1.
func (o *out) bomb(contentType string, body []byte, extra string) error {
	if err := o.begin(200, contentType, -1, extra); err != nil {
		return err
	}
	if err := o.write(body); err != nil {
		return err
	}
	blanks := bytes.Repeat([]byte(" "), 1<<20)
	for range 1024 {
		if err := o.write(blanks); err != nil {
			return err
		}
	}
	return o.finish()
}

// event writes one SSE event (its lines end in \n; the form that the script or
// the dialect wants is made here), which carries so many tokens of the answer.
func (o *out) event(ev []byte, tokens, think int64) error {
	sc := o.sc
	next := o.events + 1
	if sc.ErrorAt == next {
		o.sc.ErrorAt = unset
		if err := o.event(o.errorEvent(), 0, 0); err != nil {
			return err
		}
		if o.dial != nil && o.dial.done && !o.dial.namedError && !o.items {
			return nil // go on: some providers do
		}
		o.cut = true
		return o.finishNow()
	}
	if sc.Gap > 0 && o.events > 0 {
		if err := o.wait(sc.Gap); err != nil {
			return err
		}
	}
	if sc.Line > 0 && next == 3 {
		n := sc.Line
		sc.Line = unset
		if err := o.event(o.longEvent(n), 1, 0); err != nil {
			return err
		}
	}
	if sc.SSE != "" || o.nl == "\r\n" {
		ev = o.mangle(ev, next)
	}
	o.events++
	o.pending++
	o.tokens += tokens
	o.think += think
	if err := o.write(ev); err != nil {
		return err
	}
	if sc.Gzip != "" && o.gz != nil {
		if err := o.gz.Flush(); err != nil {
			return err
		}
		if err := o.drainGzip(); err != nil {
			return err
		}
	}
	if sc.Flush > 0 && o.pending >= sc.Flush {
		if err := o.flush(); err != nil {
			return err
		}
	}
	switch o.events {
	case sc.Hang:
		return o.hang()
	case sc.Cut:
		return o.fin()
	case sc.Rst:
		return o.reset()
	case sc.End:
		o.cut = true
		return o.finishNow()
	}
	return nil
}

// finishNow ends the HTTP message properly although the answer is not complete.
func (o *out) finishNow() error {
	if err := o.finish(); err != nil {
		return err
	}
	return errEnd
}

// comment writes an SSE comment, which is no event.
func (o *out) comment(line string) error { return o.write([]byte(line + o.nl + o.nl)) }

func (o *out) errorEvent() []byte {
	if o.dial == dialectDashScope {
		return o.dashScopeErrorEvent()
	}
	if o.dial == dialectConverse {
		return o.converseException()
	}
	_, _, body := errorFor(o.dial, o.dial == dialectAnthropic, o.sc.Error, 500, o.ask.name, "")
	if o.items {
		return []byte("event: error\ndata: {\"type\":\"error\",\"sequence_number\":1," + body[1:] + "\n\n")
	}
	if o.dial == dialectAnthropic || o.dial.namedError {
		return []byte("event: error\ndata: " + body + "\n\n")
	}
	return []byte("data: " + body + "\n\n")
}

func (o *out) longEvent(n int64) []byte {
	text := strings.Repeat("y", int(min(n, 1<<30)))
	if o.items {
		return []byte("event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"item_id\":\"msg_long\",\"output_index\":0,\"content_index\":0,\"delta\":\"" + text + "\"}\n\n")
	}
	if o.dial == dialectDashScope {
		return dashScopeLong(text)
	}
	if o.dial == dialectConverse {
		b, _ := aws.AppendFrame(nil, "contentBlockDelta", false, []byte(`{"contentBlockIndex":0,"delta":{"text":"`+text+`"}}`))
		return b
	}
	if o.dial == dialectCohere {
		return []byte("event: content-delta\ndata: {\"type\":\"content-delta\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"text\":\"" + text + "\"}}}}\n\n")
	}
	if o.dial == dialectGemini {
		return []byte(`data: {"candidates": [{"content": {"parts": [{"text": "` + text + `"}],"role": "model"},"index": 0}],"modelVersion": ` + quoted(o.ask.model) + "}\n\n")
	}
	if o.dial == dialectAnthropic {
		return []byte("event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"" + text + "\"}}\n\n")
	}
	return []byte(`data: {"id":"chatcmpl-long","object":"chat.completion.chunk","created":1,"model":` + quoted(o.ask.model) + `,"choices":[{"index":0,"delta":{"content":"` + text + `"},"finish_reason":null}]}` + "\n\n")
}

// mangle gives the event the odd form that was asked for.
func (o *out) mangle(ev []byte, number int64) []byte {
	s := string(ev)
	switch o.sc.SSE {
	case "crlf":
		s = strings.ReplaceAll(s, "\n", "\r\n")
	case "cr":
		s = strings.ReplaceAll(s, "\n", "\r")
	case "bom":
		if number == 1 {
			s = "\ufeff" + s
		}
	case "nospace":
		s = strings.ReplaceAll(s, "data: ", "data:")
	case "noname":
		if strings.HasPrefix(s, "event: ") {
			_, s, _ = strings.Cut(s, "\n")
		}
	case "comments":
		s = ": a comment\n\n:\n" + s
	case "ids":
		s = "id: " + strconv.FormatInt(number, 10) + "\nretry: 1000\n" + s
	case "multiline":
		// The same JSON over two data lines: a line break between members is blank space.
		if i := strings.Index(s, ",\""); i > 0 {
			s = s[:i+1] + "\ndata: " + s[i+1:]
		}
	case "junk":
		if number == 2 {
			s = "this line has no colon\nunknown: field\n\n" + s
		}
	case "badjson":
		if number == 2 {
			s = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"cut\n\n" + s
		}
	}
	if o.nl == "\r\n" && o.sc.SSE != "crlf" {
		s = strings.ReplaceAll(s, "\n", "\r\n")
	}
	return []byte(s)
}

// write frames body bytes, and writes them as the script wants them split.
func (o *out) write(p []byte) error {
	if o.gz != nil {
		if _, err := o.gz.Write(p); err != nil {
			return err
		}
		if o.gzBuf.Len() > 32<<10 {
			return o.drainGzip()
		}
		return nil
	}
	return o.frame(p)
}

func (o *out) drainGzip() error {
	p := bytes.Clone(o.gzBuf.Bytes())
	o.gzBuf.Reset()
	return o.frame(p)
}

func (o *out) frame(p []byte) error {
	sc := o.sc
	if sc.SSE == "noend" && o.stream && bytes.HasSuffix(p, []byte("[DONE]\n\n")) {
		p = p[:len(p)-2]
	}
	for _, f := range [...]struct {
		at   int64
		then func() error
	}{{sc.CutBytes, o.fin}, {sc.RstBytes, o.reset}, {sc.HangBytes, o.hang}} {
		if f.at >= 0 && o.body+int64(len(p)) >= f.at {
			if err := o.split(p[:f.at-o.body]); err != nil {
				return err
			}
			return f.then()
		}
	}
	return o.split(p)
}

func (o *out) split(p []byte) error {
	if o.sc.Write <= 0 {
		o.chunk(p)
		if len(o.wire) > 256<<10 {
			return o.flush()
		}
		return nil
	}
	for len(p) > 0 {
		n := min(int(o.sc.Write), len(p))
		o.chunk(p[:n])
		p = p[n:]
		if err := o.flush(); err != nil {
			return err
		}
		if o.sc.Gap > 0 && !o.stream {
			if err := o.wait(o.sc.Gap); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o *out) chunk(p []byte) {
	if len(p) == 0 {
		return
	}
	o.body += int64(len(p))
	if o.chunked {
		o.wire = strconv.AppendInt(o.wire, int64(len(p)), 16)
		o.wire = append(o.wire, '\r', '\n')
	}
	o.wire = append(o.wire, p...)
	if o.chunked {
		o.wire = append(o.wire, '\r', '\n')
	}
}

// flush writes what is framed, and tells the meter.
func (o *out) flush() error {
	if len(o.wire) == 0 {
		return nil
	}
	at := time.Now().UnixNano()
	unheard := (o.tokens > 0 || o.think > 0) && o.c.out.left()
	_, err := o.c.nc.Write(o.wire)
	o.wire = o.wire[:0]
	if err != nil {
		o.end = EndGone
		return errEnd
	}
	if o.body > o.sent || o.pending > 0 {
		r := &o.l.rec
		o.l.mu.Lock()
		if r.BytesOut == 0 && o.body > 0 {
			r.FirstNS = time.Now().UnixNano()
		}
		r.LastNS = at
		r.BytesOut += o.body - o.sent
		r.Events += o.pending
		if o.tokens > 0 || o.think > 0 {
			if unheard {
				if r.Produced == (Units{}) {
					r.Unheard = o.input
					r.Unheard.Output, r.Unheard.Reasoning = 0, 0
				}
				r.Unheard.Output += o.tokens + o.think
				r.Unheard.Reasoning += o.think
			}
			r.Produced.Input, r.Produced.CacheRead = o.input.Input, o.input.CacheRead
			r.Produced.CacheWrite, r.Produced.CacheWrite1h = o.input.CacheWrite, o.input.CacheWrite1h
			r.Produced.Output += o.tokens + o.think
			r.Produced.Reasoning += o.think
		}
		if o.usage != nil {
			r.Usage = o.usage
		}
		if o.lie != "" {
			r.Usage, r.Lie = nil, o.lie
		}
		o.l.mu.Unlock()
		o.sent = o.body
		o.pending, o.tokens, o.think, o.usage, o.lie = 0, 0, 0, nil, ""
	}
	return nil
}

// finish ends the HTTP message.
func (o *out) finish() error {
	if o.gz != nil {
		if err := o.gz.Close(); err != nil {
			return err
		}
		o.gz = nil
		if err := o.drainGzip(); err != nil {
			return err
		}
	}
	if o.chunked {
		o.wire = append(o.wire, "0\r\n\r\n"...)
	}
	if err := o.flush(); err != nil {
		return err
	}
	o.end = EndFinished
	return nil
}

// wait pauses, and notices a client that leaves meanwhile.
func (o *out) wait(d time.Duration) error {
	if err := o.flush(); err != nil {
		return err
	}
	if !o.c.idle(d) {
		o.end = EndGone
		return errEnd
	}
	return nil
}

// hang says nothing more until the client leaves or the script's hold is over.
func (o *out) hang() error {
	if err := o.flush(); err != nil {
		return err
	}
	if o.end = EndGone; o.c.idle(o.sc.Hold) {
		o.end = EndFault
	}
	return errEnd
}

// fin closes the connection cleanly, in the middle of the message.
func (o *out) fin() error {
	if err := o.flush(); err != nil {
		return err
	}
	o.end = EndFault
	return errEnd
}

// reset closes the connection with a TCP reset. What was written before has a
// moment to be read: a reset may overtake bytes still on their way.
func (o *out) reset() error {
	if err := o.flush(); err != nil {
		return err
	}
	o.end = EndFault
	if !o.c.idle(5 * time.Millisecond) {
		return errEnd
	}
	if tc, ok := o.c.nc.(*net.TCPConn); ok {
		_ = tc.SetLinger(0)
	}
	return errEnd
}

func statusText(status int) string {
	switch status {
	case 200:
		return "OK"
	case 204:
		return "No Content"
	case 301, 302, 307, 308:
		return "Moved"
	case 400:
		return "Bad Request"
	case 401:
		return "Unauthorized"
	case 402:
		return "Payment Required"
	case 403:
		return "Forbidden"
	case 404:
		return "Not Found"
	case 429:
		return "Too Many Requests"
	case 500:
		return "Internal Server Error"
	case 502:
		return "Bad Gateway"
	case 503:
		return "Service Unavailable"
	}
	return "Status"
}
