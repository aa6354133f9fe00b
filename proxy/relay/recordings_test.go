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
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/apptest/fixtures"
	"tokenrelay/shared/apptest/mockllm"
	"tokenrelay/shared/usage"
)

// Every recorded exchange of openai.chat, anthropic.messages, openai.embeddings, openai.completions, openai.responses and dashscope.text goes through the
// whole proxy, written by the provider at once and in pieces of 1, 7 and 13 bytes:
// what the customer gets is what was recorded but for D8's list (rulings 2.1), what
// is metered is what the case expects, and the charge is computed by other means.
func TestRecordingsThroughTheProxy(t *testing.T) {
	dir, ok := fixtures.Recordings()
	if !ok {
		fmt.Println("no recordings folder: set RECORDINGS=DIR to replay recorded traffic")
		return
	}
	replay(t, dir, slices.Concat(prototest.Recordings(t, "openai.chat"), prototest.Recordings(t, "anthropic.messages"), prototest.Recordings(t, "openai.embeddings"), prototest.Recordings(t, "openai.completions"), prototest.Recordings(t, "openai.responses"), prototest.Recordings(t, "dashscope.text")))
}

// The same over exchanges of our own, one and more for each dialect.
func TestFixturesThroughTheProxy(t *testing.T) {
	const dir = "../../shared/apptest/fixtures/cases"
	replay(t, "", slices.Concat(prototest.Read(t, dir, "openai.chat"), prototest.Read(t, dir, "anthropic.messages"), prototest.Read(t, dir, "openai.embeddings"), prototest.Read(t, dir, "openai.completions"), prototest.Read(t, dir, "openai.responses"), prototest.Read(t, dir, "dashscope.text")))
}

// paths are where the cases of each protocol are asked for.
var paths = map[string]string{"openai.chat": "/v1/chat/completions", "anthropic.messages": "/v1/messages", "openai.embeddings": "/v1/embeddings", "openai.completions": "/v1/completions", "openai.responses": "/v1/responses", "dashscope.text": dashScopePath}

