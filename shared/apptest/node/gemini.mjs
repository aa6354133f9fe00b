// Google's Node SDK against a relay.
import { ApiError, FunctionCallingConfigMode, GoogleGenAI } from '@google/genai';
import { readFileSync } from 'node:fs';
import { check, equal, main, plan, raises, scenario } from './harness.mjs';

const { url, keys, models } = plan;
const badToken = keys.ok.slice(0, -6) + '000000';
const weather = 'What is the weather in Paris?';
const served = [models.gemini, models.chat, models.claude, models.qwen]; // by Google, OpenAI, Anthropic and DashScope

const google = (key = 'ok') => new GoogleGenAI({ apiKey: keys[key] ?? key, httpOptions: { baseUrl: url, timeout: 60_000 } });
const generate = (client, { model = models.gemini, contents = 'hello', ...config } = {}) =>
  client.models.generateContent({ model, contents, config });

async function all(stream) {
  const list = [];
  for await (const chunk of await stream) list.push(chunk);
  return list;
}

scenario('gemini plain', async () => {
  for (const model of served) {
    const r = await generate(google(), { model, contents: 'hello mock:out=12' });
    equal(r.modelVersion, model, 'model');
    check(r.text, 'no text');
    equal(r.candidates[0].finishReason, 'STOP');
    equal(r.usageMetadata.candidatesTokenCount, 12, 'candidatesTokenCount');
    equal(r.usageMetadata.totalTokenCount, r.usageMetadata.promptTokenCount + 12, 'totalTokenCount');
  }
});

scenario('gemini stream', async () => {
  for (const model of served) {
    const chunks = await all(google().models.generateContentStream({ model, contents: 'hello mock:out=12' }));
    check(chunks.length >= 12, `${chunks.length} chunks`);
    const text = chunks.map((c) => c.text ?? '').join('');
    equal(text, (await generate(google(), { model, contents: 'hello mock:out=12' })).text, 'text');
    const last = chunks.at(-1);
    equal(last.candidates[0].finishReason, 'STOP');
    equal(last.usageMetadata.candidatesTokenCount, 12, 'candidatesTokenCount');
    check(chunks.every((c) => c.modelVersion === model), 'model');
  }
});

scenario('gemini thoughts', async () => {
  for (const model of served) {
    const chunks = await all(
      google().models.generateContentStream({
        model,
        contents: 'hello mock:out=4;reasoning=6',
        config: { maxOutputTokens: 9000, thinkingConfig: { includeThoughts: true, thinkingBudget: 2048 } },
      }),
    );
    const parts = chunks.flatMap((c) => c.candidates?.[0]?.content?.parts ?? []);
    if (model !== models.chat) check(parts.some((p) => p.thought && p.text), `${model}: no thought`); // OpenAI shows none
    check(parts.some((p) => !p.thought && p.text), `${model}: no text`);
    const u = chunks.at(-1).usageMetadata;
    equal(u.candidatesTokenCount + (u.thoughtsTokenCount ?? 0), 10, `${model}: output`);
  }
});

const tools = [
  {
    functionDeclarations: [
      { name: 'get_weather', description: 'Weather of a city', parameters: { type: 'OBJECT', properties: { city: { type: 'STRING' } }, required: ['city'] } },
      { name: 'get_time', parametersJsonSchema: { type: 'object', properties: {} } },
    ],
  },
];

scenario('gemini tools', async () => {
  for (const model of [...served, models.gemini_3]) {
    const client = google();
    const r = await generate(client, {
      model,
      contents: `${weather} mock:tools=2`,
      tools,
      toolConfig: { functionCallingConfig: { mode: FunctionCallingConfigMode.AUTO } },
    });
    const calls = r.functionCalls;
    equal(calls.map((c) => c.name), ['get_weather', 'get_time'], `${model}: calls`);
    equal(Object.keys(calls[0].args), ['city'], 'args');
    const second = await client.models.generateContent({
      model,
      config: { tools },
      contents: [
        { role: 'user', parts: [{ text: weather }] },
        r.candidates[0].content, // with its signatures
        { role: 'user', parts: calls.map((c) => ({ functionResponse: { id: c.id, name: c.name, response: { output: 'fine' } } })) },
      ],
    });
    equal(second.candidates[0].finishReason, 'STOP');
    check(second.text, "no answer to the tools' results");
  }
});

scenario('gemini tools stream', async () => {
  for (const model of served) {
    const chunks = await all(google().models.generateContentStream({ model, contents: `${weather} mock:tools=2`, config: { tools } }));
    equal(chunks.flatMap((c) => c.functionCalls ?? []).map((c) => c.name), ['get_weather', 'get_time'], `${model}: calls`);
  }
});

scenario('gemini chat', async () => {
  for (const model of served) {
    const session = google().chats.create({ model, config: { systemInstruction: 'Be brief.' } });
    check((await session.sendMessage({ message: 'hello mock:out=3' })).text, 'no text');
    check((await all(await session.sendMessageStream({ message: 'and again' }))).some((c) => c.text), 'no text');
    check((await session.sendMessage({ message: 'and once more' })).text, 'no text');
  }
});

