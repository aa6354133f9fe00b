package translate

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/openai"
	"tokenrelay/proxy/protocol/prototest"
	"tokenrelay/proxy/protocol/responses"
	"tokenrelay/proxy/sse"
	"tokenrelay/shared/apptest/fixtures"
)

// cutting is one upstream stream that is cut.
type cutting struct {
	name    string
	from    chat.Protocol
	dialect openai.Dialect
	repeats bool
	body    []byte
}

// ownStreams are the streams of our own: fixtures and the inputs of the golden files.
func ownStreams(t *testing.T) (list []cutting) {
	t.Helper()
	cases, err := fixtures.Own()
	if err != nil {
		t.Fatal(err)
	}
	list = streamsOf(cases)
	for p, name := range short {
		files, bodies := inputs(t, "*."+name+".sse")
		for i := range files {
			list = append(list, cutting{files[i], p, openai.OpenAI, false, bodies[i]})
		}
	}
	for _, pattern := range []string{"../openai/testdata/*/response.body", "../anthropic/testdata/*/response.body"} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			t.Fatal("no streams", err)
		}
		for _, p := range paths {
			if b := seedFile(t, p); bytes.Contains(b, []byte("data:")) {
				from := chat.OpenAI
				if strings.Contains(p, "anthropic") {
					from = chat.Messages
				}
				list = append(list, cutting{p, from, openai.Custom, false, b})
			}
		}
	}
	return list
}

func streamsOf(cases []*fixtures.Case) (list []cutting) {
	for _, c := range cases {
		from, known := map[string]chat.Protocol{
			"openai.chat": chat.OpenAI, "anthropic.messages": chat.Messages, "openai.responses": chat.Responses,
			"gemini.stream": chat.Gemini, "dashscope.text": chat.DashScope, "dashscope.multimodal": chat.DashScope,
		}[c.Protocol]
		if known && c.Status == 200 && c.IsStream() {
			list = append(list, cutting{c.ID, from, openai.ParseDialect(c.Provider), c.Has("cumulative_output"), c.Body})
		}
	}
	return list
}

// own is the lane of the stream's own protocol.
func (c *cutting) own() prototest.Stream {
	cfg := &protocol.StreamConfig{ClientModel: "shown", UpstreamModel: "up", Dialect: uint8(c.dialect), Repeats: c.repeats}
	if c.from == chat.Responses {
		s := new(responses.Stream)
		s.Reset(cfg)
		return s
	}
	s := formats[c.from].observer()
	s.Reset(cfg)
	return s
}

// through is what each client makes of the stream in writes of the sizes, in a row: the
// client of its own protocol, then the others.
func (c *cutting) through(t *testing.T, pieces ...[]byte) (out [][]byte) {
	t.Helper()
	same, _ := prototest.FeedPieces(c.own(), pieces...)
	out = append(out, same)
	if c.from == chat.Responses {
		return out
	}
	for _, to := range customers(c.from) {
		s := new(Stream)
		cfg := protocol.StreamConfig{ClientModel: "shown", UpstreamModel: "up", Dialect: uint8(c.dialect), AskedUsage: true, InputEstimate: 3, Repeats: c.repeats}
		s.Begin(c.from, to, &cfg, &chat.Config{ID: []byte("01TEST"), Model: "shown", Created: 1_760_000_000, AskedUsage: true, InputEstimate: 3})
		b, _ := prototest.FeedPieces(s, pieces...)
		if s.Terminated() {
			b = s.End(b)
		}
		out = append(out, b)
	}
	return out
}

// Where the network cuts a stream makes no difference, at no byte: the events are the
// same wherever one cut is, and what clients of every protocol get is the same byte by
// byte; streams of moderate size also with one cut at every place.
func cutEverywhere(t *testing.T, list []cutting) {
	boundaries, whole, most := 0, 0, 600 // bytes
	if os.Getenv("RELAY_LONG") != "" {
		most = 3000
	}
	for i := range list {
		c := &list[i]
		boundaries += c.events(t)
		want := c.through(t, c.body)
		single := make([][]byte, len(c.body))
		for j := range single {
			single[j] = c.body[j : j+1]
		}
		if got := c.through(t, single...); !slices.EqualFunc(got, want, bytes.Equal) {
			t.Errorf("%s: byte by byte a client gets something else", c.name)
		}
		if len(c.body) > most {
			continue
		}
		for k := 1; k < len(c.body); k++ {
			if got := c.through(t, c.body[:k], c.body[k:]); !slices.EqualFunc(got, want, bytes.Equal) {
				t.Fatalf("%s: cut at byte %d a client gets something else", c.name, k)
			}
			whole++
		}
	}
	fmt.Printf("%d streams cut at %d byte boundaries, at %d of them up to the clients of every protocol\n", len(list), boundaries, whole)
}

// Events larger than this are cut near their ends and at every 97th byte.
const cutWhole = 64 << 10

// events cuts the stream inside of, and right behind, each of its events.
func (c *cutting) events(t *testing.T) (n int) {
	t.Helper()
	var ends []int
	for at := 0; at < len(c.body); {
		k := sse.Next(c.body[at:])
		if k == 0 {
			k = len(c.body) - at
		}
		at += k
		ends = append(ends, at)
	}
	start := 0
	for i, end := range ends {
		upTo := ends[min(i+1, len(ends)-1)]
		for k := start + 1; k <= min(end+1, len(c.body)-1); k++ {
			if end-start > cutWhole && k > start+512 && k < end-512 && k%97 != 0 {
				continue
			}
			n++
			var sc sse.Scanner
			got := sc.Next(c.body[start:k])
			if got == 0 {
				got = sc.Next(c.body[start:upTo])
			}
			if got == 0 && end == len(c.body) {
				continue // a last event without its blank line
			}
			if got != end-start {
				t.Fatalf("%s: event %d ends at %d, with a cut at %d at %d", c.name, i, end, k, start+got)
			}
		}
		start = end
	}
	return n
}

func TestCutEverywhere(t *testing.T) { cutEverywhere(t, ownStreams(t)) }

func TestRecordingsCutEverywhere(t *testing.T) {
	dir, ok := fixtures.Recordings()
	if !ok {
		fmt.Println("no recordings folder: set RECORDINGS=DIR to cut recorded streams")
		return
	}
	list, err := fixtures.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	cutEverywhere(t, streamsOf(list))
}
