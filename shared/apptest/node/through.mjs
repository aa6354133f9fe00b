// Loaded before a program that replays recorded traffic from a server of its own: what
// its SDKs ask of that server they ask of the relay instead. Case N is the model
// "replay-N" there, whose upstream plays the case. The question is cut down to its
// frame: the answer is the recorded one whatever is asked, and what a customer may not
// ask of a shared account is another test's.
import { readFileSync } from 'node:fs';

const { url, token } = JSON.parse(readFileSync(process.env.RELAY_REPLAY_PLAN, 'utf8'));
const real = globalThis.fetch;
const kept = ['stream', 'stream_options', 'n', 'encoding_format', 'max_tokens', 'dimensions'];

function frame(path, body, model) {
  const small = { model };
  for (const k of kept) if (body[k] !== undefined) small[k] = body[k];
  if (path.endsWith('/chat/completions') || path.endsWith('/messages')) small.messages = [{ role: 'user', content: 'x' }];
  if (path.endsWith('/messages')) small.max_tokens ??= 4096;
  if (path.endsWith('/completions') && !path.endsWith('/chat/completions')) small.prompt = 'x';
  if (path.endsWith('/responses') || path.endsWith('/embeddings')) small.input = Array.isArray(body.input) && path.endsWith('/embeddings') ? body.input : 'x';
  // Usage that nobody has asked for is not told in a chunk of its own.
  if (small.stream && path.endsWith('/completions')) small.stream_options = { ...small.stream_options, include_usage: true };
  return JSON.stringify(small);
}

globalThis.fetch = async (input, init = {}) => {
  const asked = new URL(typeof input === 'string' || input instanceof URL ? input : input.url);
  const found = /^\/(\d+)(\/.*)$/.exec(asked.pathname);
  if (asked.hostname !== '127.0.0.1' || !found || found[2].includes('/replayed')) return real(input, init);
  const model = `replay-${found[1]}`;
  const path = found[2].replace(/\/models\/[^:]+:/, `/models/${model}:`);
  const headers = new Headers(init.headers);
  for (const name of ['x-api-key', 'x-goog-api-key']) headers.delete(name);
  headers.set('authorization', `Bearer ${token}`);
  let { body } = init;
  if (typeof body === 'string' && !path.includes(':')) body = frame(path, JSON.parse(body), model);
  return real(url + path + asked.search, { ...init, headers, body });
};
