//go:build !race

package translate

import (
	"testing"

	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/chat"
)

var deltas = map[chat.Protocol][2]string{
	chat.OpenAI: {
		"data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"up\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n",
		"data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"up\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" the words\"},\"finish_reason\":null}]}\n\n",
	},
	chat.Messages: {
		"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"model\":\"up\",\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}\n\n",
		"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" the words\"}}\n\n",
	},
	chat.DashScope: {
		"id:1\nevent:result\n:HTTP_STATUS/200\ndata:{\"output\":{\"choices\":[{\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":\"null\"}]},\"usage\":{\"input_tokens\":3,\"output_tokens\":0,\"total_tokens\":3},\"request_id\":\"r\"}\n\n",
		"id:2\nevent:result\n:HTTP_STATUS/200\ndata:{\"output\":{\"choices\":[{\"message\":{\"role\":\"assistant\",\"content\":\" the words\"},\"finish_reason\":\"null\"}]},\"usage\":{\"input_tokens\":3,\"output_tokens\":2,\"total_tokens\":5},\"request_id\":\"r\"}\n\n",
	},
	chat.Converse: {
		"data: {\"messageStart\":{\"role\":\"assistant\"}}\n\n",
		"data: {\"contentBlockDelta\":{\"contentBlockIndex\":0,\"delta\":{\"text\":\" the words\"},\"p\":\"abc\"}}\n\n",
	},
	chat.Cohere: {
		"event: message-start\ndata: {\"type\":\"message-start\",\"id\":\"c\",\"delta\":{\"message\":{\"role\":\"assistant\"}}}\n\n",
		"event: content-delta\ndata: {\"type\":\"content-delta\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"text\":\" the words\"}}}}\n\n",
	},
	chat.Gemini: {
		"data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"some\"}],\"role\": \"model\"},\"index\": 0}],\"usageMetadata\": {\"promptTokenCount\": 3,\"totalTokenCount\": 3},\"modelVersion\": \"up\"}\r\n\r\n",
		"data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \" the words\"}],\"role\": \"model\"},\"index\": 0}],\"usageMetadata\": {\"promptTokenCount\": 3,\"candidatesTokenCount\": 2,\"totalTokenCount\": 5},\"modelVersion\": \"up\"}\r\n\r\n",
	},
}

// A translated stream allocates nothing per event.
func TestEventAllocations(t *testing.T) {
	for from, d := range deltas {
		for _, to := range customers(from) {
			s := start(from, to)
			out := make([]byte, 0, 64<<10)
			out, _ = s.Event(out, []byte(d[0]))
			ev := []byte(d[1])
			if n := testing.AllocsPerRun(1000, func() {
				var k protocol.Kind
				if out, k = s.Event(out[:0], ev); k != protocol.Output || len(out) == 0 {
					t.Fatalf("%v %q", k, out)
				}
			}); n != 0 {
				t.Errorf("from %v to %v: %v allocations an event", from, to, n)
			}
		}
	}
}

func BenchmarkEvent(b *testing.B) {
	for from, d := range deltas {
		for _, to := range customers(from) {
			b.Run(from.String()+" to "+to.String(), func(b *testing.B) {
				s := start(from, to)
				out := make([]byte, 0, 64<<10)
				out, _ = s.Event(out, []byte(d[0]))
				ev := []byte(d[1])
				b.ReportAllocs()
				for b.Loop() {
					out, _ = s.Event(out[:0], ev)
				}
			})
		}
	}
}
