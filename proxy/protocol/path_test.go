package protocol

import (
	"strings"
	"testing"

	"tokenrelay/shared/apierr"
)

func providers(slug []byte) bool {
	switch string(slug) {
	case "openai", "anthropic", "gemini", "v1", "models":
		return true
	}
	return false
}

// C3, D17, S2-15, S4-3 … S4-6, interface 5: every spelling of every path.
func TestLookup(t *testing.T) {
	const av = "+version" // the request carries anthropic-version
	for _, row := range strings.Split(strings.TrimSpace(`
POST /v1/chat/completions                              serve openai.chat
POST /v1/messages                                      serve anthropic.messages
POST /anthropic/v1/messages                            serve anthropic.messages
POST /v1/openai/chat/completions                       serve openai.chat pinned=openai
POST /v1/openai/v1/chat/completions                    serve openai.chat pinned=openai
POST /v1/anthropic/messages                            serve anthropic.messages pinned=anthropic
POST /v1/anthropic/v1/messages                         serve anthropic.messages pinned=anthropic
POST /v1/anthropic/chat/completions                    serve openai.chat pinned=anthropic
POST /v1/completions                                   serve openai.completions
POST /v1/embeddings                                    serve openai.embeddings
POST /v1/openai/embeddings                             serve openai.embeddings pinned=openai
GET  /v1/models                                        serve openai.models
GET  /v1/models+version                                serve anthropic.models
GET  /anthropic/v1/models                              serve anthropic.models
GET  /v1/models/gpt-5                                  serve openai.model param=gpt-5
GET  /v1/models/meta/llama:3                           serve openai.model param=meta/llama:3
GET  /v1/models/claude+version                         serve anthropic.model param=claude
GET  /anthropic/v1/models/claude                       serve anthropic.model param=claude
GET  /v1/openai/models                                 serve openai.models pinned=openai
GET  /v1/openai/v1/models/gpt-5                        serve openai.model pinned=openai param=gpt-5

POST /v1/responses                                     serve openai.responses
POST /v1/responses/input_tokens                        serve openai.responses_tokens
POST /v1/responses/compact                             501 openai.responses_compact
GET  /v1/responses/resp_1                              forward openai.response param=resp_1
DELETE /v1/responses/resp_1                            forward openai.response param=resp_1
POST /v1/responses/resp_1/cancel                       forward openai.response param=resp_1
GET  /v1/responses/resp_1/input_items                  forward openai.response param=resp_1
POST /v1/openai/responses                              serve openai.responses pinned=openai
POST /v1/audio/speech                                  serve openai.speech
POST /v1/audio/transcriptions                          serve openai.transcriptions
POST /v1/audio/translations                            serve openai.translations
POST /v1/images/generations                            serve openai.image_generations
POST /v1/images/edits                                  serve openai.image_edits
POST /v1/images/variations                             serve openai.image_variations
POST /v1/moderations                                   serve openai.moderations
POST /v1/rerank                                        serve rerank
POST /v1/messages/count_tokens                         serve anthropic.count_tokens
POST /anthropic/v1/messages/count_tokens               serve anthropic.count_tokens
POST /v1/messages/batches                              501 account anthropic
GET  /v1/messages/batches/b1                           501 account anthropic
GET  /v1/files                                         501 account openai
POST /v1/batches                                       501 account openai
POST /v1/fine_tuning/jobs                              501 account openai
GET  /v1/assistants                                    501 account openai
GET  /v1/chat/completions/c1                           501 account openai
GET  /v1/openai/organization/usage                     501 account openai pinned=openai
POST /v1/openai/files                                  501 account openai pinned=openai
POST /api/v1/services/aigc/text-generation/generation  serve dashscope.text
POST /v1/openai/api/v1/services/aigc/text-generation/generation serve dashscope.text pinned=openai
POST /v1/openai/services/aigc/text-generation/generation serve dashscope.text pinned=openai
POST /v1/openai/api/v1/tasks/1 501 account pinned=openai
POST /api/v1/services/aigc/multimodal-generation/generation 501 dashscope.multimodal
POST /api/v1/services/embeddings/text-embedding/text-embedding 501 dashscope.embeddings
POST /api/v1/services/rerank/text-rerank/text-rerank   501 dashscope.rerank
POST /v1beta/models/gemini-2.5-pro:generateContent     serve gemini.generate param=gemini-2.5-pro
POST /v1beta/models/gemini-2.5-pro:streamGenerateContent serve gemini.stream param=gemini-2.5-pro
POST /v1beta/models/gemini-2.5-pro:countTokens         serve gemini.count_tokens param=gemini-2.5-pro
POST /v1beta/models/gemini-2.5-pro:embedContent        serve gemini.embed param=gemini-2.5-pro
GET  /v1beta/models                                    serve gemini.models
GET  /v1beta/models/gemini-2.5-pro                     serve gemini.model param=gemini-2.5-pro
POST /v1beta/models/gemini-2.5-pro:batchEmbedContents  serve gemini.batch_embed param=gemini-2.5-pro
POST /v1/openai/audio/speech                           serve openai.speech pinned=openai
POST /v1/openai/v1/images/edits                        serve openai.image_edits pinned=openai
POST /v1/openai/rerank                                 serve rerank pinned=openai
POST /v1/anthropic/v1/messages/count_tokens            serve anthropic.count_tokens pinned=anthropic
POST /v1/gemini/v1beta/models/g:embedContent           serve gemini.embed pinned=gemini param=g
POST /v1beta/cachedContents                            501 account gemini
POST /v1beta/models/g:predict                          501 account gemini
POST /v1beta/models/g:batchGenerateContent             501 account gemini
GET  /v1beta/fileSearchStores/s/documents              501 account gemini
POST /v1beta/interactions                              501 account gemini
POST /v1beta/openai/chat/completions                   501 account gemini
POST /upload/v1beta/files                              501 account gemini
POST /v1/gemini/v1beta/models/g:generateContent        serve gemini.generate pinned=gemini param=g

GET  /v1/chat/completions                              405 openai.chat allow=POST
DELETE /v1/messages                                    405 anthropic.messages allow=POST
POST /v1/models                                        405 openai.models allow=GET
PATCH /v1/responses/r                                  405 openai.response allow=GET,DELETE param=r
OPTIONS /v1/chat/completions                           405 openai.chat allow=POST
POST /v1/openai/models                                 405 openai.models allow=GET pinned=openai

POST /v1/chat/completions/                             404 openai
POST /v1/chat                                          404 openai
POST /v1/nothing                                       404 openai
POST /v1/mistral/chat/completions                      404 openai
POST /v1/openai/nothing                                404 openai pinned=openai
POST /v1/openai/v1/v1/chat/completions                 404 openai pinned=openai
POST /v1/openai/openai/chat/completions                404 openai pinned=openai
POST /v1/chat/openai/completions                       404 openai
GET  /v1/models/                                       404 openai
GET  /v1/models/a%41b                                  404 openai
POST /v1/messages/nothing                              404 anthropic
POST /anthropic/messages                               404 anthropic
POST /anthropic/v1/chat/completions                    404 anthropic
GET  /anthropic                                        404 anthropic
GET  /v1                                               404 openai
POST /api/v1/services/nothing                          404 dashscope
POST /v1beta/models/g:nothing                          404 gemini
POST /v1beta/nothing                                   404 gemini

POST //v1/chat/completions                             trick none
POST /v1//chat/completions                             trick openai
POST /v1/chat%2fcompletions                            trick openai
POST /v1/chat%2Fcompletions                            trick openai
POST /v1/../v1/chat/completions                        trick openai
POST /v1/./chat/completions                            trick openai
POST /v1/%2e%2e/admin/v1                               trick openai
POST /v1/chat/completions;x=1                          trick openai
POST /v1/chat\completions                              trick openai
POST /openapi/v1/../../admin                           trick none
POST /openapi/v1/x%5cy                                 trick none
POST /openapi/v1/%00                                   trick none
POST /openapi/v1/%zz                                   trick none
POST /openapi/v1/%252e                                 trick none
GET  /admin/..                                         trick none
GET  *                                                 trick none
GET  http://h/v1/models                                trick none

POST /V1/chat/completions                              forward
POST /v1x/chat/completions                             forward
GET  /                                                 forward
GET  /openapi/v1/models                                forward
GET  /openapi/v1/models/a%20b                          forward
GET  /admin/v1/clients                                 forward
GET  /console/usage                                    forward
GET  /docs/pricing                                     forward
GET  /openapi.json                                     forward
GET  /api/keys                                         forward
GET  /a/...                                            forward
`), "\n") {
		f := strings.Fields(row)
		if len(f) == 0 {
			continue
		}
		path, anthropic := strings.CutSuffix(f[1], av)
		m := Lookup([]byte(f[0]), []byte(path), anthropic, providers)
		state := map[State]string{Forward: "forward", Serve: "serve", NotServed: "501", NotFound: "404", WrongMethod: "405", RefusedTrick: "trick"}[m.State]
		if state != f[2] {
			t.Errorf("%s: %s, want %s", row, state, f[2])
			continue
		}
		families := map[Family]string{FamilyNone: "none", FamilyOpenAI: "openai", FamilyAnthropic: "anthropic", FamilyDashScope: "dashscope", FamilyGemini: "gemini"}
		pinned, param, allow := "", "", ""
		for i, w := range f[3:] {
			key, value, ok := strings.Cut(w, "=")
			switch {
			case key == "pinned":
				pinned = value
			case key == "param":
				param = value
			case key == "allow":
				allow = strings.ReplaceAll(value, ",", ", ")
			case ok:
				t.Fatalf("bad row %s", row)
			case i == 0 && (m.State == Serve || m.State == NotServed || m.State == WrongMethod || m.Endpoint == OpenAIResponse):
				if m.Endpoint.String() != w {
					t.Errorf("%s: endpoint %v", row, m.Endpoint)
				}
				if family, _, _ := strings.Cut(w, "."); family != "account" && family != "rerank" && families[m.Family] != family {
					t.Errorf("%s: family %v", row, families[m.Family])
				}
			default:
				if families[m.Family] != w {
					t.Errorf("%s: family %s", row, families[m.Family])
				}
			}
		}
		if string(m.Provider) != pinned || m.Pinned != (pinned != "") || string(m.Param) != param && param != "" || allow != "" && m.Allow != allow {
			t.Errorf("%s: pinned %q, param %q, allow %q", row, m.Provider, m.Param, m.Allow)
		}
	}
}

