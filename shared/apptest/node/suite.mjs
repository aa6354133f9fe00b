// The Node SDKs against a relay: openai (the package named by the first argument) and
// @anthropic-ai/sdk, and fetch.
import Anthropic from '@anthropic-ai/sdk';
import { readFileSync } from 'node:fs';
import { check, equal, main, plan, raises, scenario } from './harness.mjs';

const { default: OpenAI } = await import(process.argv[2]);
const { url, keys, models } = plan;
const hello = [{ role: 'user', content: 'Hello, please introduce yourself. mock:out=12' }];
const badToken = keys.ok.slice(0, -6) + '000000';
const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const weather = 'What is the weather in Paris?';

// counted gives options that count the HTTP requests of a client.
function counted() {
  const count = { n: 0 };
  count.fetch = (...args) => {
    count.n++;
    return fetch(...args);
  };
  return count;
}

const options = (key, base, retries, count) => ({
  apiKey: keys[key] ?? key,
  baseURL: url + base,
  maxRetries: retries,
  timeout: 60_000,
  ...(count ? { fetch: count.fetch } : {}),
});
const oai = (key = 'ok', { retries = 0, base = '/v1', count } = {}) => new OpenAI(options(key, base, retries, count));
const ant = (key = 'ok', { retries = 0, base = '/anthropic', count } = {}) => new Anthropic(options(key, base, retries, count));

const chat = (client, { model = models.chat, text = 'hello', ...more } = {}) =>
  client.chat.completions.create({ model, messages: [{ role: 'user', content: text }], ...more });
const message = (client, { model = models.claude, text = 'hello', max_tokens = 64, ...more } = {}) =>
  client.messages.create({ model, max_tokens, messages: [{ role: 'user', content: text }], ...more });

async function all(stream) {
  const list = [];
  for await (const event of await stream) list.push(event);
  return list;
}

// OpenAI

scenario('openai plain', async () => {
  const r = await oai().chat.completions.create({ model: models.chat, messages: hello });
  equal(r.model, models.chat, 'model');
  check(r.choices[0].message.content, 'no content');
  equal(r.choices[0].finish_reason, 'stop');
  equal(r.usage.completion_tokens, 12, 'completion_tokens');
  check(/^req_[0-9A-HJKMNP-TV-Z]{26}$/.test(r._request_id), `request id ${r._request_id}`);
});

scenario('openai stream', async () => {
  let text = '';
  let n = 0;
  for await (const chunk of await oai().chat.completions.create({ model: models.chat, messages: hello, stream: true })) {
    equal(chunk.choices.length, 1, 'choices'); // an unguarded choices[0] must work
    equal(chunk.model, models.chat, 'model');
    text += chunk.choices[0]?.delta?.content ?? '';
    n++;
  }
  check(n >= 12, `${n} chunks`);
  const plain = await oai().chat.completions.create({ model: models.chat, messages: hello });
  equal(text, plain.choices[0].message.content, 'text');
});

scenario('openai stream with usage', async () => {
  const chunks = await all(chat(oai(), { text: hello[0].content, stream: true, stream_options: { include_usage: true } }));
  const last = chunks.pop();
  equal(last.choices, [], 'choices of the last chunk');
  equal(last.usage.completion_tokens, 12, 'completion_tokens');
  check(chunks.every((c) => c.choices.length === 1), 'an empty chunk before the last');
});

const tools = [{ type: 'function', function: { name: 'get_weather', description: 'Weather of a city', parameters } }];

scenario('openai tools', async () => {
  const client = oai();
  const r = await chat(client, { text: `${weather} mock:tools=1`, tools });
  equal(r.choices[0].finish_reason, 'tool_calls');
  const call = r.choices[0].message.tool_calls[0];
  equal(call.function.name, 'get_weather');
  equal(Object.keys(JSON.parse(call.function.arguments)), ['city'], 'arguments');
  const second = await client.chat.completions.create({
    model: models.chat,
    tools,
    messages: [{ role: 'user', content: weather }, r.choices[0].message, { role: 'tool', tool_call_id: call.id, content: '{"celsius": 21}' }],
  });
  equal(second.choices[0].finish_reason, 'stop');
  check(second.choices[0].message.content, "no answer to the tool's result");
});