scenario('gemini structured output', async () => {
  for (const model of served) {
    const r = await generate(google(), {
      model,
      contents: 'how many?',
      responseMimeType: 'application/json',
      responseSchema: { type: 'OBJECT', properties: { n: { type: 'INTEGER' } }, required: ['n'] },
    });
    equal(Number.isInteger(JSON.parse(r.text).n), true, `${model}: ${r.text}`);
  }
});

scenario('gemini picture', async () => {
  for (const model of served.filter((m) => m !== models.qwen)) {
    const r = await generate(google(), {
      model,
      contents: [{ role: 'user', parts: [{ text: 'what is it? mock:out=3' }, { inlineData: { mimeType: 'image/png', data: 'iVBORw0KGgo=' } }] }],
    });
    check(r.text, 'no text');
  }
});

scenario('gemini output cap', async () => {
  for (const model of served) {
    const r = await generate(google(), { model, contents: 'hello mock:out=50', maxOutputTokens: 5 });
    equal(r.candidates[0].finishReason, 'MAX_TOKENS', model);
    equal(r.usageMetadata.candidatesTokenCount, 5, 'candidatesTokenCount');
  }
});

scenario('gemini count tokens', async () => {
  for (const model of served) {
    const r = await google().models.countTokens({ model, contents: 'The quick brown fox jumps over the lazy dog.' });
    check(r.totalTokens > 5 && r.totalTokens < 30, `${model}: ${r.totalTokens}`);
  }
});

scenario('gemini embeddings', async () => {
  const ask = (model) => google().models.embedContent({ model, contents: ['the sea', 'the land', 'the sea'], config: { outputDimensionality: 8 } });
  for (const model of ['gemini-embedding-001', 'text-embedding-3-small']) {
    const { embeddings } = await ask(model);
    equal(embeddings.map((e) => e.values.length), [8, 8, 8], model);
    equal(embeddings[0].values, embeddings[2].values, model);
    check(embeddings[0].values[0] !== embeddings[1].values[0], 'one vector for two texts');
  }
});

scenario('gemini models', async () => {
  const names = (await all(google().models.list({ config: { pageSize: 5 } }))).map((m) => m.name);
  for (const id of [models.gemini, models.chat, models.claude_id]) check(names.includes(`models/${id}`), `${id} is not among ${names.length} models`);
  equal(new Set(names).size, names.length, 'different models');
  const m = await google().models.get({ model: models.gemini });
  check(m.name === `models/${models.gemini}` && m.inputTokenLimit > 1000 && m.outputTokenLimit > 1000, JSON.stringify(m));
});

async function refused(status, code, run) {
  const e = await raises(ApiError, run);
  equal(e.status, status, 'status');
  const { error } = JSON.parse(e.message);
  equal([error.code, error.status], [status, code], 'error');
  return error.message;
}

scenario('gemini 401', async () => {
  await refused(401, 'UNAUTHENTICATED', () => generate(google(badToken)));
  await refused(401, 'UNAUTHENTICATED', () => generate(google('disabled')));
});

scenario('gemini 402', async () => {
  check((await refused(402, 'RESOURCE_EXHAUSTED', () => generate(google('broke')))).includes('Insufficient credit balance'), 'message');
});

scenario('gemini 403', async () => {
  await refused(403, 'PERMISSION_DENIED', () => generate(google('scoped')));
  await refused(403, 'PERMISSION_DENIED', () => generate(google('narrow')));
});

scenario('gemini 400', async () => {
  await refused(400, 'INVALID_ARGUMENT', () => generate(google(), { model: 'no-such-model' }));
  await refused(400, 'INVALID_ARGUMENT', () => generate(google(), { contents: 'hello mock:error=context_length' }));
  await refused(400, 'INVALID_ARGUMENT', () => generate(google(), { tools: [{ googleSearch: {} }] }));
});

scenario('gemini 429', async () => {
  await generate(google('rpm_openai'));
  await refused(429, 'RESOURCE_EXHAUSTED', () => generate(google('rpm_openai')));
});

scenario('gemini 501', async () => {
  await refused(501, 'UNIMPLEMENTED', () => google().caches.list());
});

scenario('gemini 502', async () => {
  await refused(502, 'UNAVAILABLE', () => generate(google(), { model: models.broken[0], contents: 'hello mock:status=500' }));
  await refused(502, 'UNAVAILABLE', () => all(google().models.generateContentStream({ model: models.broken[1], contents: 'hello mock:status=500' })));
});

scenario('gemini 503', async () => {
  await refused(503, 'UNAVAILABLE', () => generate(google(), { model: models.keyless }));
});

const version = JSON.parse(readFileSync(new URL('../node_modules/@google/genai/package.json', import.meta.url))).version;
console.log(JSON.stringify({ versions: { '@google/genai': version, node: process.version } }));
await main();
