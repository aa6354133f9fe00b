package apptest

import (
	"strings"

	"tokenrelay/shared/apptest/mockllm"
)

// TestCatalogue is the catalogue of tests. MOCK stands for the mock provider's URL.
// Every provider is a lane of the mock with its own name, so that a script can be
// meant for one of them (`primary.status=500`), and the mock's meter tells them apart.
// PRICE stands for TestPrice, the same everywhere.
const TestCatalogue = `
providers:
  - {name: openai, protocol: openai, dialect: openai, base_url: MOCK/openai/v1, keys: [{name: main, secret: sk-provider-openai-1111}]}
  - {name: anthropic, protocol: anthropic, base_url: MOCK/anthropic/v1, keys: [{name: main, secret: sk-ant-provider-2222}]}
  - {name: primary, protocol: openai, dialect: openai, base_url: MOCK/primary/v1, keys: [{name: main, secret: sk-provider-primary-3333}]}
  - {name: backup, protocol: openai, dialect: openai, base_url: MOCK/backup/v1, keys: [{name: main, secret: sk-provider-backup-4444}]}
  - {name: claude-primary, protocol: anthropic, base_url: MOCK/claude-primary/v1, keys: [{name: main, secret: sk-ant-provider-5555}]}
  - {name: claude-backup, protocol: anthropic, base_url: MOCK/claude-backup/v1, keys: [{name: main, secret: sk-ant-provider-6666}]}
  - {name: refusing, protocol: openai, dialect: openai, base_url: "http://127.0.0.1:9/v1", keys: [{name: main, secret: sk-provider-refusing-7777}]}
  - {name: two-keys, protocol: openai, dialect: openai, base_url: MOCK/two-keys/v1, keys: [{name: one, secret: sk-provider-first-aaaa}, {name: two, secret: sk-provider-second-bbbb}]}
  - {name: azure, protocol: openai, dialect: azure, base_url: MOCK/azure/v1, keys: [{name: main, secret: sk-provider-azure-0001}]}
  - {name: deepseek, protocol: openai, dialect: deepseek, base_url: MOCK/deepseek/v1, keys: [{name: main, secret: sk-provider-deepseek-0002}]}
  - {name: mistral, protocol: openai, dialect: mistral, base_url: MOCK/mistral/v1, keys: [{name: main, secret: sk-provider-mistral-0003}]}
  - {name: dashscope, protocol: openai, dialect: qwen, base_url: MOCK/dashscope/v1, keys: [{name: main, secret: sk-provider-qwen-0004}]}
  - {name: moonshot, protocol: openai, dialect: moonshot, base_url: MOCK/moonshot/v1, keys: [{name: main, secret: sk-provider-kimi-0005}]}
  - {name: zai, protocol: openai, dialect: zai, base_url: MOCK/zai/paas/v4, keys: [{name: main, secret: sk-provider-glm-0006}]}
  - {name: xai, protocol: openai, dialect: xai, base_url: MOCK/xai/v1, keys: [{name: main, secret: sk-provider-xai-0007}]}
  - {name: groq, protocol: openai, dialect: groq, base_url: MOCK/groq/v1, keys: [{name: main, secret: sk-provider-groq-0008}]}
models:
  - {id: mock-chat, aliases: [mock-alias], context_tokens: 200000, max_output_tokens: 16384, routes: [{provider: openai, model: upstream-chat}], price: PRICE}
  - {id: mock-claude, context_tokens: 200000, max_output_tokens: 16384, routes: [{provider: anthropic, model: upstream-claude}], price: PRICE}
  - {id: mock-failover, context_tokens: 200000, max_output_tokens: 16384, routes: [{provider: primary, model: upstream-primary, priority: 0}, {provider: backup, model: upstream-backup, priority: 1}], price: PRICE}
  - {id: mock-claude-failover, context_tokens: 200000, max_output_tokens: 16384, routes: [{provider: claude-primary, model: upstream-claude-primary, priority: 0}, {provider: claude-backup, model: upstream-claude-backup, priority: 1}], price: PRICE}
  - {id: mock-refused, context_tokens: 200000, max_output_tokens: 16384, routes: [{provider: refusing, model: upstream-refused, priority: 0}, {provider: backup, model: upstream-backup, priority: 1}], price: PRICE}
  - {id: mock-down, context_tokens: 200000, max_output_tokens: 16384, routes: [{provider: refusing, model: upstream-refused}], price: PRICE}
  - {id: mock-two-keys, context_tokens: 200000, max_output_tokens: 16384, routes: [{provider: two-keys, model: upstream-two-keys}], price: PRICE}
  - {id: mock-azure, context_tokens: 200000, max_output_tokens: 16384, routes: [{provider: azure, model: upstream-azure}], price: PRICE}
  - {id: mock-deepseek, context_tokens: 200000, max_output_tokens: 16384, routes: [{provider: deepseek, model: upstream-deepseek}], price: PRICE}
  - {id: mock-mistral, context_tokens: 200000, max_output_tokens: 16384, routes: [{provider: mistral, model: upstream-mistral}], price: PRICE}
  - {id: mock-qwen, context_tokens: 200000, max_output_tokens: 16384, routes: [{provider: dashscope, model: upstream-qwen}], price: PRICE}
  - {id: mock-kimi, context_tokens: 200000, max_output_tokens: 16384, routes: [{provider: moonshot, model: upstream-kimi}], price: PRICE}
  - {id: mock-glm, context_tokens: 200000, max_output_tokens: 16384, routes: [{provider: zai, model: upstream-glm}], price: PRICE}
  - {id: mock-xai, context_tokens: 200000, max_output_tokens: 16384, routes: [{provider: xai, model: upstream-xai}], price: PRICE}
  - {id: mock-groq, context_tokens: 200000, max_output_tokens: 16384, routes: [{provider: groq, model: upstream-groq}], price: PRICE}
  - {id: mock-unpriced, context_tokens: 200000, max_output_tokens: 16384, routes: [{provider: openai, model: upstream-chat}]}
groups:
  - {name: default, models: ["*"], multiplier: "1"}
  - {name: narrow, models: [mock-chat], multiplier: "1"}
`

// TestPrice is the price of the test catalogue's models, USD per million tokens.
const TestPrice = `{input: "2", cache_read: "0.5", cache_write: "2.5", cache_write_1h: "4", output: "10"}`

// Cost is what units cost by TestPrice, in nano-USD. Computed here on its own, to check the relay's own arithmetic;
// exact, because no class costs a fraction of a nano-USD.
func Cost(u mockllm.Units) int64 {
	return u.Input*2_000 + u.CacheRead*500 + u.CacheWrite*2_500 + u.CacheWrite1h*4_000 + u.Output*10_000
}

// fill puts the real values into a catalogue's placeholders.
func fill(catalogue, mockURL string) string {
	return strings.NewReplacer("MOCK", mockURL, "PRICE", TestPrice).Replace(catalogue)
}