scenario('openai tools stream', async () => {
  let name = '';
  let args = '';
  let finish;
  for (const chunk of await all(chat(oai(), { text: `${weather} mock:tools=1`, tools, stream: true }))) {
    for (const call of chunk.choices[0].delta.tool_calls ?? []) {
      name += call.function?.name ?? '';
      args += call.function?.arguments ?? '';
    }
    finish = chunk.choices[0].finish_reason ?? finish;
  }
  equal(name, 'get_weather');
  equal(Object.keys(JSON.parse(args)), ['city'], 'arguments');
  equal(finish, 'tool_calls');
});

scenario('openai models', async () => {
  const ids = (await all(oai().models.list())).map((m) => m.id);
  check(ids.includes(models.chat) && ids.includes(models.claude_id), `${models.chat} and ${models.claude_id} are not among ${ids.length} models`);
  equal((await oai().models.retrieve(models.chat)).id, models.chat);
});

scenario('openai embeddings', async () => {
  const r = await oai().embeddings.create({ model: 'text-embedding-3-small', input: ['the sea', 'the land', 'the sea'], dimensions: 32 });
  equal(r.data.length, 3);
  check(r.data.every((e) => e.embedding.length === 32), 'dimensions');
  equal(String(r.data[0].embedding), String(r.data[2].embedding));
  check(String(r.data[0].embedding) !== String(r.data[1].embedding), 'vectors');
  equal(r.model, 'text-embedding-3-small');
  equal(r.usage.prompt_tokens, 6);
});

scenario('openai completions', async () => {
  const whole = await oai().completions.create({ model: models.chat, prompt: 'hello mock:out=4', max_tokens: 50 });
  equal(whole.usage.completion_tokens, 4);
  let text = '';
  for await (const p of await oai().completions.create({ model: models.chat, prompt: 'hello mock:out=4', max_tokens: 50, stream: true })) {
    for (const c of p.choices) text += c.text;
  }
  equal(text, whole.choices[0].text);
});

scenario('openai pinned base url', async () => {
  check((await chat(oai('ok', { base: '/v1/openai' }))).choices[0].message.content, 'no content');
});

function refused(e, status, type, code) {
  equal(e.status, status, 'status');
  equal(e.type, type, 'type');
  equal(e.headers.get('x-relay-error'), code, 'x-relay-error');
  check(e.requestID?.startsWith('req_'), `request id ${e.requestID}`);
}

scenario('openai 401 unknown key', async () => {
  for (const key of [badToken, 'sk-nothing']) {
    refused(await raises(OpenAI.AuthenticationError, () => chat(oai(key))), 401, 'authentication_error', 'invalid_api_key');
  }
});

scenario('openai 401 disabled key', async () => {
  refused(await raises(OpenAI.AuthenticationError, () => chat(oai('disabled'))), 401, 'authentication_error', 'key_disabled');
});

scenario('openai 402', async () => {
  const e = await raises(OpenAI.APIError, () => chat(oai('broke')));
  refused(e, 402, 'insufficient_quota', 'insufficient_balance');
  check(e.message.includes('Insufficient credit balance: balance too low'), e.message);
});

scenario('openai 403 key scope', async () => {
  refused(await raises(OpenAI.PermissionDeniedError, () => chat(oai('scoped'))), 403, 'permission_error', 'model_not_allowed');
});

scenario('openai 403 group', async () => {
  refused(await raises(OpenAI.PermissionDeniedError, () => chat(oai('narrow'))), 403, 'permission_error', 'group_not_allowed');
});

scenario('openai 400 unknown model', async () => {
  const e = await raises(OpenAI.BadRequestError, () => chat(oai(), { model: 'no-such-model' }));
  refused(e, 400, 'invalid_request_error', 'unknown_model_pricing');
  equal(e.param, 'model', 'param');
});

scenario('openai 400 from upstream', async () => {
  const e = await raises(OpenAI.BadRequestError, () => chat(oai(), { text: 'hello mock:error=context_length' }));
  equal(e.type, 'invalid_request_error');
});

