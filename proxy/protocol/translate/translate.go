// Package translate turns the answer of an upstream of one protocol into an answer
// of another, event by event. What the upstream's own lane observes of it (usage,
// errors, its end) is observed here by the same code, so that a request costs the
// same whatever protocol it was asked in.
package translate

import (
	"bytes"
	"errors"
	"slices"

	"tokenrelay/proxy/meter"
	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/anthropic"
	"tokenrelay/proxy/protocol/bedrock"
	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/cohere"
	"tokenrelay/proxy/protocol/dashscope"
	"tokenrelay/proxy/protocol/gemini"
	"tokenrelay/proxy/protocol/openai"
	"tokenrelay/proxy/protocol/responses"
	"tokenrelay/proxy/protocol/walk"
	"tokenrelay/proxy/sse"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/usage"
)

// MaxEvent is the size up to which an event of a translated stream is read as a
// whole. A larger one ends the stream with an error: it cannot pass in pieces.
const MaxEvent = 4 << 20

// ErrUnreadable means that a whole answer holds no message.
var ErrUnreadable = errors.New("the answer holds no message")

// observer is what the lane of the upstream's protocol makes of its answer.
type observer interface {
	Reset(*protocol.StreamConfig)
	Event(dst, ev []byte) ([]byte, protocol.Kind)
	Partial(dst, chunk []byte, first, last bool) ([]byte, protocol.Kind)
	Buffered(dst, body []byte) ([]byte, protocol.Kind, error)
	Usage() (usage.Units, usage.Source)
	Reasoning() int64
	Progress() usage.Units
	Terminated() bool
	Began() bool
	Fill(*meter.End)
	ErrorClass() protocol.Class
}

// format is one wire format as this package needs it. A format that is only spoken
// by customers has no observer, decoder and request; one that is only spoken by
// upstreams has no encoder and decode.
type format struct {
	decode    func(body []byte, r *chat.Request) *apierr.Error // a customer's request
	encoder   func() chat.Encoder                              // of the customer's answer
	passError func(dst []byte, p *passed) []byte               // an upstream's error, for the customer
	event     string                                           // stands before "data: " of an error in a stream
	opening   string                                           // begins the object of such an error

	request  func(dst []byte, r *chat.Request, model string, dialect openai.Dialect) ([]byte, *apierr.Error)
	observer func() observer
	decoder  func() chat.Decoder // of the upstream's answer
}

var formats = [chat.NumProtocols]format{
	chat.OpenAI: {
		decode: openai.DecodeRequest, encoder: func() chat.Encoder { return new(openai.AnswerEncoder) }, passError: passOpenAI,
		request:  openai.AppendForm,
		observer: func() observer { return new(openai.Stream) }, decoder: func() chat.Decoder { return new(openai.AnswerDecoder) },
	},
	chat.Messages: {
		decode: anthropic.DecodeRequest, encoder: func() chat.Encoder { return new(anthropic.AnswerEncoder) }, passError: passMessages,
		event: "event: error\n",
		request: func(dst []byte, r *chat.Request, model string, _ openai.Dialect) ([]byte, *apierr.Error) {
			return anthropic.AppendForm(dst, r, model)
		},
		observer: func() observer { return new(anthropic.Stream) }, decoder: func() chat.Decoder { return new(anthropic.AnswerDecoder) },
	},
	chat.Responses: {
		decode: responses.DecodeRequest, encoder: func() chat.Encoder { return new(responses.AnswerEncoder) }, passError: passOpenAI,
		event: "event: error\n", opening: `{"type":"error",`,
	},
	chat.Gemini: {
		decode: gemini.DecodeRequest, encoder: func() chat.Encoder { return new(gemini.AnswerEncoder) }, passError: passGemini,
		request: func(dst []byte, r *chat.Request, model string, _ openai.Dialect) ([]byte, *apierr.Error) {
			return gemini.AppendForm(dst, r, model)
		},
		observer: func() observer { return new(gemini.Stream) }, decoder: func() chat.Decoder { return new(gemini.AnswerDecoder) },
	},
	chat.DashScope: {
		decode: dashscope.DecodeRequest, encoder: func() chat.Encoder { return new(dashscope.AnswerEncoder) }, passError: passDashScope,
		request: func(dst []byte, r *chat.Request, model string, _ openai.Dialect) ([]byte, *apierr.Error) {
			return dashscope.AppendForm(dst, r, model)
		},
		observer: func() observer { return new(dashscope.Stream) }, decoder: func() chat.Decoder { return new(dashscope.AnswerDecoder) },
	},
	chat.Converse: {
		request: func(dst []byte, r *chat.Request, model string, _ openai.Dialect) ([]byte, *apierr.Error) {
			return bedrock.AppendForm(dst, r, model)
		},
		observer: func() observer { return new(bedrock.Stream) }, decoder: func() chat.Decoder { return new(bedrock.AnswerDecoder) },
	},
	chat.Cohere: {
		request: func(dst []byte, r *chat.Request, model string, _ openai.Dialect) ([]byte, *apierr.Error) {
			return cohere.AppendForm(dst, r, model)
		},
		observer: func() observer { return new(cohere.Stream) }, decoder: func() chat.Decoder { return new(cohere.AnswerDecoder) },
	},
}

