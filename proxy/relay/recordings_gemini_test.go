package relay_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"tokenrelay/proxy/protocol/prototest"
	"tokenrelay/proxy/proxytest"
	"tokenrelay/shared/apptest/fixtures"
	"tokenrelay/shared/apptest/mockllm"
	"tokenrelay/shared/usage"
)

// Every recorded exchange of gemini.generate and gemini.stream goes through the whole
// proxy, written by the provider at once and in pieces of 1, 7 and 13 bytes: asked for
// as events the customer gets what was recorded but for D8's list, asked for as an
// array the same objects; on the other endpoints it costs the same.
func TestGeminiRecordingsThroughTheProxy(t *testing.T) {
	dir, ok := fixtures.Recordings()
	if !ok {
		fmt.Println("no recordings folder: set RECORDINGS=DIR to replay recorded traffic")
		return
	}
	replayGemini(t, dir, slices.Concat(prototest.Recordings(t, "gemini.generate"), prototest.Recordings(t, "gemini.stream")))
}

func TestGeminiFixturesThroughTheProxy(t *testing.T) {
	const dir = "../../shared/apptest/fixtures/cases"
	replayGemini(t, "", slices.Concat(prototest.Read(t, dir, "gemini.generate"), prototest.Read(t, dir, "gemini.stream")))
}

func replayGemini(t *testing.T, dir string, cases []prototest.Case) {
	t.Helper()
	if len(cases) == 0 {
		t.Fatal("no cases")
	}
	url, _ := mock(t, mockllm.Options{Recordings: dir})
	o := proxytest.Options{Balance: 1 << 60}
	writes := []int{0, 1, 7, 13}
	for _, write := range writes {
		slug := fmt.Sprintf("gemini-%d", write)
		base := url + "/" + slug
		if write > 0 {
			base += fmt.Sprintf("/mock:write=%d", write)
		}
		o.Providers = append(o.Providers, proxytest.Provider{Slug: slug, Protocol: "gemini", BaseURL: base + "/v1beta", Keys: []string{"AIza-replay-key"}})
		for i := range cases {
			o.Models = append(o.Models, proxytest.Model{
				ID: fmt.Sprintf("m%d-%d", i, write), Routes: []proxytest.Route{{Provider: slug, Model: "case:" + cases[i].Name}}, Context: 4_000_000, Output: 1_000_000,
				Prices: map[string]string{"input": "3", "cache_read": "0.3", "cache_write": "3.75", "cache_write_1h": "6", "output": "15", "audio_in": "40", "audio_out": "80", "searches": "0.01"},
			})
		}
	}
	k := proxytest.New(t, o)
	equal, arrays, metered, errors, cleaned := 0, 0, 0, 0, 0
	ask := func(name, path, body string) (*reply, *usage.Record) {
		k.HealAll()
		n := len(k.Records(t))
		r := post(t, k, path, body)
		if r.header.Get("X-Relay-Error") != "" && r.status < 500 {
			t.Errorf("%s: refused by the relay itself\n%s", name, r.body)
			return nil, nil
		}
		rec := k.WaitRecords(t, n+1)[n]
		return r, &rec
	}
	for i := range cases {
		c := &cases[i]
		body, changed := cleanGemini(t, c.Request)
		if changed {
			cleaned++
		}
		for _, write := range writes {
			model := fmt.Sprintf("m%d-%d", i, write)
			for _, alt := range []string{"?alt=sse", ""} {
				name := fmt.Sprintf("%s%s in writes of %d", c.Name, alt, write)
				path := "/v1beta/models/" + model + ":generateContent"
				if c.Stream {
					path = "/v1beta/models/" + model + ":streamGenerateContent" + alt
				} else if alt == "" {
					continue
				}
				r, rec := ask(name, path, string(body))
				if r == nil {
					continue
				}
				switch {
				case bytes.Contains(c.Body, []byte(`{"error": {`)) && c.Status == 200:
					// The provider broke off: the relay says so in its own words.
					if rec.Status != usage.Failed || !strings.Contains(string(r.body), "ended unexpectedly") && !strings.Contains(string(r.body), `"error"`) || bytes.Contains(r.body, []byte("overloaded")) || (rec.Charge == 0) != (r.status != 200) {
						t.Errorf("%s: %s, charge %s\n%s", name, rec.Status, rec.Charge, r.body)
					}
					errors++
					continue
				case c.Status != 200:
					if r.status < 400 || strings.Contains(string(r.body), "case:") || rec.Charge != 0 || !json.Valid(r.body) {
						t.Errorf("%s: status %d of an upstream %d, charge %s\n%s", name, r.status, c.Status, rec.Charge, r.body)
					}
					errors++
					continue
				case r.status != 200:
					t.Errorf("%s: %d\n%s", name, r.status, tail(r.body))
					continue
				}
				want := c.Expected(prototest.Mode{Model: model})
				if c.Stream && alt == "" {
					if got := elements(t, name, r); !slices.Equal(got, datas(want)) {
						t.Errorf("%s: got %q\nwant %q", name, got, datas(want))
						continue
					}
					arrays++
				} else {
					if !bytes.Equal(r.body, want) {
						at := diff(r.body, want)
						t.Errorf("%s: bytes differ at %d (read: %v)\ngot  …%s\nwant …%s", name, at, r.err, around(r.body, at), around(want, at))
						continue
					}
					equal++
				}
				if meteredGemini(t, name, c, rec) {
					metered++
				}
			}
			if c.Status != 200 || write == 7 {
				continue
			}
			// The same on the other endpoints, for the same money.
			for _, path := range []string{"/v1/chat/completions", "/v1/messages", "/v1/responses"} {
				name := fmt.Sprintf("%s on %s in writes of %d", c.Name, path, write)
				body := fmt.Sprintf(`{"model":%q,"stream":%v,"max_tokens":1000,"messages":[{"role":"user","content":"hi"}]}`, model, c.Stream)
				if path == "/v1/responses" {
					body = fmt.Sprintf(`{"model":%q,"stream":%v,"store":false,"input":"hi"}`, model, c.Stream)
				}
				r, rec := ask(name, path, body)
				if r == nil || rec.Status == usage.Failed && bytes.Contains(c.Body, []byte(`{"error": {`)) {
					continue
				}
				if r.status != 200 || rec.Status != usage.Success {
					t.Errorf("%s: %d %s\n%s", name, r.status, rec.Status, tail(r.body))
				} else if meteredGemini(t, name, c, rec) {
					metered++
				}
			}
		}
	}
	k.AtRest(t)
	fmt.Printf("gemini: %d cases: %d answers byte for byte, %d as arrays, %d with equal usage and charge, %d errors, %d requests without what is stored or runs at the provider\n", len(cases), equal, arrays, metered, errors, cleaned)
}