scenario('openai 429', async () => {
  const client = oai('rpm_openai');
  await chat(client);
  const e = await raises(OpenAI.RateLimitError, () => chat(client));
  refused(e, 429, 'rate_limit_error', 'rate_limited_rpm');
  const after = e.headers.get('retry-after');
  check(after >= 1 && after <= 61, `retry-after ${after}`);
  equal(e.error, { message: `Rate limit exceeded (rpm). Retry after ${after}s.`, type: 'rate_limit_error', code: 429 }, 'body');
});

scenario('openai 429 provider paused', async () => {
  refused(await raises(OpenAI.RateLimitError, () => chat(oai(), { model: models.paused })), 429, 'rate_limit_error', 'provider_paused');
});

scenario('openai 502', async () => {
  const e = await raises(OpenAI.InternalServerError, () => chat(oai(), { model: models.broken[0], text: 'hello mock:status=500' }));
  refused(e, 502, 'upstream_error', 'upstream_error');
});

scenario('openai 502 stream', async () => {
  const e = await raises(OpenAI.InternalServerError, () => all(chat(oai(), { model: models.broken[1], text: 'hello mock:status=500', stream: true })));
  refused(e, 502, 'upstream_error', 'upstream_error');
});

// untilDown calls until the breaker of the only route is open: 502 while it is tried,
// then 503.
async function untilDown(kind, call) {
  for (let i = 0; i < 10; i++) {
    const e = await raises(kind, call);
    if (e.status === 503) return e;
    equal(e.status, 502, 'status before the breaker opens');
  }
  throw new Error('never 503');
}

scenario('openai 503 all down', async () => {
  const e = await untilDown(OpenAI.InternalServerError, () => chat(oai(), { model: models.down }));
  refused(e, 503, 'server_error', 'no_healthy_upstream');
  check(e.headers.get('retry-after') >= 1, 'retry-after');
});

scenario('openai 503 no provider keys', async () => {
  const e = await raises(OpenAI.InternalServerError, () => chat(oai(), { model: models.keyless }));
  refused(e, 503, 'server_error', 'no_provider_keys');
  check(e.message.includes('No active API keys'), e.message);
});

// waited makes a request while another holds the key's whole minute of tokens: it is
// refused once and waits as it is told.
async function waited(first, second) {
  const events = (await first)[Symbol.asyncIterator]();
  await events.next();
  const start = performance.now();
  await second();
  check(performance.now() - start >= 1000, 'the retry did not wait');
  await events.return();
}

scenario('openai retries 429', async () => {
  const count = counted();
  await waited(chat(oai('tpm_openai'), { text: 'hello mock:out=60;gap=1s', max_tokens: 60000, stream: true }), async () => {
    check((await chat(oai('tpm_openai', { retries: 2, count }), { max_tokens: 3000 })).choices[0].message.content, 'no content');
  });
  equal(count.n, 2, 'requests');
});

scenario('openai does not retry 402 and 403', async () => {
  for (const [key, status] of [['broke', 402], ['scoped', 403]]) {
    const count = counted();
    equal((await raises(OpenAI.APIError, () => chat(oai(key, { retries: 2, count })))).status, status);
    equal(count.n, 1, `requests of a ${status}`);
  }
});

// Beside the conversations

const wav = Buffer.alloc(44 + 96_000); // three seconds
wav.write('RIFF');
wav.writeUInt32LE(36 + 96_000, 4);
wav.write('WAVEfmt ', 8);
wav.writeUInt32LE(16, 16);
wav.writeUInt16LE(1, 20);
wav.writeUInt16LE(1, 22);
wav.writeUInt32LE(16_000, 24);
wav.writeUInt32LE(32_000, 28);
wav.writeUInt16LE(2, 32);
wav.writeUInt16LE(16, 34);
wav.write('data', 36);
wav.writeUInt32LE(96_000, 40);
const sound = () => new File([wav], 'a.wav', { type: 'audio/wav' });
const picture = (name) => new File(['png'], name, { type: 'image/png' });

scenario('openai speech', async () => {
  const r = await oai().audio.speech.create({ model: 'tts-1', voice: 'alloy', input: 'Hello, how are you today?' });
  equal(r.headers.get('content-type'), 'audio/mpeg');
  equal((await r.arrayBuffer()).byteLength, 6000, 'bytes');
});

