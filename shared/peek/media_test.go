package peek

import (
	"fmt"
	"strings"
	"testing"

	"tokenrelay/shared/price"
)

// E10: only what the part's own type says is media is taken off the bound of text.
func TestMedia(t *testing.T) {
	data := strings.Repeat("A", 40_000)
	for _, tt := range []struct {
		name, part            string
		images, audios, files int
		media                 int
	}{
		{"openai image", `{"type":"image_url","image_url":{"url":"data:image/png;base64,` + data + `"}}`, 1, 0, 0, 40_022},
		{"openai image, type last", `{"image_url":{"url":"data:image/png;base64,` + data + `"},"type":"image_url"}`, 1, 0, 0, 40_022},
		{"image by address", `{"type":"image_url","image_url":{"url":"https://e/x.png"}}`, 1, 0, 0, 0},
		{"image as a string", `{"type":"image_url","image_url":"data:image/png;base64,` + data + `"}`, 1, 0, 0, 40_022},
		{"audio", `{"type":"input_audio","input_audio":{"format":"mp3","data":"` + data + `"}}`, 0, 1, 0, 40_000},
		{"file", `{"type":"file","file":{"filename":"a.pdf","file_data":"` + data + `"}}`, 0, 0, 1, 40_000},
		{"anthropic image", `{"type":"image","source":{"type":"base64","media_type":"image/png","data":"` + data + `"}}`, 1, 0, 0, 40_000},
		{"anthropic image by address", `{"type":"image","source":{"type":"url","url":"https://e"}}`, 1, 0, 0, 0},
		{"anthropic pdf", `{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"` + data + `"}}`, 0, 0, 1, 40_000},
		{"anthropic text document", `{"type":"document","source":{"type":"text","media_type":"text/plain","data":"` + data + `"}}`, 0, 0, 0, 0},
		{"document by address", `{"type":"document","source":{"type":"url","url":"https://e"}}`, 0, 0, 1, 0},
		{"image in a tool result", `{"type":"tool_result","tool_use_id":"t","content":[{"type":"image","source":{"type":"base64","data":"` + data + `"}}]}`, 1, 0, 0, 40_000},
		{"video", `{"type":"video_url","video_url":{"url":"https://e"}}`, 0, 0, 1, 0},
		{"unknown", `{"type":"hologram"}`, 0, 0, 1, 0},
		{"search result", `{"type":"search_result","source":"https://e","title":"t","content":[{"type":"text","text":"x"}]}`, 0, 0, 0, 0},

		// Text that pretends.
		{"text named url", `{"type":"text","text":"data:image/png;base64,` + data + `"}`, 0, 0, 0, 0},
		{"text with an image beside", `{"type":"text","text":"x","image_url":{"url":"data:` + data + `"}}`, 0, 0, 1, 0},
		{"no type", `{"image_url":{"url":"data:` + data + `"}}`, 0, 0, 1, 0},
		{"type twice", `{"type":"image_url","type":"text","image_url":{"url":"data:` + data + `"}}`, 0, 0, 1, 0},
		{"type escaped", `{"type":"image_url","t\u0079pe":"text","image_url":{"url":"data:` + data + `"}}`, 1, 0, 0, 0},
		{"type in capitals", `{"type":"image_url","Type":"text","image_url":{"url":"data:` + data + `"}}`, 1, 0, 0, 0},
		{"image twice", `{"type":"image_url","image_url":{"url":"data:` + data + `"},"image_url":{"url":"data:x"}}`, 1, 0, 0, 0},
		{"data twice", `{"type":"image","source":{"type":"base64","data":"` + data + `","data":"x"}}`, 1, 0, 0, 0},
		{"source type twice", `{"type":"document","source":{"type":"base64","type":"text","data":"` + data + `"}}`, 0, 0, 1, 0},
		{"media in a tool's input", `{"type":"tool_use","id":"t","name":"f","input":{"type":"image","source":{"type":"base64","data":"` + data + `"}}}`, 0, 0, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, shape := range []Shape{OpenAIChat, AnthropicMessages} {
				body := []byte(fmt.Sprintf(`{"model":"m","max_tokens":5,"messages":[{"role":"user","content":[%s]}]}`, tt.part))
				var r Request
				if err := Scan(body, shape, &r); err != nil {
					t.Fatal(err)
				}
				if r.Images != tt.images || r.Audios != tt.audios || r.Files != tt.files || r.MediaBytes != int64(tt.media) || r.TextBytes != int64(len(body)-tt.media) {
					t.Errorf("images %d audios %d files %d media %d text %d of %d", r.Images, r.Audios, r.Files, r.MediaBytes, r.TextBytes, len(body))
				}
			}
		})
	}
}

