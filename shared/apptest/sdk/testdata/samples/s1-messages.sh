curl https://relay.example/v1/messages \
  -H "Authorization: Bearer $TOKEN_RELAY_API_KEY" \
  -H "Content-Type: application/json" \
  -d '{"model":"auto-chat-balanced","max_tokens":512,"messages":[{"role":"user","content":"hello"}]}'
