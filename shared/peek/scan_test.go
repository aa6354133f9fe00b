package peek

import (
	"strings"
	"testing"
)

// E1, E4, E5, E6 of the fault catalogue, and the probes of 2.4.
func TestScanRefuses(t *testing.T) {
	for _, tt := range []struct{ id, body, param string }{
		{"E1 duplicate", `{"model":"cheap","model":"gpt-5","messages":[]}`, "model"},
		{"E1 case-fold duplicate", `{"model":"gpt-5","Model":"cheap","messages":[]}`, "model"},
		{"E1 escaped duplicate", `{"mod\u0065l":"a","model":"b","messages":[]}`, "model"},
		{"E1 long s", `{"model":"a","messages":[],"stream":true,"` + "\u017f" + `tream":false}`, "stream"},
		{"E1 escaped long s", `{"model":"a","messages":[],"stream":true,"\u017ftream":false}`, "stream"},
		{"E1 kelvin sign", `{"model":"a","messages":[],"max_to` + "\u212a" + `ens":5}`, "max_tokens"},
		{"E1 look-alike alone", `{"Model":"a","messages":[]}`, "model"},
		{"E1 max_tokens", `{"model":"a","messages":[],"max_tokens":1,"max_tokens":9}`, "max_tokens"},
		{"E1 max_completion_tokens", `{"model":"a","messages":[],"max_completion_tokens":1,"max_completion_tokens":9}`, "max_completion_tokens"},
		{"E1 n", `{"model":"a","messages":[],"n":1,"N":9}`, "n"},
		{"E1 messages", `{"model":"a","messages":[],"messages":[]}`, "messages"},
		{"E1 stream_options", `{"model":"a","messages":[],"stream_options":{},"stream_options":{}}`, "stream_options"},
		{"E1 include_usage", `{"model":"a","messages":[],"stream_options":{"include_usage":true,"Include_usage":false}}`, "stream_options.include_usage"},
		{"E3 depth", `{"model":"a","messages":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`, ""},
		{"E4 trailing data", `{"model":"a","messages":[]} x`, ""},
		{"E4 trailing comma", `{"model":"a","messages":[],}`, ""},
		{"E4 trailing comma in an array", `{"model":"a","messages":[1,]}`, ""},
		{"E4 control character", "{\"model\":\"a\x01\",\"messages\":[]}", ""},
		{"E4 invalid UTF-8", "{\"model\":\"a\xff\",\"messages\":[]}", ""},
		{"E4 overlong UTF-8", "{\"model\":\"a\xc0\xaf\",\"messages\":[]}", ""},
		{"E4 surrogate in UTF-8", "{\"model\":\"a\xed\xa0\x80bcdefgh\",\"messages\":[]}", ""},
		{"E4 invalid UTF-8 deep", "{\"model\":\"a\",\"messages\":[{\"content\":\"0123456789\xff0123456789\"}]}", ""},
		{"E4 lone surrogate in a key", `{"model":"a","messages":[],"\ud800x":1}`, ""},
		{"E4 lone surrogate in model", `{"model":"a\udc00","messages":[]}`, "model"},
		{"E4 BOM", "\xef\xbb\xbf{\"model\":\"a\",\"messages\":[]}", ""},
		{"E4 NaN", `{"model":"a","messages":[],"temperature":NaN}`, ""},
		{"E4 Infinity", `{"model":"a","messages":[],"temperature":-Infinity}`, ""},
		{"E4 comment", `{"model":"a",/* */"messages":[]}`, ""},
		{"E4 leading zero", `{"model":"a","messages":[],"temperature":01}`, ""},
		{"E4 bare dot", `{"model":"a","messages":[],"temperature":1.}`, ""},
		{"E4 single quotes", `{'model':"a","messages":[]}`, ""},
		{"E4 bad escape", `{"model":"a","messages":["\x"]}`, ""},
		{"E4 array", `[]`, ""},
		{"E4 empty", ``, ""},
		{"E4 cut", `{"model":"a","messages":[`, ""},
		{"E4 cut string", `{"model":"a`, ""},
		{"E5 -1", `{"model":"a","messages":[],"max_tokens":-1}`, "max_tokens"},
		{"E5 0", `{"model":"a","messages":[],"max_tokens":0}`, "max_tokens"},
		{"E5 1e3", `{"model":"a","messages":[],"max_tokens":1e3}`, "max_tokens"},
		{"E5 4096.0", `{"model":"a","messages":[],"max_tokens":4096.0}`, "max_tokens"},
		{"E5 2^63", `{"model":"a","messages":[],"max_tokens":9223372036854775808}`, "max_tokens"},
		{"E5 2^64+3", `{"model":"a","messages":[],"max_tokens":18446744073709551619}`, "max_tokens"},
		{"E5 string", `{"model":"a","messages":[],"max_tokens":"10"}`, "max_tokens"},
		{"E5 null", `{"model":"a","messages":[],"max_tokens":null}`, "max_tokens"},
		{"E5 leading zero", `{"model":"a","messages":[],"max_tokens":010}`, "max_tokens"},
		{"E5 n", `{"model":"a","messages":[],"n":1000000}`, "n"},
		{"E5 best_of", `{"model":"a","messages":[],"best_of":1000000}`, "best_of"},
		{"model missing", `{"messages":[]}`, "model"},
		{"model empty", `{"model":"","messages":[]}`, "model"},
		{"model null", `{"model":null,"messages":[]}`, "model"},
		{"model object", `{"model":{},"messages":[]}`, "model"},
		{"model long", `{"model":"` + strings.Repeat("a", 257) + `","messages":[]}`, "model"},
		{"model long escaped", `{"model":"` + strings.Repeat(`\u0061`, 257) + `","messages":[]}`, "model"},
		{"messages missing", `{"model":"a"}`, "messages"},
		{"messages text", `{"model":"a","messages":"x"}`, "messages"},
		{"stream text", `{"model":"a","messages":[],"stream":"true"}`, "stream"},
		{"stream_options array", `{"model":"a","messages":[],"stream_options":[]}`, "stream_options"},
		{"include_usage number", `{"model":"a","messages":[],"stream_options":{"include_usage":1}}`, "stream_options.include_usage"},
	} {
		t.Run(tt.id, func(t *testing.T) {
			var r Request
			err := Scan([]byte(tt.body), OpenAIChat, &r)
			if err == nil {
				t.Fatalf("accepted %s", tt.body)
			}
			if err.Status != 400 || err.Code != "invalid_request" || err.Param != tt.param {
				t.Errorf("%s: got %d %s param %q (%s), want param %q", tt.body, err.Status, err.Code, err.Param, err.Message, tt.param)
			}
		})
	}
}

