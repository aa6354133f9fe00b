import OpenAI from 'openai';

const client = new OpenAI({
  apiKey: process.env.TOKENROUTE_API_KEY,
  baseURL: 'https://relay.example/v1',
});

const resp = await client.chat.completions.create({
  model: 'gpt-4o-mini',  // or claude-sonnet-4-5, gemini-2.5-pro, etc.
  messages: [{ role: 'user', content: 'Hello' }],
});
console.log(resp.choices[0].message.content);
