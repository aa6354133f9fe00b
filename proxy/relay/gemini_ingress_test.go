package relay_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"tokenrelay/proxy/proxytest"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/apptest/mockllm"
	"tokenrelay/shared/usage"
)

func contents(script, more string) string {
	return `{"contents":[{"role":"user","parts":[{"text":"hello mock:` + script + `"}]}]` + more + `}`
}

func generate(model string) string { return "/v1beta/models/" + model + ":generateContent" }
func sse(model string) string      { return "/v1beta/models/" + model + ":streamGenerateContent?alt=sse" }
func array(model string) string    { return "/v1beta/models/" + model + ":streamGenerateContent" }

// geminiAnswer is what a client makes of an answer, of events or of an array.
type geminiAnswer struct {
	text, finish, model string
	calls               []string
	total, prompt       int64
	errors              int
}

func readGemini(t *testing.T, path string, r *reply) (a geminiAnswer) {
	t.Helper()
	type chunk struct {
		ModelVersion string
		Candidates   []struct {
			Content struct {
				Parts []struct {
					Text         string
					Thought      bool
					FunctionCall *struct{ Name string }
				}
			}
			FinishReason string
		}
		UsageMetadata struct{ PromptTokenCount, TotalTokenCount int64 }
		Error         *struct {
			Code   int
			Status string
		}
	}
	var list []chunk
	switch {
	case strings.HasSuffix(path, ":generateContent"):
		list = make([]chunk, 1)
		if err := json.Unmarshal(r.body, &list[0]); err != nil {
			t.Fatalf("%v: %s", err, r.body)
		}
	case strings.HasSuffix(path, "alt=sse"):
		for _, line := range strings.Split(string(r.body), "\n") {
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				var c chunk
				if err := json.Unmarshal([]byte(data), &c); err != nil {
					t.Fatalf("%v: %s", err, data)
				}
				list = append(list, c)
			}
		}
	default:
		if err := json.Unmarshal(r.body, &list); err != nil {
			t.Fatalf("%v: %s", err, r.body)
		}
	}
	for _, c := range list {
		if c.Error != nil {
			a.errors++
			continue
		}
		a.model = c.ModelVersion
		if c.UsageMetadata.TotalTokenCount > 0 {
			a.total, a.prompt = c.UsageMetadata.TotalTokenCount, c.UsageMetadata.PromptTokenCount
		}
		for _, x := range c.Candidates {
			if x.FinishReason != "" {
				a.finish = x.FinishReason
			}
			for _, p := range x.Content.Parts {
				if !p.Thought {
					a.text += p.Text
				}
				if p.FunctionCall != nil {
					a.calls = append(a.calls, p.FunctionCall.Name)
				}
			}
		}
	}
	return a
}

// Any chat model answers on Gemini's endpoint, whole, as events and as an array, and
// costs there what it costs elsewhere (N16).
func TestGeminiEndpoint(t *testing.T) {
	k, meter := standard(t, proxytest.Options{})
	n := 0
	for _, model := range []string{"gemini-a", "gpt-a", "claude-a"} {
		charges := map[int64]bool{}
		for _, path := range []string{generate(model), sse(model), array(model)} {
			r := post(t, k, path, contents("out=7;cached=3;in=20", ""))
			if r.status != 200 || r.err != nil || strings.Contains(string(r.body), "up-") {
				t.Fatalf("%s: %d %v\n%s", path, r.status, r.err, r.body)
			}
			a := readGemini(t, path, r)
			if a.finish != "STOP" || a.text == "" || a.model != model || a.total != 27 || a.prompt != 20 || a.errors != 0 {
				t.Fatalf("%s: %+v\n%s", path, a, r.body)
			}
			n++
			rec := k.WaitRecords(t, n)[n-1]
			served := ended(meter, mockFilter)
			last := served[len(served)-1]
			if last.Usage == nil || rec.Units[usage.Input] != 17 || rec.Units[usage.CacheRead] != 3 || rec.Units[usage.Output] != 7 || rec.Status != usage.Success || rec.Source != usage.SourceReported {
				t.Fatalf("%s: %+v; served %+v", path, rec, last)
			}
			charges[int64(rec.Charge)] = true
		}
		if len(charges) != 1 {
			t.Errorf("%s costs %v", model, charges)
		}
	}
	k.AtRest(t)
}