scenario('openai speech events', async () => {
  const r = await oai().audio.speech.create({ model: 'gpt-4o-mini-tts', voice: 'alloy', input: 'Hello, how are you today?', stream_format: 'sse' });
  const events = (await r.text()).split('\n').filter((l) => l.startsWith('data:')).map((l) => JSON.parse(l.slice(5)));
  equal(events.map((e) => e.type), ['speech.audio.delta', 'speech.audio.delta', 'speech.audio.done']);
  equal(events[2].usage.output_tokens, 40);
});

scenario('openai transcription', async () => {
  let r = await oai().audio.transcriptions.create({ model: 'whisper-1', file: sound() });
  check(r.text, 'no text');
  equal([r.usage.type, r.usage.seconds], ['duration', 3]);
  r = await oai().audio.transcriptions.create({ model: 'whisper-1', file: sound(), response_format: 'verbose_json', timestamp_granularities: ['word', 'segment'] });
  equal(Number(r.duration), 3);
});

scenario('openai transcription text', async () => {
  const r = await oai().audio.transcriptions.create({ model: 'whisper-1', file: sound(), response_format: 'srt' });
  check(String(r).includes('-->'), `got ${JSON.stringify(r)}`);
});

scenario('openai transcription stream', async () => {
  const events = await all(oai().audio.transcriptions.create({ model: 'gpt-4o-transcribe', file: sound(), stream: true, prompt: 'mock:out=5' }));
  const last = events.pop();
  equal(events.map((e) => e.type), Array(5).fill('transcript.text.delta'));
  equal(events.map((e) => e.delta).join(''), last.text);
  equal(last.usage.output_tokens, 5);
});

scenario('openai translation', async () => {
  check((await oai().audio.translations.create({ model: 'whisper-1', file: sound() })).text, 'no text');
});

scenario('openai images', async () => {
  const r = await oai().images.generate({ model: 'gpt-image-1', prompt: 'a cat', n: 2, size: '1024x1024', quality: 'low' });
  equal(r.data.length, 2);
  check(r.data.every((d) => d.b64_json), 'no pictures');
  equal(r.usage.output_tokens, 200);
});

scenario('openai images edit', async () => {
  const r = await oai().images.edit({ model: 'gpt-image-1', image: [picture('a.png'), picture('b.png')], prompt: 'more cats' });
  equal(r.data.length, 1);
  equal(r.usage.input_tokens_details.image_tokens, 100);
});

scenario('openai images stream', async () => {
  const events = await all(oai().images.generate({ model: 'gpt-image-1', prompt: 'a cat', stream: true, partial_images: 2 }));
  equal(events.map((e) => e.type), ['image_generation.partial_image', 'image_generation.partial_image', 'image_generation.completed']);
  equal(events[2].usage.output_tokens, 100);
});

scenario('openai moderations', async () => {
  const r = await oai('broke').moderations.create({ input: 'hello' }); // it costs nothing
  equal(r.model, 'omni-moderation-latest');
  equal(r.results[0].flagged, false);
});

scenario('responses input tokens', async () => {
  const r = await oai().responses.inputTokens.count({ model: models.chat, input: 'hello there' });
  check(r.input_tokens > 0, 'nothing was counted');
});

scenario('anthropic count tokens', async () => {
  for (const model of [models.claude, models.chat]) {
    const r = await ant('broke').messages.countTokens({ model, messages: [{ role: 'user', content: 'Hello there, how are you?' }] });
    check(r.input_tokens >= 3 && r.input_tokens <= 30, `${model}: ${r.input_tokens} tokens`);
  }
});

// Anthropic

const bases = ['/anthropic', ''];

scenario('anthropic plain', async () => {
  for (const base of bases) {
    const r = await message(ant('ok', { base }), { text: 'hello mock:out=12' });
    equal(r.model, models.claude, 'model');
    equal(r.stop_reason, 'end_turn');
    equal(r.usage.output_tokens, 12, 'output_tokens');
    check(r.content[0].text, 'no text');
  }
});

