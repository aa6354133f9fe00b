const BASE_URL = process.env.BASE_URL || "http://127.0.0.1:8000";
const API_KEY = process.env.APP_API_KEY;
const res = await fetch(`${BASE_URL}/v1/openai/chat/completions`, {
  method: "POST",
  headers: {
    Authorization: `Bearer ${API_KEY}`,
    "Content-Type": "application/json",
    "Accept": "text/event-stream",
  },
  body: JSON.stringify({
    model: "gpt-4o",
    messages: [{ role: "user", content: "Stream a tiny haiku." }],
    stream: true,
  }),
});
for await (const chunk of res.body) process.stdout.write(chunk.toString());