const geminiTools = `,"tools":[{"functionDeclarations":[{"name":"weather","parameters":{"type":"OBJECT","properties":{"city":{"type":"STRING"}},"required":["city"]}},{"name":"time"}]}]`

// Two calls at once and their results cross to every upstream.
func TestGeminiEndpointTools(t *testing.T) {
	k, _ := standard(t, proxytest.Options{})
	for _, model := range []string{"gemini-a", "gpt-a", "claude-a"} {
		for _, path := range []string{generate(model), sse(model), array(model)} {
			r := post(t, k, path, contents("tools=2", geminiTools))
			if a := readGemini(t, path, r); r.status != 200 || fmt.Sprint(a.calls) != "[weather time]" || a.finish != "STOP" {
				t.Fatalf("%s: %+v\n%s", path, a, r.body)
			}
			r = post(t, k, path, `{"contents":[{"parts":[{"text":"weather?"}]},
				{"role":"model","parts":[{"functionCall":{"name":"weather","args":{"city":"Bern"}},"thoughtSignature":"bW9jaw=="},{"functionCall":{"name":"time","args":{}}}]},
				{"role":"user","parts":[{"functionResponse":{"name":"time","response":{"h":1}}},{"functionResponse":{"name":"weather","response":{"result":"mild"}}}]}]`+geminiTools+`}`)
			if a := readGemini(t, path, r); r.status != 200 || len(a.calls) != 0 || a.finish != "STOP" || a.text == "" {
				t.Fatalf("%s: %+v\n%s", path, a, r.body)
			}
		}
	}
	k.WaitRecords(t, 18)
	k.AtRest(t)
}

// A key stands in x-goog-api-key, in the query, or where others have theirs.
func TestGeminiKeys(t *testing.T) {
	k, _ := standard(t, proxytest.Options{})
	for name, c := range map[string]struct {
		path   string
		header []string
		status int
	}{
		"header":        {generate("gemini-a"), []string{"X-Goog-Api-Key", k.Token, "Authorization", ""}, 200},
		"query":         {generate("gemini-a") + "?key=" + k.Token, []string{"Authorization", ""}, 200},
		"query, stream": {sse("gemini-a") + "&key=" + k.Token, []string{"Authorization", ""}, 200},
		"bearer":        {generate("gemini-a"), nil, 200},
		"own first":     {generate("gemini-a") + "?key=x", []string{"X-Goog-Api-Key", k.Token}, 200},
		"query first":   {generate("gemini-a") + "?key=x", nil, 401},
		"query twice":   {generate("gemini-a") + "?key=" + k.Token + "&key=x", []string{"Authorization", ""}, 400},
		"none":          {generate("gemini-a"), []string{"Authorization", ""}, 401},
		"not elsewhere": {"/v1/chat/completions?key=" + k.Token, []string{"Authorization", ""}, 401},
		"large":         {generate("gemini-a") + "?key=" + k.Token, []string{"Authorization", "", "X-Large", "1"}, 200},
	} {
		body := contents("out=2", "")
		if strings.HasPrefix(c.path, "/v1/chat") {
			body = chat("gemini-a", "out=2", false)
		}
		if name == "large" {
			body = strings.Replace(body, "hello", strings.Repeat("x", 300_000), 1)
		}
		r := post(t, k, c.path, body, c.header...)
		if r.status != c.status {
			t.Errorf("%s: %d %s", name, r.status, tail(r.body))
		}
		if c.status != 200 && c.path[:7] == "/v1beta" {
			var e struct {
				Error struct {
					Code            int
					Status, Message string
				}
			}
			if err := json.Unmarshal(r.body, &e); err != nil || e.Error.Code != c.status || e.Error.Status == "" || e.Error.Message == "" {
				t.Errorf("%s: %s", name, r.body)
			}
		}
	}
	k.AtRest(t)
}