scenario('anthropic stream', async () => {
  for (const base of bases) {
    let text = '';
    let deltas = 0;
    const stream = await ant('ok', { base }).messages.stream({ model: models.claude, max_tokens: 64, messages: [{ role: 'user', content: 'hello mock:out=12' }] });
    for await (const event of stream) {
      if (event.type === 'content_block_delta' && event.delta.type === 'text_delta') {
        text += event.delta.text;
        deltas++;
      }
    }
    equal(deltas, 12, 'deltas');
    const final = await stream.finalMessage();
    equal(final.content[0].text, text, 'text');
    equal(final.model, models.claude, 'model');
    equal(final.usage.output_tokens, 12, 'output_tokens');
    const kinds = (await all(message(ant('ok', { base }), { text: 'hello mock:out=3', stream: true }))).map((e) => e.type);
    equal([kinds[0], kinds.at(-1)], ['message_start', 'message_stop'], 'first and last event');
  }
});

const anthropicTools = [{ name: 'get_weather', description: 'Weather of a city', input_schema: parameters }];

scenario('anthropic tools', async () => {
  for (const base of bases) {
    const client = ant('ok', { base });
    const r = await message(client, { text: `${weather} mock:tools=1`, max_tokens: 256, tools: anthropicTools });
    equal(r.stop_reason, 'tool_use');
    const call = r.content.find((b) => b.type === 'tool_use');
    equal([call.name, Object.keys(call.input)], ['get_weather', ['city']], 'call');
    const second = await client.messages.create({
      model: models.claude,
      max_tokens: 256,
      tools: anthropicTools,
      messages: [
        { role: 'user', content: weather },
        { role: 'assistant', content: r.content },
        { role: 'user', content: [{ type: 'tool_result', tool_use_id: call.id, content: '21 degrees' }] },
      ],
    });
    equal(second.stop_reason, 'end_turn');
    check(second.content[0].text, "no answer to the tool's result");
  }
});

scenario('anthropic tools stream', async () => {
  const stream = ant().messages.stream({
    model: models.claude,
    max_tokens: 256,
    tools: anthropicTools,
    messages: [{ role: 'user', content: `${weather} mock:tools=1` }],
  });
  const call = (await stream.finalMessage()).content.find((b) => b.type === 'tool_use');
  equal([call.name, Object.keys(call.input)], ['get_weather', ['city']], 'call');
});

scenario('anthropic models', async () => {
  for (const base of bases) {
    const list = await all(ant('ok', { base }).models.list({ limit: 1000 }));
    check(list.some((m) => m.id === models.claude_id), `${models.claude_id} is not among ${list.length} models`);
    equal((await ant('ok', { base }).models.retrieve(models.claude)).id, models.claude);
  }
});

function refusedByAnthropic(e, status, type, code) {
  equal(e.status, status, 'status');
  equal(e.headers.get('x-relay-error'), code, 'x-relay-error');
  equal([e.error.type, e.error.error.type], ['error', type], 'type');
  equal(e.error.request_id, e.headers.get('x-request-id'), 'request_id');
}

scenario('anthropic 401', async () => {
  refusedByAnthropic(await raises(Anthropic.AuthenticationError, () => message(ant(badToken))), 401, 'authentication_error', 'invalid_api_key');
  refusedByAnthropic(await raises(Anthropic.AuthenticationError, () => message(ant('disabled'))), 401, 'authentication_error', 'key_disabled');
});

scenario('anthropic 402', async () => {
  refusedByAnthropic(await raises(Anthropic.APIError, () => message(ant('broke'))), 402, 'billing_error', 'insufficient_balance');
});

scenario('anthropic 403', async () => {
  refusedByAnthropic(await raises(Anthropic.PermissionDeniedError, () => message(ant('scoped'))), 403, 'permission_error', 'model_not_allowed');
});

scenario('anthropic 400', async () => {
  const e = await raises(Anthropic.BadRequestError, () => message(ant(), { model: 'no-such-model' }));
  refusedByAnthropic(e, 400, 'invalid_request_error', 'unknown_model_pricing');
  const passed = await raises(Anthropic.BadRequestError, () => message(ant(), { text: 'hello mock:error=context_length' }));
  equal(passed.error.error.type, 'invalid_request_error');
});

scenario('anthropic 429', async () => {
  const client = ant('rpm_anthropic');
  await message(client);
  const e = await raises(Anthropic.RateLimitError, () => message(client));
  refusedByAnthropic(e, 429, 'rate_limit_error', 'rate_limited_rpm');
  const after = e.headers.get('retry-after');
  check(after >= 1 && after <= 61, `retry-after ${after}`);
});