// Request decodes a request body, peek having accepted it, into the common form.
func Request(from chat.Protocol, body []byte, r *chat.Request) *apierr.Error {
	err := formats[from].decode(body, r)
	if err == nil {
		r.Strangers(body)
	}
	return err
}

// AppendRequest appends the request that an upstream gets. dialect is of use for
// Chat Completions only.
func AppendRequest(dst []byte, r *chat.Request, to chat.Protocol, model string, dialect openai.Dialect) ([]byte, *apierr.Error) {
	return formats[to].request(dst, r, model, dialect)
}

// Stream translates the answer of one upstream attempt, streamed or whole. It may
// be pooled; it keeps no reference to the bytes it is given.
type Stream struct {
	cfg    protocol.StreamConfig
	to     chat.Protocol
	src    observer
	dec    chat.Decoder
	enc    chat.Encoder
	class  protocol.Class
	failed bool // an error was written, or must be: nothing follows it
	broken bool // by this side: class stands here
	ended  bool
	large  bool // much memory was needed: it is not kept

	list            []chat.Event
	conf            chat.Config
	written         int      // events, or elements
	more            []choice // behind the first, of several choices
	scratch, joined []byte

	// Made when a format is first met, and kept.
	observers [chat.NumProtocols]observer
	decoders  [chat.NumProtocols]chat.Decoder
	encoders  [chat.NumProtocols]chat.Encoder
}

// choice is one of several answers.
type choice struct {
	dec  chat.Decoder
	enc  chat.Encoder
	conf chat.Config
}

// picker is a decoder of a format that gives several answers at once.
type picker interface{ Pick(choice int64) }

// Begin makes s ready for one attempt: from the upstream's protocol to the
// customer's. The configurations' strings and bytes must outlive the attempt.
func (s *Stream) Begin(from, to chat.Protocol, cfg *protocol.StreamConfig, c *chat.Config) {
	s.cfg, s.to = *cfg, to
	s.class, s.failed, s.broken, s.ended = protocol.Class{}, false, false, false
	if s.observers[from] == nil {
		s.observers[from], s.decoders[from] = formats[from].observer(), formats[from].decoder()
	}
	if s.encoders[to] == nil {
		s.encoders[to] = formats[to].encoder()
	}
	s.src, s.dec, s.enc = s.observers[from], s.decoders[from], s.encoders[to]
	s.conf, s.written, s.more = *c, 0, s.more[:0]
	s.conf.Written = &s.written
	s.src.Reset(&s.cfg)
	s.ready(s.dec, s.enc, &s.conf)
	for i := 1; i < c.Choices; i++ {
		s.more = append(s.more, choice{formats[from].decoder(), formats[to].encoder(), s.conf})
		m := &s.more[i-1]
		m.conf.Choice = i
		if d, ok := m.dec.(picker); ok {
			d.Pick(int64(i))
		}
		s.ready(m.dec, m.enc, &m.conf)
	}
}

// ready makes a choice's decoder and encoder ready.
func (s *Stream) ready(dec chat.Decoder, enc chat.Encoder, c *chat.Config) {
	if d, ok := dec.(*dashscope.AnswerDecoder); ok {
		d.Repeats = s.cfg.Repeats
	}
	dec.Reset()
	enc.Reset(c)
}

// Release lets go of large memory and of the answer's bytes.
func (s *Stream) Release() {
	if s.large {
		*s = Stream{}
		return
	}
	clear(s.list[:cap(s.list)])
	clear(s.more[:cap(s.more)])
	s.conf = chat.Config{}
}

// maxKept is how much memory a pooled translation keeps of an answer, in bytes.
const maxKept = 1 << 20