func replay(t *testing.T, dir string, cases []prototest.Case) {
	t.Helper()
	if len(cases) == 0 {
		t.Fatal("no cases")
	}
	url, _ := mock(t, mockllm.Options{Recordings: dir})
	o := proxytest.Options{Balance: 1 << 60}
	writes := []int{0, 1, 7, 13}
	known := map[string]bool{}
	for i := range cases {
		c := &cases[i]
		protocol := "openai"
		if c.Protocol == "anthropic.messages" {
			protocol = "anthropic"
		}
		if c.Protocol == "dashscope.text" {
			protocol = "dashscope"
		}
		for _, write := range writes {
			slug := fmt.Sprintf("%s-%s-%d", c.Provider, protocol, write)
			if !known[slug] {
				known[slug] = true
				base := url + "/" + slug
				if write > 0 {
					base += fmt.Sprintf("/mock:write=%d", write)
				}
				o.Providers = append(o.Providers, proxytest.Provider{Slug: slug, Protocol: protocol, Dialect: c.Provider, BaseURL: base + "/v1", Keys: []string{"sk-replay-key"}})
			}
			o.Models = append(o.Models, proxytest.Model{
				ID: fmt.Sprintf("m%d-%d", i, write), Routes: []proxytest.Route{{Provider: slug, Model: "case:" + c.Name}}, Context: 4_000_000, Output: 1_000_000,
				Prices: map[string]string{"input": "3", "cache_read": "0.3", "cache_write": "3.75", "cache_write_1h": "6", "output": "15", "audio_in": "40", "audio_out": "80", "searches": "0.01"},
			})
		}
	}
	k := proxytest.New(t, o)
	equal, metered, charged, errors, foreign, unlimited := 0, 0, 0, 0, 0, 0
	for i := range cases {
		c := &cases[i]
		path := paths[c.Protocol]
		var header []string
		if c.Protocol == "dashscope.text" && c.Stream {
			header = []string{"X-DashScope-SSE", "enable"}
		}
		for _, write := range writes {
			model := fmt.Sprintf("m%d-%d", i, write)
			name := fmt.Sprintf("%s in writes of %d", c.Name, write)
			body := withModel(t, c.Request, model)
			k.HealAll()
			n := len(k.Records(t))
			r := post(t, k, path, string(body), header...)
			if r.header.Get("X-Relay-Error") == string(apierr.NotFound) && bytes.Contains(r.body, []byte("stored at a provider")) && c.Protocol != "dashscope.text" {
				// D8: a stored object is its owner's; the answer is compared without it.
				foreign++
				body = without(t, bytes.ReplaceAll(body, []byte(`"file_id"`), []byte(`"file_xx"`)), "container")
				n = len(k.Records(t))
				r = post(t, k, path, string(body), header...)
			}
			if r.status == 404 && bytes.Contains(r.body, []byte("'fileid'")) {
				foreign++
				body = bytes.ReplaceAll(body, []byte("fileid:"), []byte("filexx:"))
				n = len(k.Records(t))
				r = post(t, k, path, string(body), header...)
			}
			if r.status == 400 && bytes.Contains(r.body, []byte("'enable_code_interpreter'")) {
				unlimited++
				body = bytes.ReplaceAll(body, []byte("enable_code_interpreter"), []byte("enable_nothing"))
				n = len(k.Records(t))
				r = post(t, k, path, string(body), header...)
			}
			if bytes.Contains(r.body, []byte("previous response was not found")) {
				foreign++
				body = without(t, body, "previous_response_id")
				n = len(k.Records(t))
				r = post(t, k, path, string(body), header...)
			}
			if r.status == 400 && bytes.Contains(r.body, []byte("is not offered here")) && bytes.Contains(body, []byte(`"tools"`)) {
				// D3, D8: a tool that runs at the provider without a price; the answer is the same.
				unlimited++
				body = without(t, body, "tools", "tool_choice")
				n = len(k.Records(t))
				r = post(t, k, path, string(body), header...)
			}
			if r.header.Get("X-Relay-Error") == string(apierr.InvalidRequest) && bytes.Contains(r.body, []byte("max_tool_calls")) {
				unlimited++
				body = append([]byte(`{"max_tool_calls":50,`), body[1:]...)
				n = len(k.Records(t))
				r = post(t, k, path, string(body), header...)
			}
			if r.header.Get("X-Relay-Error") == string(apierr.InvalidRequest) && strings.Contains(string(r.body), "max_uses") {
				// D3: a provider's tool needs a limit; the answer is the same with one.
				unlimited++
				body = limited(t, without(t, body, "web_search_options", "mcp_servers"))
				n = len(k.Records(t))
				r = post(t, k, path, string(body), header...)
			}
			if r.status == 400 && r.header.Get("X-Relay-Error") != "" {
				t.Errorf("%s: refused by the relay itself\n%s", name, r.body)
				continue
			}
			recs := k.WaitRecords(t, n+1)
			rec := recs[n]
			if bytes.Contains(c.Body, []byte("event: error\n")) {
				// The provider broke off: the relay says so in its own words, in the stream if
				// the customer had got any of it.
				if rec.Status != usage.Failed || bytes.Contains(r.body, []byte("message_stop")) || bytes.Contains(r.body, []byte("[DONE]")) || !bytes.Contains(r.body, []byte(`"error"`)) {
					t.Errorf("%s: %d\n%s", name, r.status, r.body)
				}
				errors++
				continue
			}
			if c.Status != 200 || bytes.HasPrefix(c.Body, []byte("id:1\nevent:error\n")) { // DashScope's streams begin with 200 all the same
				// The relay's own error, or the provider's where the request is at fault; in
				// either case nothing of the upstream and no charge.
				if r.status < 400 || strings.Contains(string(r.body), "case:") || rec.Charge != 0 {
					t.Errorf("%s: status %d of an upstream %d, charge %s\n%s", name, r.status, c.Status, rec.Charge, r.body)
				}
				errors++
				continue
			}
			if r.status != 200 {
				t.Errorf("%s: %d\n%s", name, r.status, tail(r.body))
				continue
			}
			want := c.Expected(prototest.Mode{Model: model, Asked: asksUsage(c.Request)})
			if !bytes.Equal(r.body, want) {
				at := diff(r.body, want)
				t.Errorf("%s: bytes differ at %d (read: %v)\ngot  …%s\nwant …%s", name, at, r.err, around(r.body, at), around(want, at))
				continue
			}
			equal++
			if c.Usage == nil {
				continue
			}
			if d := c.Usage.Compare(rec.Units); d != "" || rec.Source != usage.SourceReported {
				t.Errorf("%s: %s (source %s, flags %s)", name, d, rec.Source, rec.Flags)
				continue
			}
			metered++
			due := independentCharge(&rec.Units)
			if rec.Overrun > 0 {
				due -= int64(rec.Overrun) // D3: above the hold it is the house's
			}
			if int64(rec.Charge) != due {
				t.Errorf("%s: charge %d; want %d (hold %d, overrun %d)", name, rec.Charge, due, rec.Hold, rec.Overrun)
				continue
			}
			charged++
		}
	}
	k.AtRest(t)
	fmt.Printf("%d cases: %d answers byte for byte, %d with equal usage, %d with equal charges, %d errors, %d refused first for foreign files, %d for unlimited tools\n", len(cases), equal, metered, charged, errors, foreign, unlimited)
}

