package media

import (
	"strings"
	"testing"

	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/sse"
	"tokenrelay/shared/usage"
)

func begin(s *Stream, form usage.Form, plain bool) {
	guess := usage.Units{usage.Input: 3}
	s.Form(form, plain, &guess)
	s.Reset(&protocol.StreamConfig{ClientModel: "alias", UpstreamModel: "upstream"})
}

// feed gives a stream its events and returns what the client got and the kinds.
func feed(s *Stream, stream string) (out string, kinds []protocol.Kind) {
	var dst []byte
	for b := []byte(stream); len(b) > 0; {
		n := sse.Next(b)
		if n == 0 {
			n = len(b)
		}
		var k protocol.Kind
		dst, k = s.Event(dst, b[:n])
		kinds = append(kinds, k)
		b = b[n:]
	}
	return string(dst), kinds
}

// Streams of each kind pass byte for byte, whatever their line ends, and are read on the
// way.
func TestStreams(t *testing.T) {
	for name, c := range map[string]struct {
		form   usage.Form
		stream string
		kinds  []protocol.Kind
		units  usage.Units
		text   int64
	}{
		"transcript, CR LF": {
			usage.FormTranscription,
			"data: {\"type\":\"transcript.text.delta\",\"delta\":\"Ahoy\"}\r\n\r\ndata: {\"type\":\"transcript.text.done\",\"text\":\"Ahoy\",\"usage\":{\"type\":\"tokens\",\"input_tokens\":14,\"input_token_details\":{\"text_tokens\":0,\"audio_tokens\":14},\"output_tokens\":3,\"total_tokens\":17}}\r\n\r\ndata: [DONE]\r\n\r\n",
			[]protocol.Kind{protocol.Output, protocol.Final, protocol.Terminator},
			usage.Units{usage.AudioIn: 14, usage.Output: 3},
			4,
		},
		"transcript by seconds": {
			usage.FormTranscription,
			"data: {\"type\":\"transcript.text.delta\",\"delta\":\"a\"}\n\ndata: {\"type\":\"transcript.text.done\",\"text\":\"a\",\"usage\":{\"type\":\"duration\",\"seconds\":7}}\n\n",
			[]protocol.Kind{protocol.Output, protocol.Final},
			usage.Units{usage.Seconds: 7},
			1,
		},
		"speech": {
			usage.FormSpeech,
			"event: speech.audio.delta\ndata: {\"type\":\"speech.audio.delta\",\"audio\":\"AAAAAAAA\"}\n\n: note\n\ndata: {\"type\":\"speech.audio.done\",\"usage\":{\"input_tokens\":4,\"output_tokens\":20,\"total_tokens\":24}}\n\n",
			[]protocol.Kind{protocol.Output, protocol.Comment, protocol.Final},
			usage.Units{usage.Input: 4, usage.AudioOut: 20},
			0,
		},
		"pictures": {
			usage.FormImages,
			"event: image_generation.partial_image\ndata: {\"type\":\"image_generation.partial_image\",\"b64_json\":\"AA\"}\n\nevent: image_generation.completed\ndata: {\"type\":\"image_generation.completed\",\"b64_json\":\"AA\",\"usage\":{\"input_tokens\":5,\"input_tokens_details\":{\"text_tokens\":2,\"image_tokens\":3},\"output_tokens\":9,\"total_tokens\":14}}\n\n",
			[]protocol.Kind{protocol.Output, protocol.Final},
			usage.Units{usage.Input: 2, usage.ImageIn: 3, usage.ImageOut: 9},
			0,
		},
	} {
		var s Stream
		begin(&s, c.form, false)
		out, kinds := feed(&s, c.stream)
		if want := strings.Replace(c.stream, ": note", ": keep-alive", 1); out != want {
			t.Errorf("%s: %q, want %q", name, out, want)
		}
		if len(kinds) != len(c.kinds) {
			t.Fatalf("%s: %v", name, kinds)
		}
		for i := range kinds {
			if kinds[i] != c.kinds[i] {
				t.Errorf("%s: event %d is %v, want %v", name, i, kinds[i], c.kinds[i])
			}
		}
		u, source := s.Usage()
		if u != c.units || source != usage.SourceReported || s.Text().Bytes() != c.text || !s.Terminated() {
			t.Errorf("%s: %v (%s), %d bytes of text", name, u, source, s.Text().Bytes())
		}
	}
}