scenario('anthropic 502', async () => {
  const e = await raises(Anthropic.InternalServerError, () => message(ant(), { model: models.broken_claude[0], text: 'hello mock:status=500' }));
  refusedByAnthropic(e, 502, 'api_error', 'upstream_error');
});

scenario('anthropic 502 stream', async () => {
  const broken = () => all(message(ant(), { model: models.broken_claude[1], text: 'hello mock:status=529', stream: true }));
  refusedByAnthropic(await raises(Anthropic.InternalServerError, broken), 502, 'api_error', 'upstream_error');
});

scenario('anthropic 503', async () => {
  const e = await untilDown(Anthropic.InternalServerError, () => message(ant(), { model: models.down_claude }));
  refusedByAnthropic(e, 503, 'api_error', 'no_healthy_upstream');
});

scenario('anthropic retries 429', async () => {
  const count = counted();
  await waited(message(ant('tpm_anthropic'), { text: 'hello mock:out=60;gap=1s', max_tokens: 60000, stream: true }), async () => {
    check((await message(ant('tpm_anthropic', { retries: 2, count }), { max_tokens: 3000 })).content[0].text, 'no text');
  });
  equal(count.n, 2, 'requests');
});

scenario('anthropic does not retry 402 and 403', async () => {
  for (const [key, status] of [['broke', 402], ['scoped', 403]]) {
    const count = counted();
    equal((await raises(Anthropic.APIError, () => message(ant(key, { retries: 2, count })))).status, status);
    equal(count.n, 1, `requests of a ${status}`);
  }
});

// Responses: by a provider that speaks it, and translated.

const responders = [models.chat, models.claude];
const flatTools = [{ type: 'function', name: 'get_weather', description: 'Weather of a city', parameters, strict: false }];

// Models of providers of other protocols: what the SDK reports is what the mock served.
const crossed = 'hello mock:out=12;in=40;cached=5';

scenario('openai other protocols', async () => {
  for (const model of [models.claude, models.gemini, models.qwen]) {
    const r = await chat(oai(), { model, text: crossed });
    equal(r.model, model, 'model');
    const usage = (u) => [u.prompt_tokens, u.completion_tokens, u.prompt_tokens_details.cached_tokens];
    equal(usage(r.usage), [40, 12, 5], `${model}: usage`);
    equal(r.choices[0].finish_reason, 'stop', model);
    const chunks = await all(chat(oai(), { model, text: crossed, stream: true, stream_options: { include_usage: true } }));
    equal(usage(chunks.pop().usage), [40, 12, 5], `${model}: usage of the stream`);
    equal(chunks.map((c) => c.choices[0].delta.content ?? '').join(''), r.choices[0].message.content, `${model}: text`);
    const calls = [];
    for (const c of await all(chat(oai(), { model, text: `${weather} mock:tools=1`, tools, stream: true }))) {
      for (const x of c.choices[0].delta.tool_calls ?? []) {
        const y = (calls[x.index] ??= { id: '', name: '', args: '' });
        y.id += x.id ?? '';
        y.name += x.function?.name ?? '';
        y.args += x.function?.arguments ?? '';
      }
    }
    equal(calls.map((c) => [c.name, c.args]), [['get_weather', '{"city":"mock"}']], `${model}: calls`);
    const second = await oai().chat.completions.create({
      model,
      tools,
      messages: [
        { role: 'user', content: weather },
        { role: 'assistant', content: null, tool_calls: calls.map((c) => ({ id: c.id, type: 'function', function: { name: c.name, arguments: c.args } })) },
        { role: 'tool', tool_call_id: calls[0].id, content: '21' },
      ],
    });
    check(second.choices[0].finish_reason === 'stop' && second.choices[0].message.content, `${model}: no answer to the tool's result`);
  }
  for (const model of [models.gemini, models.qwen]) {
    const r = await chat(oai(), { model, text: 'hello mock:out=4', n: 2, logprobs: true, top_logprobs: 2 });
    equal(r.choices.map((c) => [c.index, c.finish_reason]), [[0, 'stop'], [1, 'stop']], `${model}: choices`);
    equal(r.choices[1].logprobs.content.map((l) => l.token).join(''), r.choices[1].message.content, `${model}: tokens`);
    equal(r.usage.completion_tokens, 8, `${model}: completion_tokens`);
  }
});

