//go:build !race

package media

import (
	"testing"

	"tokenrelay/proxy/protocol"
	"tokenrelay/shared/usage"
)

// An event allocates nothing, whatever it is of.
func TestAllocations(t *testing.T) {
	var s Stream
	guess := usage.Units{}
	cfg := protocol.StreamConfig{ClientModel: "alias", UpstreamModel: "upstream"}
	event := []byte("data: {\"type\":\"transcript.text.delta\",\"delta\":\"Ahoy\",\"model\":\"upstream\"}\n\n")
	done := []byte("data: {\"type\":\"transcript.text.done\",\"text\":\"Ahoy\",\"usage\":{\"type\":\"tokens\",\"input_tokens\":14,\"output_tokens\":3}}\n\n")
	sound := make([]byte, 4096)
	dst := make([]byte, 0, 8192)
	if n := testing.AllocsPerRun(1000, func() {
		s.Form(usage.FormTranscription, false, &guess)
		s.Reset(&cfg)
		for range 4 {
			_, _ = s.Event(dst, event)
		}
		_, _ = s.Event(dst, done)
		s.Form(usage.FormSpeech, true, &guess)
		s.Reset(&cfg)
		_, _ = s.Event(dst, sound)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
