// What all scripts share: where the relay is, how it is spoken to, how a run is summed up.
import http from 'k6/http';
import sse from 'k6/x/sse';

export const base = (__ENV.BASE_URL || 'http://127.0.0.1:8000').replace(/\/$/, '');
export const key = __ENV.KEY || '';
export const model = __ENV.MODEL || 'gpt-5-mini';
// Behind the relay is the project's mock provider: prompts may tell it how to answer.
export const mock = !!__ENV.MOCK;

export function number(name, otherwise) {
  const v = __ENV[name];
  if (v === undefined || v === '') return otherwise;
  if (!(Number(v) >= 0)) throw new Error(`${name}=${v} is no number`);
  return Number(v);
}

// seconds reads DURATION as k6 writes it: 90s, 5m, 1h30m.
export function seconds(otherwise) {
  const v = __ENV.DURATION;
  if (!v) return otherwise;
  if (!/^(\d+h)?(\d+m)?(\d+s)?$/.test(v)) throw new Error(`DURATION=${v} is no duration such as 90s or 1h30m`);
  const part = (unit) => Number((v.match(new RegExp(`(\\d+)${unit}`)) || [0, 0])[1]);
  return part('h') * 3600 + part('m') * 60 + part('s');
}

export function needKey() {
  if (!key) throw new Error('KEY is not set: the key of a customer of the relay (make run prints one)');
}

// prompt is a short question. script is for the mock provider: "out=50;gap=20ms".
export function prompt(script) {
  return 'Say in one sentence why the sky is blue.' + (mock && script ? ` mock:${script}` : '');
}

function body(o) {
  const b = { model: o.model || model, max_tokens: o.maxTokens || 256, messages: [{ role: 'user', content: o.text || prompt(o.script) }] };
  if (o.stream) b.stream = true;
  if (o.stream && !o.anthropic) b.stream_options = { include_usage: true };
  return JSON.stringify(b);
}

function url(o) {
  return base + (o.anthropic ? '/v1/messages' : '/v1/chat/completions');
}

function headers(o) {
  const k = o.key === undefined ? key : o.key;
  return o.anthropic
    ? { 'Content-Type': 'application/json', 'x-api-key': k, 'anthropic-version': '2023-06-01' }
    : { 'Content-Type': 'application/json', Authorization: `Bearer ${k}` };
}

// chat sends a plain request. expect is the status that is no failure, 200 by itself.
export function chat(o = {}) {
  return http.post(url(o), body(o), {
    headers: headers(o),
    tags: Object.assign({ kind: 'plain' }, o.tags),
    timeout: '120s',
    responseCallback: http.expectedStatuses(...(o.expect || [200])),
  });
}

// stream sends a request and reads the stream that comes back (k6/x/sse).
export function stream(o = {}) {
  return sse.post(url(o), body(Object.assign({ stream: true }, o)), {
    headers: headers(o),
    tags: Object.assign({ kind: 'stream' }, o.tags),
    timeout: 300,
  });
}

// answered says whether a plain answer is whole: text and usage.
export function answered(r) {
  if (r.status !== 200) return false;
  try {
    const b = r.json();
    if (b.type === 'message') return b.content.length > 0 && b.usage.output_tokens > 0;
    return b.choices[0].message.content.length > 0 && b.usage.completion_tokens > 0;
  } catch (e) {
    return false;
  }
}

// honest says whether a refusal tells the client what to do: a code, an error in the
// protocol's form, and when to come back.
export function honest(r) {
  const h = {};
  for (const k in r.headers) h[k.toLowerCase()] = r.headers[k];
  let error;
  try {
    error = JSON.parse(r.body).error;
  } catch (e) {
    return false;
  }
  const wait = Number(h['retry-after']);
  return !!h['x-relay-error'] && !!error && !!error.type && !!error.message && wait >= 1 && wait <= 86400;
}

// phase tells which part of a scenario it is: cuts are fractions of it, names one more.
export function phase(progress, cuts, names) {
  for (let i = 0; i < cuts.length; i++) if (progress < cuts[i]) return names[i];
  return names[cuts.length];
}