// meteredGemini reports whether a record has the usage that the case expects, and the
// charge that follows.
func meteredGemini(t *testing.T, name string, c *prototest.Case, rec *usage.Record) bool {
	t.Helper()
	if c.Usage == nil {
		return false
	}
	source := usage.SourceReported
	if c.Usage.InputTotal+c.Usage.OutputTotal == 0 {
		source = usage.SourceNone // a prompt that was refused before anything was counted
	}
	if d := c.Usage.Compare(rec.Units); d != "" || rec.Source != source {
		t.Errorf("%s: %s (source %s, flags %s)", name, d, rec.Source, rec.Flags)
		return false
	}
	due := independentCharge(&rec.Units) - int64(rec.Overrun)
	if int64(rec.Charge) != due {
		t.Errorf("%s: charge %d; want %d (hold %d, overrun %d)", name, rec.Charge, due, rec.Hold, rec.Overrun)
		return false
	}
	return true
}

// datas are the objects of a stream of events.
func datas(stream []byte) (list []string) {
	for _, line := range strings.Split(string(stream), "\r\n") {
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			list = append(list, data)
		}
	}
	return list
}

// elements are the objects of a stream that is one array.
func elements(t *testing.T, name string, r *reply) (list []string) {
	t.Helper()
	var raw []json.RawMessage
	if err := json.Unmarshal(r.body, &raw); err != nil || !strings.HasPrefix(r.header.Get("Content-Type"), "application/json") {
		t.Errorf("%s: %v, %s\n%s", name, err, r.header.Get("Content-Type"), r.body)
	}
	for _, e := range raw {
		list = append(list, string(e))
	}
	return list
}

// cleanGemini takes out of a request what a relay for many cannot send: objects stored
// in the recorder's account, and tools that run at the provider without a limit. The
// answer is the recorded one all the same.
func cleanGemini(t *testing.T, req []byte) ([]byte, bool) {
	var v map[string]any
	if err := json.Unmarshal(req, &v); err != nil {
		t.Fatal(err)
	}
	changed := false
	if v["cachedContent"] != nil {
		delete(v, "cachedContent")
		changed = true
	}
	if tools, ok := v["tools"].([]any); ok {
		kept := slices.DeleteFunc(slices.Clone(tools), func(x any) bool {
			return x.(map[string]any)["functionDeclarations"] == nil
		})
		for i, x := range kept {
			kept[i] = map[string]any{"functionDeclarations": x.(map[string]any)["functionDeclarations"]}
		}
		changed = changed || len(kept) != len(tools)
		v["tools"] = kept
	}
	contents, _ := v["contents"].([]any)
	for _, c := range contents {
		parts, _ := c.(map[string]any)["parts"].([]any)
		for _, p := range parts {
			if f, ok := p.(map[string]any)["fileData"].(map[string]any); ok {
				if uri, _ := f["fileUri"].(string); strings.Contains(uri, "generativelanguage") || strings.HasPrefix(uri, "gs:") {
					f["fileUri"] = "https://example.com/file"
					changed = true
				}
			}
		}
	}
	if !changed {
		return req, false
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b, true
}