// What names the supplier or its price goes, and the model is the client's.
func TestWhole(t *testing.T) {
	var s Stream
	begin(&s, usage.FormImages, false)
	out, k, err := s.Buffered(nil, []byte(`{"provider":"x","created":1,"model":"upstream","cost":0.1,"data":[{"b64_json":"A"},{"url":"u"}],"usage":{"cost_details":{},"input_tokens":1,"output_tokens":2}}`))
	if err != nil || k != protocol.Output || string(out) != `{"created":1,"model":"alias","data":[{"b64_json":"A"},{"url":"u"}],"usage":{"input_tokens":1,"output_tokens":2}}` || s.Pictures() != 2 {
		t.Errorf("%s %v %v %d", out, k, err, s.Pictures())
	}
	begin(&s, usage.FormTranscription, false)
	for _, body := range []string{"", "words", "[]", `{"text":"a"`, `{"text":"a"}x`, "<html>"} {
		if out, _, err := s.Buffered(nil, []byte(body)); err == nil || len(out) > 0 {
			t.Errorf("%q passed as %q", body, out)
		}
	}
	if _, k, err := s.Buffered(nil, []byte(`{"error":{"message":"no","type":"invalid_request_error"}}`)); err != nil || k != protocol.ErrorEvent || !s.ErrorClass().PassOn {
		t.Errorf("%v %v %+v", k, err, s.ErrorClass())
	}
	begin(&s, usage.FormTranscription, true)
	if out, k, err := s.Buffered(nil, []byte("1\n00:00 --> 00:01\nhé\n")); err != nil || k != protocol.Output || len(out) != 22 || s.Text().Bytes() != 22 || !s.Began() {
		t.Errorf("%q %v %v %d", out, k, err, s.Text().Bytes())
	}
	begin(&s, usage.FormTranscription, true)
	if _, k, _ := s.Buffered(nil, []byte(` {"error":{"message":"overloaded","type":"server_error"}}`)); k != protocol.ErrorEvent || s.Began() {
		t.Errorf("an error in the place of text is %v", k)
	}
}

// An error amid a stream is one, whichever way it is told.
func TestErrors(t *testing.T) {
	for _, stream := range []string{
		"event: error\ndata: {\"type\":\"error\",\"error\":{\"message\":\"x\"}}\n\n", "data: {\"error\":{\"message\":\"x\",\"type\":\"server_error\"}}\n\n",
		"event: error\ndata: {}\n\n", "data: {\"type\":\"error\",\"message\":\"x\"}\n\n",
	} {
		var s Stream
		begin(&s, usage.FormImages, false)
		if _, kinds := feed(&s, stream); kinds[0] != protocol.ErrorEvent || s.Terminated() {
			t.Errorf("%q is %v", stream, kinds)
		}
	}
}

// Sound passes as it comes, in any pieces.
func TestPlain(t *testing.T) {
	var s Stream
	begin(&s, usage.FormSpeech, true)
	if s.Terminated() {
		t.Error("nothing is an answer")
	}
	var dst []byte
	for _, piece := range []string{"data: x\n\n", "\x00\xff", "[DONE]"} {
		dst, _ = s.Event(dst, []byte(piece))
	}
	if string(dst) != "data: x\n\n\x00\xff[DONE]" || s.Sound() != 17 || !s.Terminated() || s.Progress() != (usage.Units{usage.Input: 3}) {
		t.Errorf("%q, %d bytes", dst, s.Sound())
	}
}

// FuzzStream: no answer makes the observer fail or change what is no member of D8's list.
func FuzzStream(f *testing.F) {
	f.Add([]byte(`{"type":"transcript.text.done","text":"a","usage":{"type":"tokens","input_tokens":14,"output_tokens":3}}`))
	f.Add([]byte(`{"data":[{"b64_json":"A"}],"usage":{"cost":1}}`))
	f.Add([]byte(`{"error":null,"audio":"AA","delta":{}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, form := range []usage.Form{usage.FormImages, usage.FormTranscription, usage.FormSpeech, usage.FormRerank} {
			var s Stream
			begin(&s, form, false)
			out, k, err := s.Buffered([]byte("x"), body)
			if len(out) == 0 || out[0] != 'x' || err != nil && len(out) != 1 {
				t.Fatalf("%q: %q %v %v", body, out, k, err)
			}
			begin(&s, form, false)
			if out, _ := s.Event([]byte("x"), append(append([]byte("data: "), body...), "\n\n"...)); len(out) == 0 || out[0] != 'x' {
				t.Fatalf("%q: %q", body, out)
			}
		}
	})
}
