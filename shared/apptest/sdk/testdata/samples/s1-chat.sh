curl https://relay.example/v1/chat/completions \
  -H "Authorization: Bearer $TOKEN_RELAY_API_KEY" \
  -H "Content-Type: application/json" \
  -d '{"model":"auto-chat-balanced","messages":[{"role":"user","content":"hello"}]}'