func TestBound(t *testing.T) {
	bound := func(shape Shape, members string, context int64) (price.Bound, bool) {
		var r Request
		if err := Scan([]byte(`{"model":"m","max_tokens":5,`+members+`}`), shape, &r); err != nil {
			t.Fatal(err)
		}
		var b price.Bound
		ok := r.Bound(context, &b)
		return b, ok
	}
	text := `"messages":[{"role":"user","content":"` + strings.Repeat("x", 5000) + `"}]`
	if b, ok := bound(OpenAIChat, text, 0); !ok || b.InputTokens < 5000 || b.InputTokens > 6000 || b.Choices != 1 || !b.TextOutput {
		t.Errorf("text: %+v %v", b, ok)
	}
	if b, ok := bound(OpenAIChat, text+`,"n":4`, 1000); !ok || b.InputTokens != 1000 || b.Choices != 4 {
		t.Errorf("text beyond the window: %+v %v", b, ok)
	}
	file := `"messages":[{"content":[{"type":"document","source":{"type":"url","url":"https://e"}}]}]`
	if _, ok := bound(AnthropicMessages, file, 0); ok {
		t.Error("a document of unknown size has no bound")
	}
	if b, ok := bound(AnthropicMessages, file, 200_000); !ok || b.InputTokens != 200_000 {
		t.Errorf("document: %+v %v", b, ok)
	}
	search := text + `,"tools":[{"type":"web_search_20250305","name":"web_search","max_uses":3}]`
	if b, ok := bound(AnthropicMessages, search, 200_000); !ok || b.InputTokens != 800_000 || b.Searches != 3 {
		t.Errorf("search: %+v %v", b, ok)
	}
	if b, ok := bound(OpenAIChat, text+`,"modalities":["text","audio"],"audio":{"voice":"a"}`, 1000); !ok || b.TextOutput {
		t.Errorf("audio output: %+v %v", b, ok)
	}
	audio := `"messages":[{"content":[{"type":"input_audio","input_audio":{"data":"` + strings.Repeat("A", 16_000) + `"}}]}]`
	if b, ok := bound(OpenAIChat, audio, 0); !ok || b.AudioTokens < 1000 {
		t.Errorf("audio: %+v %v", b, ok)
	}
}

func TestMarks(t *testing.T) {
	for _, tt := range []struct{ members, stored, dearer string }{
		{`"service_tier":"priority"`, "", "service_tier"},
		{`"service_tier":"auto"`, "", ""},
		{`"service_tier":null`, "", ""},
		{`"speed":"fast"`, "", "speed"},
		{`"inference_geo":"us"`, "", "inference_geo"},
		{`"inference_geo":"global"`, "", ""},
		{`"previous_response_id":"r"`, "previous_response_id", ""},
		{`"container":{"id":"c"}`, "container", ""},
		{`"conversation":null`, "", ""},
		{`"system":[{"type":"image","source":{"type":"file","file_id":"f"}}]`, "file_id", ""},
	} {
		var r Request
		if err := Scan([]byte(`{"model":"m","max_tokens":5,"messages":[],`+tt.members+`}`), AnthropicMessages, &r); err != nil {
			t.Fatal(err)
		}
		if r.StoredID != tt.stored || r.PriceMember != tt.dearer {
			t.Errorf("%s: stored %q, dearer %q", tt.members, r.StoredID, r.PriceMember)
		}
	}
	var r Request
	if err := Scan([]byte(`{"model":"m","messages":[]}`), AnthropicMessages, &r); err == nil || err.Param != "max_tokens" {
		t.Errorf("Anthropic's max_tokens is required: %v", err)
	}
}