// withModel puts the kit's model name into a recorded request.
func withModel(t *testing.T, req []byte, model string) []byte {
	var v map[string]json.RawMessage
	if err := json.Unmarshal(req, &v); err != nil {
		t.Fatal(err)
	}
	v["model"], _ = json.Marshal(model)
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// without drops members of a request.
func without(t *testing.T, body []byte, members ...string) []byte {
	var v map[string]json.RawMessage
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatal(err)
	}
	for _, m := range members {
		delete(v, m)
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// limited gives every tool that the provider runs a limit.
func limited(t *testing.T, body []byte) []byte {
	var v map[string]json.RawMessage
	var tools []map[string]json.RawMessage
	if json.Unmarshal(body, &v) != nil || v["tools"] == nil || json.Unmarshal(v["tools"], &tools) != nil {
		return body
	}
	kept := tools[:0]
	for _, tool := range tools {
		switch strings.Trim(string(tool["type"]), `"`) {
		case "", "custom", "function":
		case "mcp_toolset":
			continue
		default:
			tool["max_uses"] = json.RawMessage("5")
		}
		kept = append(kept, tool)
	}
	v["tools"], _ = json.Marshal(kept)
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func asksUsage(req []byte) bool {
	var v struct {
		StreamOptions struct {
			IncludeUsage bool `json:"include_usage"`
		} `json:"stream_options"`
	}
	return json.Unmarshal(req, &v) == nil && v.StreamOptions.IncludeUsage
}

func diff(a, b []byte) int {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	return i
}

func around(b []byte, i int) []byte { return b[max(0, min(i, len(b))-80):min(len(b), i+160)] }

// independentCharge is the kit's prices, $3, $0.3, $3.75, $6, $15 … a million,
// rounded up once.
func independentCharge(u *usage.Units) int64 {
	pico := u[usage.Input]*3_000_000 + u[usage.CacheRead]*300_000 + u[usage.CacheWrite]*3_750_000 + u[usage.CacheWrite1h]*6_000_000 +
		(u[usage.Output]+u[usage.Reasoning])*15_000_000 + u[usage.AudioIn]*40_000_000 + u[usage.AudioOut]*80_000_000 +
		u[usage.ImageIn]*3_000_000 + u[usage.ImageOut]*15_000_000 + u[usage.Searches]*10_000_000_000
	return (pico + 999) / 1000
}
