curl -N "http://127.0.0.1:8000/v1/openai/chat/completions" \
  -H "Authorization: Bearer $APP_API_KEY" \
  -H "Content-Type": "application/json" \
  -H "Accept": "text/event-stream" \
  -d '{
    "model": "gpt-4o",
    "messages": [{"role":"user","content":"Stream a tiny haiku."}],
    "stream": true
  }'
