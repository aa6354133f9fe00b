import { ApiError, del, get, post, type Call, type CreatedKey, type Page } from './api';
import { events } from './sse';

// Calls of the playground. A session is no key: the page makes one with the visitor's
// consent, keeps it in memory only, and revokes it when it is left.

export interface Message {
  role: 'system' | 'user' | 'assistant';
  content: string;
}

export interface Ask {
  model: string;
  messages: Message[];
  temperature?: number;
  maxTokens?: number;
}

/** Hour is how long a key of the playground lives, whatever becomes of the page. */
const hour = 3_600_000;
export const cap = '1';

let held: { id: string; token: string; owner: string; until: number } | null = null;

/** holding tells whether this page holds a key of the owner that is good for a while. */
export const holding = (owner: string): boolean => held !== null && held.owner === owner && held.until > Date.now() + 60_000;

export async function begin(owner: string, name: string): Promise<void> {
  await end();
  const until = Date.now() + hour;
  const made = await post<CreatedKey>('/openapi/v1/api-keys', { name, monthly_cap: cap, max_concurrency: 8, expires_at: new Date(until).toISOString() });
  held = { id: made.id, token: made.token, owner, until };
}

/** end revokes the key; also while the page is being left. */
export async function end(): Promise<void> {
  const key = held;
  held = null;
  if (key !== null) await del(`/openapi/v1/api-keys/${key.id}`, { keepalive: true }).catch(() => undefined);
}

/** body is the request as any client would send it. */
export function body(ask: Ask, stream: boolean): Record<string, unknown> {
  // OpenAI's reasoning models know the newer name only, others the older one.
  const limit = /^(gpt-5|o\d)/.test(ask.model) ? 'max_completion_tokens' : 'max_tokens';
  return {
    model: ask.model,
    messages: ask.messages,
    ...(ask.temperature === undefined ? {} : { temperature: ask.temperature }),
    ...(ask.maxTokens === undefined ? {} : { [limit]: ask.maxTokens }),
    ...(stream ? { stream: true } : {}),
  };
}

export interface Progress {
  text: string;
  thought: string;
  firstMs: number | null;
  totalMs: number | null;
  requestId: string;
}

interface Chunk {
  choices?: { delta?: { content?: string | null; reasoning_content?: string | null; reasoning?: string | null } }[];
  error?: { message?: string; code?: string | number; relay_code?: string };
}

/** run streams one answer and tells how far it is after each piece. */
export async function run(ask: Ask, tell: (p: Progress) => void, signal: AbortSignal): Promise<Progress> {
  if (held === null) throw new Error('no key is held');
  const start = performance.now();
  const response = await fetch('/v1/chat/completions', {
    method: 'POST',
    headers: { authorization: `Bearer ${held.token}`, 'content-type': 'application/json' },
    credentials: 'omit',
    body: JSON.stringify(body(ask, true)),
    signal,
  });
  const p: Progress = { text: '', thought: '', firstMs: null, totalMs: null, requestId: response.headers.get('x-request-id') ?? '' };
  if (!response.ok || response.body === null) {
    let message = `The server answered ${response.status}.`;
    try {
      message = ((await response.json()) as Chunk).error?.message ?? message;
    } catch {
      // Not from the relay.
    }
    throw new ApiError(response.status, response.headers.get('x-relay-error') ?? '', message, p.requestId);
  }
  for await (const { data } of events(response.body)) {
    if (data === '[DONE]') continue;
    const chunk = JSON.parse(data) as Chunk;
    if (chunk.error) throw new ApiError(502, chunk.error.relay_code ?? '', chunk.error.message ?? 'The answer broke off.', p.requestId);
    const delta = chunk.choices?.[0]?.delta;
    p.text += delta?.content ?? '';
    p.thought += delta?.reasoning_content ?? delta?.reasoning ?? '';
    if (p.firstMs === null && (p.text !== '' || p.thought !== '')) p.firstMs = performance.now() - start;
    tell({ ...p });
  }
  p.totalMs = performance.now() - start;
  tell({ ...p });
  return p;
}

/** settled waits until a request is in the books, for a few seconds. */
export async function settled(requestId: string): Promise<Call | null> {
  for (let i = 0; i < 12; i++) {
    await new Promise((done) => setTimeout(done, 400 + 100 * i));
    const found = await get<Page<Call>>('/openapi/v1/billing/detail', { request_id: requestId }).catch(() => null);
    if (found === null) return null;
    if (found.items[0]) return found.items[0];
  }
  return null;
}
