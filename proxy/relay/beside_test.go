package relay_test

import (
	"bytes"
	"encoding/binary"
	"mime/multipart"
	"strings"
	"testing"

	"tokenrelay/proxy/proxytest"
	"tokenrelay/shared/apptest/mockllm"
	"tokenrelay/shared/money"
	"tokenrelay/shared/usage"
)

// beside is a proxy with models for everything that is no conversation, priced in each of
// the ways in which such models are.
func beside(tb testing.TB, more ...proxytest.Options) (*proxytest.Kit, *mockllm.Meter) {
	tb.Helper()
	url, meter := mock(tb, mockllm.Options{})
	at := func(provider, model string) []proxytest.Route {
		return []proxytest.Route{{Provider: provider, Model: model}}
	}
	o := proxytest.Options{Balance: 1 << 40}
	if len(more) > 0 {
		o = more[0]
	}
	o.Providers = []proxytest.Provider{
		{Slug: "openai", Protocol: "openai", Dialect: "openai", BaseURL: url + "/first/openai/v1", Keys: []string{"sk-first"}},
		{Slug: "backup", Protocol: "openai", Dialect: "openai", BaseURL: url + "/second/openai/v1", Keys: []string{"sk-second"}},
		{Slug: "anthropic", Protocol: "anthropic", BaseURL: url + "/third/anthropic/v1", Keys: []string{"sk-ant"}},
		{Slug: "gemini", Protocol: "gemini", BaseURL: url + "/fourth/gemini/v1beta", Keys: []string{"AIza-fourth"}},
		{Slug: "qwen", Protocol: "dashscope", BaseURL: url + "/fifth/qwen/api/v1", Keys: []string{"sk-qwen"}},
		{Slug: "cohere", Protocol: "cohere", BaseURL: url + "/sixth/cohere/v2", Keys: []string{"co-sixth"}},
	}
	o.Models = []proxytest.Model{
		{ID: "tts-c", Prices: map[string]string{"characters": "15"}, Routes: []proxytest.Route{{Provider: "openai", Model: "up-tts"}, {Provider: "backup", Model: "up-tts-2", Priority: 1}}},
		{ID: "tts-t", Prices: map[string]string{"input": "0.6", "audio_out": "12"}, Routes: at("openai", "up-mini-tts")},
		{ID: "whisper-a", Prices: map[string]string{"seconds": "0.0001"}, Routes: []proxytest.Route{{Provider: "openai", Model: "up-whisper"}, {Provider: "backup", Model: "up-whisper-2", Priority: 1}}},
		{ID: "scribe-a", Prices: map[string]string{"input": "2.5", "audio_in": "6", "output": "10"}, Routes: at("openai", "up-scribe")},
		{ID: "dalle-a", Prices: map[string]string{"images": "0.04"}, Routes: at("openai", "up-dall-e")},
		{ID: "image-a", Prices: map[string]string{"input": "5", "image_in": "10", "image_out": "40"}, Routes: at("openai", "up-image")},
		{ID: "omni-moderation-latest", Prices: map[string]string{}, Free: []string{"input"}, Routes: at("openai", "up-moderation")},
		{ID: "judge-a", Prices: map[string]string{"input": "1"}, Routes: at("openai", "up-judge")},
		{ID: "rank-t", Prices: map[string]string{"input": "0.02"}, Routes: at("openai", "up-rank")},
		{ID: "rank-s", Prices: map[string]string{"searches": "0.002"}, Routes: at("cohere", "up-rank-s")},
		{ID: "rank-d", Prices: map[string]string{"input": "0.1"}, Routes: at("qwen", "up-gte-rank")},
		{ID: "embed-g", Prices: map[string]string{"input": "0.15"}, Routes: at("gemini", "up-embed-g")},
		{ID: "embed-o", Prices: map[string]string{"input": "0.02"}, Routes: at("openai", "up-embed-o")},
		{ID: "chat-only", Prices: map[string]string{"input": "1", "output": "2"}, Routes: at("openai", "up-gpt")},
		{ID: "claude-a", Routes: at("anthropic", "up-claude")},
		{ID: "gemini-a", Routes: at("gemini", "up-gemini")},
		{ID: "none", Prices: map[string]string{}, Routes: at("openai", "up-none")},
	}
	for i := range o.Models {
		if m := &o.Models[i]; m.Free != nil {
			m.Prices = map[string]string{m.Free[0]: "0"}
		}
	}
	return proxytest.New(tb, o), meter
}

// last is the newest record, once there are n.
func last(tb testing.TB, k *proxytest.Kit, n int) *usage.Record {
	tb.Helper()
	recs := k.WaitRecords(tb, n)
	return &recs[n-1]
}

// due is what units cost at prices in pico-USD each, rounded up once.
func due(parts ...int64) money.Amount {
	var pico int64
	for i := 0; i+1 < len(parts); i += 2 {
		pico += parts[i] * parts[i+1]
	}
	return money.Amount((pico + 999) / 1000)
}

