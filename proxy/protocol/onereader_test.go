package protocol_test

import (
	"fmt"
	"testing"

	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/anthropic"
	"tokenrelay/proxy/protocol/openai"
	"tokenrelay/proxy/protocol/prototest"
	"tokenrelay/proxy/protocol/responses"
	"tokenrelay/proxy/sse"
	"tokenrelay/shared/apptest/fixtures"
	"tokenrelay/shared/usage"
)

// lane is what a lane makes of an answer.
type lane interface {
	Event(dst, ev []byte) ([]byte, protocol.Kind)
	Buffered(dst, body []byte) ([]byte, protocol.Kind, error)
	Usage() (usage.Units, usage.Source)
}

// The lanes of Chat, Messages and Responses read the usage where they patch the answer,
// in one walk; shared/usage reads the same objects for all others. Neither may drift: of
// every answer both tell the same units.
func TestOneReading(t *testing.T) {
	list, err := fixtures.Own()
	if err != nil {
		t.Fatal(err)
	}
	if dir, ok := fixtures.Recordings(); ok {
		recorded, err := fixtures.Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list[:len(list):len(list)], recorded...)
	} else {
		fmt.Println("no recordings folder: set RECORDINGS=DIR to compare the readings of recorded usage")
	}
	compared := 0
	for _, c := range list {
		if c.Status != 200 {
			continue
		}
		cfg := &protocol.StreamConfig{ClientModel: "shown", UpstreamModel: "up", Dialect: uint8(openai.ParseDialect(c.Provider))}
		var l lane
		form := usage.FormChat
		switch c.Protocol {
		case "openai.chat", "openai.completions":
			s := new(openai.Stream)
			s.Reset(cfg)
			l = s
			if openai.ParseDialect(c.Provider) == openai.GeminiCompat {
				form = usage.FormGeminiChat
			}
		case "anthropic.messages":
			s := new(anthropic.Stream)
			s.Reset(cfg)
			l, form = s, usage.FormMessages
		case "openai.responses":
			s := new(responses.Stream)
			s.Reset(cfg)
			l, form = s, usage.FormResponses
		default:
			continue
		}
		var r usage.Reader
		r.Reset(form)
		if c.IsStream() {
			prototest.Feed(l, c.Body, 0)
			for rest := c.Body; len(rest) > 0; {
				n := sse.Next(rest)
				if n == 0 {
					n = len(rest)
				}
				if e := sse.Parse(rest[:n]); e.Datas > 0 {
					r.Event(sse.Join(nil, rest[:n]))
				}
				rest = rest[n:]
			}
		} else {
			if _, _, err := l.Buffered(nil, c.Body); err != nil {
				continue
			}
			r.Whole(c.Body)
		}
		want, source := r.Units()
		if source != usage.SourceReported {
			continue
		}
		got, told := l.Usage()
		compared++
		if told != source || got != want {
			t.Errorf("%s: the lane reads %v (%s), shared/usage %v (%s)", c.ID, got, told, want, source)
		}
	}
	if compared < 20 {
		t.Errorf("%d answers were compared", compared)
	}
	fmt.Printf("%d answers: the lanes and shared/usage read the same\n", compared)
}
