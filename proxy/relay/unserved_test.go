package relay_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"tokenrelay/proxy/proxytest"
)

// S2-15, D8: every known path that is not served, which is whatever reads or writes the
// account of the operator at a provider, runs on without its customer, or has no price:
// 501 in the shape of its protocol, with and without a provider in front, and nothing of
// it reaches a provider.
func TestUnserved(t *testing.T) {
	k, m := standard(t, proxytest.Options{})
	ask := func(method, path string, version bool) (int, http.Header, map[string]any) {
		t.Helper()
		req, err := http.NewRequest(method, k.URL+path, strings.NewReader(`{"model":"gpt-a","input":"a"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+k.Token)
		if version {
			req.Header.Set("anthropic-version", "2023-06-01")
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var v map[string]any
		if err := json.NewDecoder(resp.Body).Decode(&v); err != nil {
			t.Errorf("%s %s: no JSON: %v", method, path, err)
		}
		return resp.StatusCode, resp.Header, v
	}
	inner := func(v map[string]any, name string) any {
		e, _ := v["error"].(map[string]any)
		return e[name]
	}
	shapes := map[string]func(v map[string]any) bool{
		"openai": func(v map[string]any) bool {
			return inner(v, "type") == "invalid_request_error" && inner(v, "message") != nil
		},
		"anthropic": func(v map[string]any) bool {
			return v["type"] == "error" && inner(v, "type") == "invalid_request_error" && v["request_id"] != nil
		},
		"gemini":    func(v map[string]any) bool { return inner(v, "code") == 501.0 && inner(v, "status") == "UNIMPLEMENTED" },
		"dashscope": func(v map[string]any) bool { return v["code"] != nil && v["message"] != nil && v["request_id"] != nil },
	}
	for _, family := range []struct {
		name, pinned string
		version      bool
		prefixes     []string
		paths        string
	}{
		{"openai", "openai", false, []string{"/v1/", "/v1/openai/", "/v1/openai/v1/"}, `
GET files  POST files  GET files/f  DELETE files/f  GET files/f/content
POST uploads  POST uploads/u/parts  POST uploads/u/complete  POST uploads/u/cancel
GET batches  POST batches  GET batches/b  POST batches/b/cancel
GET fine_tuning/jobs  POST fine_tuning/jobs  GET fine_tuning/jobs/j  POST fine_tuning/jobs/j/cancel  POST fine_tuning/jobs/j/pause
POST fine_tuning/jobs/j/resume  GET fine_tuning/jobs/j/events  GET fine_tuning/jobs/j/checkpoints
GET fine_tuning/checkpoints/c/permissions  POST fine_tuning/alpha/graders/run  POST fine_tuning/alpha/graders/validate
GET assistants  POST assistants  GET assistants/a  POST assistants/a  DELETE assistants/a
POST threads  GET threads/t  POST threads/t  DELETE threads/t  POST threads/runs  GET threads/t/messages  POST threads/t/messages
GET threads/t/messages/m  GET threads/t/runs  POST threads/t/runs  GET threads/t/runs/r  POST threads/t/runs/r/cancel
POST threads/t/runs/r/submit_tool_outputs  GET threads/t/runs/r/steps  GET threads/t/runs/r/steps/s
GET vector_stores  POST vector_stores  GET vector_stores/v  DELETE vector_stores/v  POST vector_stores/v/search
GET vector_stores/v/files  POST vector_stores/v/files  DELETE vector_stores/v/files/f  POST vector_stores/v/file_batches
POST realtime/client_secrets  POST realtime/sessions  POST realtime/transcription_sessions  POST realtime/calls  GET realtime  POST realtime/calls/c/hangup
GET containers  POST containers  DELETE containers/c  POST containers/c/files  GET containers/c/files/f/content
POST conversations  GET conversations/c  DELETE conversations/c  POST conversations/c/items  GET conversations/c/items/i
GET evals  POST evals  GET evals/e  DELETE evals/e  POST evals/e/runs  GET evals/e/runs/r/output_items
GET organization/admin_api_keys  GET organization/audit_logs  GET organization/costs  GET organization/invites  GET organization/projects
POST organization/projects/p/service_accounts  GET organization/usage/completions  GET organization/users  GET organization/certificates
GET projects/p/groups  GET projects/p/roles
GET videos  POST videos  GET videos/v  DELETE videos/v  GET videos/v/content  POST videos/v/remix
GET skills  POST skills  GET skills/s  DELETE skills/s  GET skills/s/versions
POST chatkit/sessions  GET chatkit/threads/t  POST chatkit/sessions/s/cancel
POST audio/voices  POST audio/voice_consents  POST responses/compact
GET chat/completions/c  DELETE chat/completions/c  GET chat/completions/c/messages
POST fine-tunes  POST edits  GET engines  POST engines/davinci/completions`},
		{"anthropic", "anthropic", false, []string{"/v1/", "/anthropic/v1/", "/v1/anthropic/", "/v1/anthropic/v1/"}, `
GET messages/batches  POST messages/batches  GET messages/batches/b  DELETE messages/batches/b  GET messages/batches/b/results  POST messages/batches/b/cancel
POST complete  GET organizations/me  GET organizations/api_keys  POST organizations/invites  GET organizations/users  POST organizations/workspaces
GET organizations/usage_report/messages  GET organizations/cost_report  POST experimental/generate_prompt  POST experimental/improve_prompt`},
		{"anthropic", "anthropic", true, []string{"/v1/", "/anthropic/v1/", "/v1/anthropic/"}, `
GET files  POST files  GET files/f  DELETE files/f  GET files/f/content  GET skills  POST skills  DELETE skills/s  POST skills/s/versions
POST agents  GET agents/a  POST sessions  GET sessions/s/events  POST environments  GET vaults  POST memory_stores  GET user_profiles`},
		{"gemini", "gemini", false, []string{"/v1beta/", "/v1/gemini/v1beta/"}, `
GET files  POST files  GET files/f  DELETE files/f  GET cachedContents  POST cachedContents  PATCH cachedContents/c  DELETE cachedContents/c
GET tunedModels  POST tunedModels  DELETE tunedModels/t  POST tunedModels/t:generateContent  POST tunedModels/t:transferOwnership  GET tunedModels/t/permissions
GET corpora  POST corpora  DELETE corpora/c  POST corpora/c/permissions  POST corpora/c:query  GET fileSearchStores  POST fileSearchStores
POST fileSearchStores/s:importFile  GET fileSearchStores/s/documents  GET batches  DELETE batches/b  POST batches/b:cancel  GET operations/o
POST models/g:predict  POST models/g:predictLongRunning  POST models/g:batchGenerateContent  POST models/g:asyncBatchEmbedContent
POST models/g:generateAnswer  POST models/g:bidiGenerateContent  POST interactions  GET interactions/i  DELETE interactions/i
GET generatedFiles  POST dynamic/d:generateContent  POST auth_tokens  POST openai/chat/completions`},
		{"gemini", "", false, []string{"/upload/v1beta/", "/v1alpha/"}, `POST files  POST auth_tokens`},
		{"dashscope", "qwen", false, []string{"/api/v1/", "/v1/qwen/api/v1/"}, `
POST tokenizer  GET tasks/t  POST tasks/t/cancel  GET tasks/  POST files  GET files  DELETE files/f  GET uploads
POST fine-tunes  GET fine-tunes/f  POST deployments  GET deployments/d  GET models  POST apps/a/completion
POST services/aigc/text2image/image-synthesis  POST services/aigc/image2image/image-synthesis  POST services/aigc/video-generation/video-synthesis
POST services/aigc/image2video/video-synthesis  POST services/aigc/image-generation/generation  POST services/aigc/multimodal-generation/generation
POST services/audio/asr/transcription  POST services/audio/tts/customization  POST services/embeddings/multimodal-embedding/multimodal-embedding
POST services/embeddings/text-embedding/text-embedding  POST services/rerank/text-rerank/text-rerank  POST services/nlp/nlu/understanding`},
	} {
		fields := strings.Fields(family.paths)
		if len(fields)%2 != 0 || len(fields) == 0 {
			t.Fatalf("%s: %d fields", family.name, len(fields))
		}
		for i := 0; i < len(fields); i += 2 {
			for _, prefix := range family.prefixes {
				method, path := fields[i], prefix+fields[i+1]
				status, header, v := ask(method, path, family.version)
				if status != 501 || header.Get("X-Relay-Error") != "not_implemented" || !shapes[family.name](v) {
					t.Errorf("%s %s (%s): %d %v", method, path, family.name, status, v)
				}
			}
		}
	}
	if n := len(m.Requests(mockFilter)); n != 0 {
		t.Errorf("%d requests reached a provider", n)
	}
	k.AtRest(t)
}
