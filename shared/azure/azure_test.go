package azure

import "testing"

func TestPath(t *testing.T) {
	for _, c := range []struct{ base, endpoint, version, want string }{
		{"", "/chat/completions", "", "/openai/deployments/gpt%2F5.2/chat/completions?api-version=2024-10-21"},
		{"/openai", "/chat/completions", "2025-01-01-preview", "/openai/deployments/gpt%2F5.2/chat/completions?api-version=2025-01-01-preview"},
		{"/openai/deployments/mine", "/embeddings", "", "/openai/deployments/mine/embeddings?api-version=2024-10-21"},
		{"/openai/v1", "/chat/completions", "", "/openai/v1/chat/completions"},
		{"/openai/v1", "/responses", "preview", "/openai/v1/responses?api-version=preview"},
		{"/openai", "/responses", "2025-03-01-preview", "/openai/responses?api-version=2025-03-01-preview"},
		{"POST /gateway/openai", "/completions", "", "POST /gateway/openai/deployments/gpt%2F5.2/completions?api-version=2024-10-21"},
	} {
		if got := string(AppendPath([]byte(c.base), "gpt/5.2", c.endpoint, c.version)); got != c.want {
			t.Errorf("%s + %s: %s; want %s", c.base, c.endpoint, got, c.want)
		}
	}
}
