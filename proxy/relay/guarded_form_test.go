package relay_test

import (
	"testing"

	"tokenrelay/proxy/proxytest"
	"tokenrelay/shared/policy"
)

// The prompt of a form is looked at like any text, and so are the texts of Gemini's
// embeddings: what would be masked in a form is refused, because a form passes as it is.
func TestGuardedForm(t *testing.T) {
	for _, action := range []policy.Action{policy.Block, policy.Mask} {
		k, m := beside(t, proxytest.Options{Balance: 1 << 40, Key: rules(t, policy.Rules{Words: policy.Words{List: []string{"forbidden"}, Action: action}})})
		asked := 0
		for _, prompt := range []string{"a kind cat", "a forbidden cat"} {
			body, kind := form(t, []byte("png"), "model", "image-a", "image", "@a.png", "prompt", prompt)
			sound, soundKind := form(t, tone(1), "model", "whisper-a", "file", "@a.wav", "prompt", prompt)
			for path, c := range map[string][2]string{
				"/v1/images/edits":                          {body, kind},
				"/v1/audio/transcriptions":                  {sound, soundKind},
				"/v1/audio/speech":                          {speech("tts-c", prompt, ""), "application/json"},
				"/v1beta/models/embed-g:embedContent":       {`{"content":{"parts":[{"text":"` + prompt + `"}]}}`, "application/json"},
				"/v1beta/models/embed-g:batchEmbedContents": {`{"requests":[{"content":{"parts":[{"text":"` + prompt + `"}]}}]}`, "application/json"},
			} {
				want := prompt == "a forbidden cat" && (action == policy.Block || c[1] != "application/json")
				r := post(t, k, path, c[0], "Content-Type", c[1])
				if got := r.header.Get("X-Relay-Error") == "content_blocked"; got != want || !want && r.status != 200 {
					t.Errorf("%s: %s, %q: %d %s", action, path, prompt, r.status, tail(r.body))
				}
				if !want {
					asked++
				}
			}
		}
		if n := len(m.Requests(mockFilter)); n != asked {
			t.Errorf("%s: %d requests reached a provider, want %d", action, n, asked)
		}
		k.AtRest(t)
	}
}