func TestShape(t *testing.T) {
	for path, want := range map[string]apierr.Shape{
		"/v1/nothing": apierr.ShapeOpenAI, "/v1/messages/nothing": apierr.ShapeAnthropic, "/anthropic/x": apierr.ShapeAnthropic,
		"/api/v1/x": apierr.ShapeDashScope, "/v1beta/x": apierr.ShapeGemini,
	} {
		m := Lookup([]byte("POST"), []byte(path), false, providers)
		if m.Shape() != want {
			t.Errorf("%s: shape %v, want %v", path, m.Shape(), want)
		}
	}
}

// FuzzLookup: a path is served only if it is spelled exactly so.
func FuzzLookup(f *testing.F) {
	for _, p := range []string{"/v1/chat/completions", "/v1/openai/v1/models/x", "/anthropic/v1/messages", "/v1beta/models/g:generateContent", "/v1/%2e%2e/x"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, path string) {
		m := Lookup([]byte("POST"), []byte(path), false, providers)
		if m.State == Serve && m.Endpoint == OpenAIChat && !strings.HasSuffix(path, "/chat/completions") {
			t.Fatalf("%q served", path)
		}
		if m.State != RefusedTrick && (strings.Contains(path, "//") || strings.Contains(path, "/../") || strings.ContainsAny(path, "\\;\x00")) {
			t.Fatalf("%q: state %v", path, m.State)
		}
	})
}