// Reset is for the interface of the lanes: Begin has done it.
func (s *Stream) Reset(*protocol.StreamConfig) {}

// Event takes one complete upstream event and appends what the customer gets,
// nothing for one that has no counterpart or must be held.
func (s *Stream) Event(dst, ev []byte) (out []byte, k protocol.Kind) {
	s.large = s.large || len(ev) > maxKept
	s.scratch, k = s.src.Event(s.scratch[:0], ev)
	switch {
	case k == protocol.ErrorEvent:
		if !s.failed {
			s.failed = true
			dst = s.appendError(dst, ev)
		}
		return dst, k
	case k == protocol.Comment || s.failed || s.ended:
		return dst, k
	}
	e := sse.Parse(ev)
	data := e.Data
	if e.Datas > 1 {
		s.joined = sse.Join(s.joined[:0], ev)
		data = s.joined
	}
	if e.Datas > 0 && string(data) != "[DONE]" && len(bytes.TrimSpace(data)) > 0 {
		if !object(data) {
			return dst, s.breaks()
		}
		s.list = s.dec.Event(s.list[:0], data)
		dst = s.enc.Events(dst, s.list)
		full := s.enc.Overflow()
		for i := range s.more {
			m := &s.more[i]
			s.list = m.dec.Event(s.list[:0], data)
			dst = m.enc.Events(dst, s.list)
			full = full || m.enc.Overflow()
		}
		if full {
			s.large = true
			return dst, s.breaks()
		}
	}
	if k == protocol.Terminator {
		dst = s.End(dst)
	}
	return dst, k
}

// object reports whether data is one JSON object as far as its brackets tell.
func object(data []byte) bool {
	at := walk.Space(data, 0)
	if data[at] != '{' {
		return false
	}
	end := walk.Skip(data, at)
	return end >= 0 && walk.Space(data, end) == len(data)
}

// breaks ends the stream with an error of the upstream's making.
func (s *Stream) breaks() protocol.Kind {
	s.failed, s.broken = true, true
	s.class = protocol.Class{Fault: protocol.FaultServer, Failover: true}
	return protocol.ErrorEvent
}

// End appends what ends the customer's stream, once: a stream whose upstream has no
// terminator of its own is ended by the caller.
func (s *Stream) End(dst []byte) []byte {
	if s.ended || s.failed {
		return dst
	}
	s.ended = true
	t := s.total()
	dst = s.enc.End(dst, &t)
	for i := range s.more {
		dst = s.more[i].enc.End(dst, &t)
	}
	return dst
}

// total is the usage as it is known now.
func (s *Stream) total() chat.Total {
	u, _ := s.src.Usage()
	return chat.Total{
		Input:        u[usage.Input] + u[usage.ImageIn],
		CacheRead:    u[usage.CacheRead],
		CacheWrite5m: u[usage.CacheWrite],
		CacheWrite1h: u[usage.CacheWrite1h],
		Output:       u[usage.Output] + u[usage.Reasoning] + u[usage.ImageOut],
		Reasoning:    s.src.Reasoning(),
		AudioIn:      u[usage.AudioIn],
		AudioOut:     u[usage.AudioOut],
		Searches:     u[usage.Searches],
	}
}

// Partial takes a piece of an event that is too large: it is counted, and the
// stream ends.
func (s *Stream) Partial(dst, chunk []byte, first, last bool) ([]byte, protocol.Kind) {
	s.scratch, _ = s.src.Partial(s.scratch[:0], chunk, first, last)
	return dst, s.breaks()
}

// Buffered takes a whole answer and appends what the customer gets.
func (s *Stream) Buffered(dst, body []byte) ([]byte, protocol.Kind, error) {
	var k protocol.Kind
	var err error
	s.large = s.large || len(body) > maxKept
	s.scratch, k, err = s.src.Buffered(s.scratch[:0], body)
	if err != nil || k == protocol.ErrorEvent {
		return dst, k, err
	}
	if s.list = s.dec.Whole(s.list[:0], body); len(s.list) == 0 {
		return dst, protocol.Other, ErrUnreadable
	}
	t := s.total()
	s.ended = true
	dst = s.enc.Whole(dst, s.list, &t)
	for i := range s.more {
		m := &s.more[i]
		s.list = m.dec.Whole(s.list[:0], body)
		dst = m.enc.Whole(dst, s.list, &t)
	}
	return dst, k, nil
}