scenario('anthropic other protocols', async () => {
  const own = [{ name: 'get_weather', input_schema: parameters }];
  for (const model of [models.chat, models.gemini, models.qwen]) {
    const r = await message(ant(), { model, text: crossed });
    const usage = (u) => [u.input_tokens, u.cache_read_input_tokens, u.output_tokens];
    equal(usage(r.usage), [35, 5, 12], `${model}: usage`);
    const streamed = await ant().messages.stream({ model, max_tokens: 64, messages: [{ role: 'user', content: crossed }] }).finalMessage();
    equal(streamed.content.map((b) => b.text), r.content.map((b) => b.text), `${model}: text`);
    equal(streamed.usage.output_tokens, 12, `${model}: usage of the stream`);
    equal(streamed.stop_reason, 'end_turn', model);
    const called = await ant().messages.stream({ model, max_tokens: 64, tools: own, messages: [{ role: 'user', content: `${weather} mock:tools=1` }] }).finalMessage();
    const use = called.content.find((b) => b.type === 'tool_use');
    equal([use.name, use.input, called.stop_reason], ['get_weather', { city: 'mock' }, 'tool_use'], `${model}: call`);
    const second = await ant().messages.create({
      model,
      max_tokens: 64,
      tools: own,
      messages: [
        { role: 'user', content: weather },
        { role: 'assistant', content: called.content },
        { role: 'user', content: [{ type: 'tool_result', tool_use_id: use.id, content: '21' }] },
      ],
    });
    equal(second.stop_reason, 'end_turn', `${model}: answer to the tool's result`);
  }
});

scenario('responses other protocols', async () => {
  for (const model of [models.claude, models.gemini, models.qwen]) {
    const r = await oai().responses.create({ model, input: crossed });
    const usage = (u) => [u.input_tokens, u.output_tokens, u.input_tokens_details.cached_tokens];
    equal(usage(r.usage), [40, 12, 5], `${model}: usage`);
    const events = await all(oai().responses.create({ model, input: crossed, stream: true }));
    equal(usage(events.at(-1).response.usage), [40, 12, 5], `${model}: usage of the stream`);
    equal(events.filter((e) => e.type === 'response.output_text.delta').map((e) => e.delta).join(''), r.output_text, `${model}: text`);
  }
});

scenario('responses plain', async () => {
  for (const model of responders) {
    const r = await oai().responses.create({ model, input: 'hello mock:out=12', instructions: 'Be brief.', max_output_tokens: 100, metadata: { k: 'v' } });
    equal([r.model, r.status, r.object], [model, 'completed', 'response']);
    check(r.output_text, 'no text');
    equal([r.usage.output_tokens, r.usage.total_tokens], [12, r.usage.input_tokens + 12], 'usage');
    const cut = await oai().responses.create({ model, input: [{ role: 'user', content: 'hello mock:out=50' }], max_output_tokens: 16 });
    equal([cut.status, cut.incomplete_details.reason], ['incomplete', 'max_output_tokens']);
  }
});

scenario('responses stream', async () => {
  for (const model of responders) {
    const plain = await oai().responses.create({ model, input: 'hello mock:out=12' });
    const events = await all(oai().responses.create({ model, input: 'hello mock:out=12', stream: true }));
    equal(events.map((e) => e.sequence_number), events.map((_, i) => i), 'sequence numbers');
    equal([events[0].type, events[1].type, events.at(-1).type], ['response.created', 'response.in_progress', 'response.completed']);
    const text = events.filter((e) => e.type === 'response.output_text.delta').map((e) => e.delta).join('');
    equal(text, plain.output_text, 'text');
    equal(events.at(-1).response.usage.output_tokens, 12, 'output_tokens');
    // The helper puts the response together by the events alone.
    const stream = oai().responses.stream({ model, input: 'hello mock:out=12;reasoning=3' });
    const kinds = new Set((await all(stream)).map((e) => e.type));
    check(['response.output_item.added', 'response.content_part.added', 'response.output_text.done', 'response.output_item.done'].every((k) => kinds.has(k)), [...kinds].join());
    check((await stream.finalResponse()).output_text, 'no text');
  }
});