// tone is a WAV file of so many seconds: 16,000 samples of two bytes.
func tone(seconds int) []byte {
	n := uint32(seconds * 32_000)
	b := []byte("RIFF")
	b = binary.LittleEndian.AppendUint32(b, 36+n)
	b = append(b, "WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00"...)
	b = binary.LittleEndian.AppendUint32(b, 16_000)
	b = binary.LittleEndian.AppendUint32(b, 32_000)
	b = append(b, "\x02\x00\x10\x00data"...)
	b = binary.LittleEndian.AppendUint32(b, n)
	return append(b, make([]byte, n)...)
}

// form makes a form of names and values; a value that begins with @ is a file.
func form(tb testing.TB, file []byte, pairs ...string) (body, contentType string) {
	tb.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for i := 0; i+1 < len(pairs); i += 2 {
		if name, ok := strings.CutPrefix(pairs[i+1], "@"); ok {
			p, err := w.CreateFormFile(pairs[i], name)
			if err != nil {
				tb.Fatal(err)
			}
			_, _ = p.Write(file)
			continue
		}
		if err := w.WriteField(pairs[i], pairs[i+1]); err != nil {
			tb.Fatal(err)
		}
	}
	_ = w.Close()
	return b.String(), w.FormDataContentType()
}

// refused checks that a request is refused by the relay itself, naming the field.
func refused(tb testing.TB, r *reply, status int, code, param string) {
	tb.Helper()
	if r.status != status || r.header.Get("X-Relay-Error") != code || param != "" && !strings.Contains(string(r.body), `"param":"`+param+`"`) {
		tb.Errorf("%d %s %s; want %d %s about %q", r.status, r.header.Get("X-Relay-Error"), r.body, status, code, param)
	}
}

// Every model is asked for what its price does not count, or has no price: refused, never
// free (D1).
func TestBesideUnpriced(t *testing.T) {
	k, m := beside(t)
	sound, soundType := form(t, tone(1), "model", "MODEL", "file", "@a.wav")
	for _, c := range []struct{ path, body, kind, models string }{
		{"/v1/audio/speech", `{"model":"MODEL","input":"hi","voice":"alloy"}`, "application/json", "none whisper-a dalle-a rank-s"},
		{"/v1/audio/transcriptions", sound, soundType, "none tts-c dalle-a rank-s"},
		{"/v1/images/generations", `{"model":"MODEL","prompt":"hi"}`, "application/json", "none tts-c whisper-a rank-s"},
		{"/v1/moderations", `{"model":"MODEL","input":"hi"}`, "application/json", "none tts-c whisper-a"},
		{"/v1/rerank", `{"model":"MODEL","query":"hi","documents":["a"]}`, "application/json", "none tts-c whisper-a"},
	} {
		for _, model := range strings.Fields(c.models) {
			r := post(t, k, c.path, strings.Replace(c.body, "MODEL", model, 1), "Content-Type", c.kind)
			refused(t, r, 400, "unknown_model_pricing", "")
		}
	}
	refused(t, post(t, k, "/v1beta/models/tts-c:embedContent", `{"content":{"parts":[{"text":"hi"}]}}`), 400, "unknown_model_pricing", "")
	if n := len(m.Requests(mockFilter)); n != 0 {
		t.Errorf("%d requests reached a provider", n)
	}
	k.AtRest(t)
}

// A wallet that cannot hold the most that a request can cost: 402, and nothing is sent.
func TestBesideNoMoney(t *testing.T) {
	k, m := beside(t, proxytest.Options{Balance: 1000}) // a thousandth of a thousandth of a dollar
	sound, soundType := form(t, tone(20), "model", "whisper-a", "file", "@a.wav")
	for path, c := range map[string][2]string{
		"/v1/audio/speech":         {`{"model":"tts-c","input":"` + strings.Repeat("x", 100) + `","voice":"alloy"}`, "application/json"},
		"/v1/audio/transcriptions": {sound, soundType},
		"/v1/images/generations":   {`{"model":"dalle-a","prompt":"hi"}`, "application/json"},
		"/v1/rerank":               {`{"model":"rank-s","query":"hi","documents":["a"]}`, "application/json"},
	} {
		refused(t, post(t, k, path, c[0], "Content-Type", c[1]), 402, "insufficient_balance", "")
	}
	if n := len(m.Requests(mockFilter)); n != 0 {
		t.Errorf("%d requests reached a provider", n)
	}
	k.AtRest(t)
}

func units(pairs ...any) (u usage.Units) {
	for i := 0; i+1 < len(pairs); i += 2 {
		u[pairs[i].(usage.Class)] = int64(pairs[i+1].(int))
	}
	return u
}

func check(tb testing.TB, what string, rec *usage.Record, want usage.Units, source usage.Source, charge money.Amount) {
	tb.Helper()
	if source != usage.SourceNone {
		want[usage.Request] = 1 // the fee for an answer, wherever something is billed
	}
	if rec.Units != want || rec.Source != source || rec.Charge != charge || rec.Charge > rec.Hold || rec.Overrun != 0 {
		tb.Errorf("%s: %v (%s) charged %s of %s held, overrun %s; want %v (%s) charged %s", what, rec.Units, rec.Source, rec.Charge, rec.Hold, rec.Overrun, want, source, charge)
	}
}
