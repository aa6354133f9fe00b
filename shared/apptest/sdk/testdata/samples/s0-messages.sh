curl https://relay.example/anthropic/v1/messages \
  -H "x-api-key: $TOKEN_RELAY_KEY" \
  -H "Content-Type: application/json" \
  -d '{
    "model": "claude-sonnet-4.5",
    "max_tokens": 512,
    "stream": true,
    "messages": [
      {"role": "user", "content": "Hi in one sentence"}
    ]
  }'