// Usage, Progress, Terminated, Began and Fill are the observer's.
func (s *Stream) Usage() (usage.Units, usage.Source) { return s.src.Usage() }

// Progress is a cheap estimate of the units so far.
func (s *Stream) Progress() usage.Units { return s.src.Progress() }

// Terminated reports whether the upstream's answer reached its own end.
func (s *Stream) Terminated() bool { return !s.broken && s.src.Terminated() }

// Began reports whether any output has passed.
func (s *Stream) Began() bool { return s.src.Began() }

// Fill completes what the stream knows for meter.Final.
func (s *Stream) Fill(e *meter.End) { s.src.Fill(e) }

// ErrorClass classifies the error of the last ErrorEvent.
func (s *Stream) ErrorClass() protocol.Class {
	if s.broken {
		return s.class
	}
	return s.src.ErrorClass()
}

// appendError appends an upstream's in-stream error as the customer's protocol has
// it. Whether the customer gets to see it is the relay's to decide.
func (s *Stream) appendError(dst, ev []byte) []byte {
	s.joined = sse.Join(s.joined[:0], ev)
	if s.cfg.Array {
		dst = gemini.AppendSeparator(dst, 1)
		dst = AppendPassedError(dst, s.to, s.joined, s.src.ErrorClass().Status, &s.cfg, nil)
		return append(dst, gemini.ArrayEnd...)
	}
	if s.to == chat.DashScope {
		dst = dashscope.AppendErrorHead(dst, s.src.ErrorClass().Status)
	} else {
		dst = append(dst, formats[s.to].event...)
		dst = append(dst, "data: "...)
	}
	at := len(dst)
	dst = AppendPassedError(dst, s.to, s.joined, s.src.ErrorClass().Status, &s.cfg, nil)
	if o := formats[s.to].opening; o != "" {
		dst = slices.Replace(dst, at, at+1, []byte(o)...)
	}
	return append(dst, "\n\n"...)
}

// passed is an upstream's error on its way to a customer of another protocol.
type passed struct {
	protocol.Problem
	status    int
	cfg       *protocol.StreamConfig
	requestID []byte // nil = not said
}

// message appends the provider's words as a JSON string, free of what is not the
// customer's to know.
func (p *passed) message(dst []byte) []byte {
	if len(p.Message) == 0 {
		return append(dst, `"The provider refused the request."`...)
	}
	return protocol.AppendClean(dst, p.Message, p.cfg)
}

// AppendPassedError renders an upstream's error that the customer may see in the
// customer's protocol: the provider's words, the type by the status (protocols
// 12.9), and no names of the provider's members.
func AppendPassedError(dst []byte, to chat.Protocol, body []byte, status int, cfg *protocol.StreamConfig, requestID []byte) []byte {
	return formats[to].passError(dst, &passed{protocol.ReadProblem(body), status, cfg, requestID})
}

func passMessages(dst []byte, p *passed) []byte {
	kind := "invalid_request_error"
	if p.status == 413 {
		kind = "request_too_large"
	}
	dst = append(dst, `{"type":"error","error":{"type":"`...)
	dst = append(dst, kind...)
	dst = append(dst, `","message":`...)
	dst = p.message(dst)
	dst = append(dst, '}')
	if p.requestID != nil {
		dst = append(dst, `,"request_id":"`...)
		dst = append(dst, p.requestID...)
		dst = append(dst, '"')
	}
	return append(dst, '}')
}

func passGemini(dst []byte, p *passed) []byte {
	return gemini.AppendError(dst, &p.Problem, p.status, p.cfg)
}

func passDashScope(dst []byte, p *passed) []byte {
	code := "InvalidParameter"
	if p.CodeIs("content_filter", "content_policy_violation", "refusal", "data_inspection_failed") || p.Says("content filter", "content_filter") {
		code = "DataInspectionFailed"
	}
	return dashscope.AppendError(dst, []byte(code), &p.Problem, p.cfg, p.requestID)
}

func passOpenAI(dst []byte, p *passed) []byte {
	dst = append(dst, `{"error":{"message":`...)
	dst = p.message(dst)
	dst = append(dst, `,"type":"invalid_request_error","param":null,"code":`...)
	if p.CodeIs("content_filter", "content_policy_violation", "datainspectionfailed", "data_inspection_failed") || p.Says("content filter", "content_filter") {
		dst = append(dst, `"content_filter"`...)
	} else {
		dst = append(dst, "null"...)
	}
	return append(dst, "}}"...)
}
