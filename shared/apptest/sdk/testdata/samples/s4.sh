curl -X POST "http://127.0.0.1:8000/v1/openai/chat/completions" \
  -H "Authorization: Bearer $APP_API_KEY" \
  -H "Content-Type: application/json" \
  -d '{
    "model": "gpt-4o",
    "messages": [{"role":"user","content":"Tell me a joke."}],
    "max_tokens": 50
  }'