func TestScanReads(t *testing.T) {
	body := []byte(" \n{ \"mo\\u0064el\" : \"gpt\\u002d5\\ud83d\\ude00é\" , \"stream\":true,\"stream_options\":{\"x\":1,\"include_usage\": true},\n" +
		`"max_tokens":7,"max_completion_tokens":9,"n":3,"messages":[{"role":"user","content":"hi"},{"role":"user","content":[{"type":"text","text":"a"}]}],` +
		`"tools":[{"type":"function","function":{"name":"type"}},{"type":"web_search_20250305","name":"web_search","max_uses":5},{"type":"web_fetch_1"},{"name":"x","input_schema":{"type":"object"}}]}` + "\n")
	var r Request
	if err := Scan(body, OpenAIChat, &r); err != nil {
		t.Fatal(err)
	}
	if string(r.Model) != "gpt-5😀é" {
		t.Errorf("model %q", r.Model)
	}
	at := func(s Span) string { return string(body[s.Start:s.End]) }
	if at(r.ModelSpan) != `"gpt\u002d5\ud83d\ude00é"` || at(r.StreamSpan) != "true" || at(r.StreamOptions) != `{"x":1,"include_usage": true}` ||
		at(r.IncludeUsageSpan) != "true" || at(r.MaxTokensSpan) != "7" || at(r.MaxCompletionSpan) != "9" {
		t.Errorf("spans: %q %q %q %q %q %q", at(r.ModelSpan), at(r.StreamSpan), at(r.StreamOptions), at(r.IncludeUsageSpan), at(r.MaxTokensSpan), at(r.MaxCompletionSpan))
	}
	if !r.Stream || !r.IncludeUsage || r.OutputCap() != 9 || r.Choices() != 3 || r.Messages != 2 || r.Tools != 4 ||
		r.ServerTools != 2 || r.ServerToolUses != 5 || r.ServerToolsNoLimit != 1 || r.TextBytes != int64(len(body)) {
		t.Errorf("%+v", r)
	}
}

// E3: members, and depth that is still allowed.
func TestScanLimits(t *testing.T) {
	var r Request
	deep := `{"model":"a","messages":[` + strings.Repeat("[", 62) + strings.Repeat("]", 62) + `]}`
	if err := Scan([]byte(deep), OpenAIChat, &r); err != nil {
		t.Errorf("depth 64: %v", err)
	}
	many := `{"model":"a","messages":[],"x":{` + strings.TrimSuffix(strings.Repeat(`"k":0,`, MaxMembers), ",") + `}}`
	if err := Scan([]byte(many), OpenAIChat, &r); err == nil {
		t.Error("more than 100,000 members were accepted")
	}
}