scenario('responses tools', async () => {
  for (const model of responders) {
    for (const stream of [false, true]) {
      const ask = { model, input: [{ role: 'user', content: `${weather} mock:tools=1;reasoning=2` }], tools: flatTools };
      const r = stream ? await oai().responses.stream(ask).finalResponse() : await oai().responses.create(ask);
      const call = r.output.find((o) => o.type === 'function_call');
      equal([call.name, Object.keys(JSON.parse(call.arguments))], ['get_weather', ['city']], 'call');
      const back = r.output.map(({ parsed_arguments, ...o }) => o);
      const second = await oai().responses.create({
        model,
        tools: flatTools,
        input: [{ role: 'user', content: weather }, ...back, { type: 'function_call_output', call_id: call.call_id, output: '21 degrees' }],
      });
      check(second.output_text, "no answer to the tool's result");
    }
  }
});

scenario('responses structured', async () => {
  const schema = { type: 'object', properties: { a: { type: 'integer' } }, required: ['a'], additionalProperties: false };
  for (const model of responders) {
    const r = await oai().responses.create({ model, input: 'give', text: { format: { type: 'json_schema', name: 'n', schema, strict: true } } });
    equal(JSON.parse(r.output_text), { a: 1 });
  }
});

scenario('responses stored', async () => {
  const client = oai();
  for (const model of responders) {
    const first = await client.responses.create({ model, input: 'My name is Ada. mock:out=5' });
    const again = await client.responses.retrieve(first.id);
    equal([again.id, again.output_text, again.usage.output_tokens], [first.id, first.output_text, 5]);
    const second = await client.responses.create({ model, input: 'And now?', previous_response_id: first.id });
    check(second.usage.input_tokens > first.usage.total_tokens, 'what was said before was not read');
    equal((await all(client.responses.inputItems.list(second.id))).map((i) => i.content[0].text), ['And now?']);
    await raises(OpenAI.BadRequestError, () => client.responses.cancel(first.id));
    await client.responses.delete(first.id);
    await raises(OpenAI.NotFoundError, () => client.responses.retrieve(first.id));
    await raises(OpenAI.NotFoundError, () => client.responses.create({ model, input: 'x', previous_response_id: first.id }));
    const other = await client.responses.create({ model, input: 'x', store: false });
    await raises(OpenAI.NotFoundError, () => client.responses.retrieve(other.id));
  }
});

scenario('responses typed errors', async () => {
  const ask = (key, more) => oai(key).responses.create({ model: models.chat, input: 'hello', ...more });
  refused(await raises(OpenAI.APIError, () => ask('broke')), 402, 'insufficient_quota', 'insufficient_balance');
  refused(await raises(OpenAI.PermissionDeniedError, () => ask('scoped')), 403, 'permission_error', 'model_not_allowed');
  const e = await raises(OpenAI.BadRequestError, () => ask('ok', { background: true }));
  refused(e, 400, 'invalid_request_error', 'invalid_request');
  equal(e.param, 'background', 'param');
  await raises(OpenAI.BadRequestError, () => ask('ok', { tools: [{ type: 'file_search', vector_store_ids: ['vs_1'] }] }));
  await raises(OpenAI.NotFoundError, () => ask('ok', { previous_response_id: 'resp_of_another' }));
  for (const model of responders) {
    await raises(OpenAI.APIError, () => all(ask('ok', { model, input: 'hello mock:out=50;error_at=12;error=server', stream: true })));
  }
});

// fetch

scenario('fetch stream', async () => {
  const res = await fetch(`${url}/v1/openai/chat/completions`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${keys.ok}`, 'Content-Type': 'application/json', Accept: 'text/event-stream' },
    body: JSON.stringify({ model: 'gpt-4o', messages: [{ role: 'user', content: 'Stream a tiny haiku.' }], stream: true }),
  });
  equal(res.status, 200);
  equal([res.headers.get('cache-control'), res.headers.get('x-accel-buffering')], ['no-cache', 'no'], 'headers');
  const text = await res.text();
  check(text.startsWith('data: {') && text.endsWith('data: [DONE]\n\n'), text);
});

const version = (name) => JSON.parse(readFileSync(`../node_modules/${name}/package.json`)).version;
console.log(JSON.stringify({ versions: { node: process.version, openai: version(process.argv[2]), '@anthropic-ai/sdk': version('@anthropic-ai/sdk') } }));
await main();