// What cannot be served is refused by name in Google's shape, before it costs anything.
func TestGeminiRefused(t *testing.T) {
	k, meter := standard(t, proxytest.Options{})
	part := func(p string) string { return `{"contents":[{"parts":[` + p + `]}]}` }
	for body, want := range map[string]string{
		`{}`:                                           "contents",
		`{"contents":"a"}`:                             "contents",
		`{"contents":[],"Contents":[]}`:                "contents",
		`{"contents":[],"contents":[]}`:                "contents",
		`{"contents":[{"parts":[{"text":"a"}]}]`:       "JSON",
		contents("", `,"model":"models/x"`):            "path",
		contents("", `,"tools":[{"googleSearch":{}}]`): "not offered here",
		contents("", `,"tools":{"url_context":{}}`):    "not offered here",
		contents("", `,"cachedContent":"c/x"`):         "cachedContent",
		contents("", `,"cached_content":"c/x"`):        "cachedContent",
		contents("", `,"serviceTier":"priority"`):      "serviceTier",
		contents("", `,"generationConfig":{"x":1},"generation_config":{"maxOutputTokens":5}`):       "generationConfig",
		contents("", `,"generationConfig":{"maxOutputTokens":"5"}`):                                 "maxOutputTokens",
		contents("", `,"generationConfig":{"maxOutputTokens":5,"max_output_tokens":9}`):             "maxOutputTokens",
		contents("", `,"generationConfig":{"maxOutputTokens":99999999}`):                            "maximum of",
		contents("", `,"generationConfig":{"candidateCount":0}`):                                    "candidateCount",
		part(`{"fileData":{"fileUri":"https://generativelanguage.googleapis.com/v1beta/files/x"}}`): "fileData",
		part(`{"fileData":{"fileUri":"gs://bucket/x"}}`):                                            "fileData",
		part(`{"fileData":{"fileUri":"files/x"}}`):                                                  "fileData",
	} {
		for _, path := range []string{generate("gemini-a"), sse("gemini-a"), array("gpt-a")} {
			r := post(t, k, path, body)
			if r.status < 400 || r.status > 404 || !strings.Contains(string(r.body), want) || !strings.HasPrefix(string(r.body), `{"error":{"code":4`) {
				t.Errorf("%s: %d %s", body, r.status, r.body)
			}
		}
	}
	for _, path := range []string{"/v1beta/models/nobody:generateContent", "/v1beta/models/unpriced:generateContent"} {
		if r := post(t, k, path, contents("", "")); r.status != 400 || r.header.Get("X-Relay-Error") != string(apierr.UnknownModelPricing) {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	for _, path := range []string{
		"/v1beta/models/gemini-a:batchGenerateContent", "/v1beta/models/gemini-a:predict",
		"/v1beta/files", "/v1beta/cachedContents", "/v1beta/tunedModels", "/upload/v1beta/files", "/v1beta/batches/x", "/v1beta/fileSearchStores",
	} {
		if r := post(t, k, path, `{}`); r.status != 501 || !strings.HasPrefix(string(r.body), `{"error":{"code":501,`) {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	if n := len(meter.Requests(mockFilter)); n != 0 {
		t.Errorf("%d requests reached a provider", n)
	}
	k.AtRest(t)
}

// What another protocol cannot express is refused by its name in Gemini, what is
// ignored is named.
func TestGeminiTranslatedFates(t *testing.T) {
	k, _ := standard(t, proxytest.Options{})
	r := post(t, k, generate("gpt-a"), contents("out=2", `,"generationConfig":{"topK":3,"seed":4},"safetySettings":[{"category":"x"}]`))
	if r.status != 200 || r.header.Get("X-Relay-Dropped") != "safetySettings,generationConfig.topK" {
		t.Errorf("%d %q %s", r.status, r.header.Get("X-Relay-Dropped"), r.body)
	}
	r = post(t, k, sse("claude-a"), contents("out=2", `,"generationConfig":{"topK":3,"seed":4}`))
	if r.status != 200 || r.header.Get("X-Relay-Dropped") != "generationConfig.seed" {
		t.Errorf("%d %q %s", r.status, r.header.Get("X-Relay-Dropped"), r.body)
	}
	r = post(t, k, generate("claude-a"), contents("out=2", `,"generationConfig":{"candidateCount":2}`))
	if r.status != 400 || !strings.Contains(string(r.body), "generationConfig.candidateCount") {
		t.Errorf("%d %s", r.status, r.body)
	}
	for _, model := range []string{"gemini-a", "gpt-a", "qwen-a"} {
		for _, path := range []string{generate(model), sse(model), array(model)} {
			r = post(t, k, path, contents("out=2", `,"generationConfig":{"candidateCount":2}`))
			if a := readGemini(t, path, r); r.status != 200 || strings.Count(string(r.body), "finishReason") != 2 || a.total != a.prompt+4 {
				t.Errorf("%s: %d %s", path, r.status, r.body)
			}
		}
	}
	k.WaitRecords(t, 11)
	k.AtRest(t)
}

// Faults amid a stream end it with Google's error and break the connection off: events
// and arrays alike, an array being whole JSON even then.
func TestGeminiStreamFaults(t *testing.T) {
	k, _ := standard(t, proxytest.Options{})
	for _, model := range []string{"gemini-a", "gpt-a", "claude-a"} {
		for _, path := range []string{sse(model), array(model)} {
			for _, fault := range []string{"out=9;cut=5", "out=9;end=5", "out=9;gap=20ms;error_at=7", "out=9;rst=5"} {
				r := post(t, k, path, contents(fault, ""))
				if r.status != 200 || r.err == nil {
					t.Fatalf("%s %s: %d %v\n%s", path, fault, r.status, r.err, r.body)
				}
				if a := readGemini(t, path, r); a.errors != 1 || a.finish != "" || a.text == "" {
					t.Errorf("%s %s: %+v\n%s", path, fault, a, r.body)
				}
				k.HealAll()
			}
		}
	}
	k.AtRest(t)
}

// D2, D4, rulings 1.8: a customer that leaves a silent stream is noticed, with a reset or
// a plain close, also amid an array, and one that has only finished sending is served.
func TestGeminiClientLeaves(t *testing.T) {
	for _, model := range []string{"gemini-a", "gpt-a"} {
		for _, path := range []string{sse(model), array(model)} {
			for _, reset := range []bool{true, false} {
				within(t, 1600*time.Millisecond, func() time.Duration {
					k, meter := standard(t, proxytest.Options{})
					c, _ := rawStream(t, k, path, contents("id=gone;out=40;flush=1;hang=8;hold=30s", ""), `"text"`)
					if reset {
						_ = c.(*net.TCPConn).SetLinger(0)
					}
					left := time.Now()
					c.Close()
					rec := k.WaitRecords(t, 1)[0]
					took := time.Since(left)
					if rec.Status != usage.Cancelled || rec.Charge <= 0 {
						t.Errorf("%s (reset: %v): %s, charge %s", path, reset, rec.Status, rec.Charge)
					}
					if _, ok := meter.Wait(mockllm.Filter{Marker: "gone"}, 1, 2*time.Second); !ok {
						t.Errorf("%s: the upstream was not cancelled", path)
					}
					k.AtRest(t)
					return took
				})
			}
			k, _ := standard(t, proxytest.Options{})
			c, r := rawStream(t, k, path, contents("out=3;flush=1;gap=600ms", ""), `"text"`)
			_ = c.(*net.TCPConn).CloseWrite()
			rest, err := io.ReadAll(r)
			if err != nil || !strings.Contains(string(rest), "STOP") {
				t.Errorf("%s: %v\n%s", path, err, rest)
			}
			if rec := k.WaitRecords(t, 1)[0]; rec.Status != usage.Success {
				t.Errorf("%s: %s", path, rec.Status)
			}
			k.AtRest(t)
			c.Close()
		}
	}
}

// An output cap of ours is put where Gemini reads it, and nothing else is touched.
func TestGeminiCap(t *testing.T) {
	for config, want := range map[string]string{
		``: `"generationConfig":{"maxOutputTokens":`, `,"generationConfig":{}`: `"generationConfig":{"maxOutputTokens":`,
		`,"generationConfig":null`: `"generationConfig":{"maxOutputTokens":`, `,"generation_config":{"topK":3}`: `"generation_config":{"maxOutputTokens":`,
	} {
		k, meter := standard(t, proxytest.Options{Balance: 20_000_000})
		r := post(t, k, generate("gemini-a"), contents("out=2;keep=1", config))
		if r.status != 200 || r.header.Get("X-Relay-Max-Tokens-Clamped") == "" {
			t.Fatalf("%q: %d %s", config, r.status, r.body)
		}
		sent := string(meter.Requests(mockFilter)[0].Extra.Body)
		if !strings.Contains(sent, want+r.header.Get("X-Relay-Max-Tokens-Clamped")) || !json.Valid([]byte(sent)) {
			t.Errorf("%q: sent %s", config, sent)
		}
		k.AtRest(t)
	}
}

func get(t *testing.T, k *proxytest.Kit, path string) (int, []byte) {
	t.Helper()
	req, _ := http.NewRequest("GET", k.URL+path, nil)
	req.Header.Set("X-Goog-Api-Key", k.Token)
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, b
}

// The models list has what the key may call, in pages.
func TestGeminiModels(t *testing.T) {
	k, _ := standard(t, proxytest.Options{})
	var names []string
	token := ""
	for range 10 {
		path := "/v1beta/models?pageSize=2"
		if token != "" {
			path += "&pageToken=" + token
		}
		status, b := get(t, k, path)
		var l struct {
			Models []struct {
				Name, DisplayName string
				InputTokenLimit   int64
				Methods           []string `json:"supportedGenerationMethods"`
			}
			NextPageToken string
		}
		if err := json.Unmarshal(b, &l); err != nil || status != 200 || len(l.Models) > 2 {
			t.Fatalf("%d %v %s", status, err, b)
		}
		for _, m := range l.Models {
			names = append(names, m.Name)
			if m.InputTokenLimit == 0 && m.Name != "models/auto-a" || len(m.Methods) != 3 {
				t.Errorf("%+v", m)
			}
		}
		if token = l.NextPageToken; token == "" {
			break
		}
	}
	if got := strings.Join(names, " "); got != "models/auto-a models/claude-a models/gemini-a models/gpt-a models/qwen-a" {
		t.Errorf("%s", got)
	}
	if status, b := get(t, k, "/v1beta/models/gpt.a"); status != 200 || !strings.Contains(string(b), `"name":"models/gpt.a"`) {
		t.Errorf("%d %s", status, b)
	}
	if status, b := get(t, k, "/v1beta/models/nobody"); status != 404 || !strings.Contains(string(b), `"NOT_FOUND"`) {
		t.Errorf("%d %s", status, b)
	}
	for _, q := range []string{"pageToken=nobody", "pageSize=x"} {
		if status, b := get(t, k, "/v1beta/models?"+q); status != 400 {
			t.Errorf("%s: %d %s", q, status, b)
		}
	}
}

// countTokens is the provider's where a Gemini upstream serves the model, the relay's
// estimate elsewhere; it costs nothing, even who has nothing left.
func TestGeminiCount(t *testing.T) {
	k, meter := standard(t, proxytest.Options{Balance: 1})
	for _, body := range []string{contents("", ""), `{"generateContentRequest":{"model":"models/gemini-a","contents":[{"parts":[{"text":"hello mock:"}]}],"tools":[{"googleSearch":{}}]}}`} {
		r := post(t, k, "/v1beta/models/gemini-a:countTokens", body)
		if r.status != 200 || string(r.body) != `{"totalTokens": 6}` && !strings.Contains(string(r.body), `"totalTokens"`) {
			t.Fatalf("%d %s", r.status, r.body)
		}
	}
	recs := k.WaitRecords(t, 2)
	if recs[0].Charge != 0 || recs[0].Hold != 0 || recs[0].Source != usage.SourceNone || recs[1].Charge != 0 {
		t.Errorf("%+v", recs)
	}
	asked := len(meter.Requests(mockFilter))
	for _, model := range []string{"gpt-a", "claude-a", "auto-a"} {
		r := post(t, k, "/v1beta/models/"+model+":countTokens", contents(strings.Repeat("many words ", 100), ""))
		var c struct{ TotalTokens int64 }
		if err := json.Unmarshal(r.body, &c); err != nil || r.status != 200 || c.TotalTokens < 200 || c.TotalTokens > 400 {
			t.Errorf("%s: %d %s", model, r.status, r.body)
		}
	}
	if n := len(meter.Requests(mockFilter)); n != asked {
		t.Errorf("%d requests reached a provider", n-asked)
	}
	for _, script := range []string{"error=context_length", "first.status=500"} {
		r := post(t, k, "/v1beta/models/gemini-a:countTokens", contents(script, ""))
		if want := map[string]int{"error=context_length": 400, "first.status=500": 200}[script]; r.status != want {
			t.Errorf("%s: %d %s", script, r.status, r.body)
		}
	}
	k.AtRest(t)
}

// Google serves embeddings in OpenAI's form beside its own (D8).
func TestGeminiEmbeddings(t *testing.T) {
	k, meter := standard(t, proxytest.Options{})
	r := post(t, k, "/v1/embeddings", `{"model":"gemini-a","input":["a","b"]}`)
	var v vectors
	if err := json.Unmarshal(r.body, &v); err != nil || r.status != 200 || len(v.Data) != 2 || v.Model != "gemini-a" {
		t.Fatalf("%d %v %s", r.status, err, r.body)
	}
	if served := ended(meter, mockFilter)[0]; served.Path != "/first/gemini/v1beta/openai/embeddings" || served.Key != "irst" {
		t.Errorf("%+v", served)
	}
	if rec := k.WaitRecords(t, 1)[0]; rec.Units != (usage.Units{usage.Input: v.Usage.Prompt, usage.Request: 1}) || rec.Source != usage.SourceReported {
		t.Errorf("%+v", rec)
	}
	k.AtRest(t)
}

// A pinned path shows the provider's own model name and is never translated.
func TestGeminiPinned(t *testing.T) {
	k, _ := standard(t, proxytest.Options{})
	for _, path := range []string{"/v1/gemini/v1beta/models/gemini-a:generateContent", "/v1/gemini/v1beta/models/up-gemini:generateContent", "/v1/gemini/v1beta/models/gemini-a:streamGenerateContent?alt=sse"} {
		r := post(t, k, path, contents("out=2", ""))
		if r.status != 200 || !strings.Contains(string(r.body), `"modelVersion": "up-gemini"`) {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	if r := post(t, k, "/v1/openai/v1beta/models/gpt-a:generateContent", contents("", "")); r.status != 400 {
		t.Errorf("%d %s", r.status, r.body)
	}
	k.WaitRecords(t, 3)
	k.AtRest(t)
}

// rulings 1.9: the same key asks once, whether for events or an array, and another
// model or form is another question.
func TestGeminiIdempotency(t *testing.T) {
	k, meter := standard(t, proxytest.Options{})
	key := []string{"Idempotency-Key", "abc"}
	first := post(t, k, array("gemini-a"), contents("out=3", ""), key...)
	k.WaitRecords(t, 1)
	again := post(t, k, array("gemini-a"), contents("out=3", ""), key...)
	if first.status != 200 || string(first.body) != string(again.body) || again.header.Get("X-Relay-Replayed") == "" || again.header.Get("Content-Type") != first.header.Get("Content-Type") {
		t.Errorf("%d %s\n%d %s", first.status, first.body, again.status, again.body)
	}
	for _, path := range []string{sse("gemini-a"), generate("gemini-a"), array("gpt-a")} {
		if r := post(t, k, path, contents("out=3", ""), key...); r.status != 409 {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	if n := len(meter.Requests(mockFilter)); n != 1 {
		t.Errorf("%d requests reached a provider", n)
	}
	k.AtRest(t)
}
