// The envelope of every answer, and the one place that speaks HTTP.

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly requestId: string,
    /** the member of what was sent that is at fault, '' where none is named */
    readonly field = '',
  ) {
    super(message);
    this.name = 'ApiError';
  }
}

interface Envelope<T> {
  request_id: string;
  success: boolean;
  data: T;
  code: string | null;
  message: string | null;
}

// The guard goes with every change; the server refuses a change without it.
let guard = '';
export function setGuard(value: string): void {
  guard = value;
}

/** withGuard adds it to a change. */
export function withGuard(headers: Headers, method: string): void {
  if (method !== 'GET' && method !== 'HEAD') headers.set('x-relay-guard', guard);
}

/** refused makes an error of an answer that is none, and notes the end of a session. */
export function refused(response: Response, envelope: { code?: string | null; message?: string | null; request_id?: string } | undefined): ApiError {
  if (response.status === 401 && !new URL(response.url || 'http://x/', 'http://x').pathname.startsWith('/console/api/')) onSignedOut();
  return new ApiError(
    response.status,
    envelope?.code ?? `http_${response.status}`,
    envelope?.message ?? `The server answered ${response.status}.`,
    envelope?.request_id ?? response.headers.get('x-request-id') ?? '',
    response.headers.get('x-relay-param') ?? '',
  );
}

// What is to happen when the server says that the session has ended.
let onSignedOut: () => void = () => undefined;
export function whenSignedOut(f: () => void): void {
  onSignedOut = f;
}

export type Query = Record<string, string | number | boolean | null | undefined>;

export function withQuery(path: string, query?: Query): string {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== undefined && value !== null && value !== '') params.set(name, String(value));
  }
  const text = params.toString();
  return text === '' ? path : `${path}?${text}`;
}

export async function call<T>(method: string, path: string, body?: unknown, signal?: AbortSignal, keepalive = false): Promise<T> {
  const headers: Record<string, string> = { accept: 'application/json' };
  if (body !== undefined) headers['content-type'] = 'application/json';
  const sent = new Headers(headers);
  withGuard(sent, method);
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      headers: sent,
      credentials: 'same-origin',
      keepalive,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(signal ? { signal } : {}),
    });
  } catch (cause) {
    if (signal?.aborted) throw cause;
    throw new ApiError(0, 'unreachable', 'The server cannot be reached.', '');
  }
  let envelope: Partial<Envelope<T>> = {};
  try {
    envelope = (await response.json()) as Envelope<T>;
  } catch {
    // Something in between answered with a page of its own.
  }
  if (!response.ok || envelope.success !== true) {
    throw refused(response, envelope);
  }
  return envelope.data as T;
}

export const get = <T>(path: string, query?: Query, signal?: AbortSignal): Promise<T> => call<T>('GET', withQuery(path, query), undefined, signal);
export const post = <T>(path: string, body?: unknown): Promise<T> => call<T>('POST', path, body);
export const put = <T>(path: string, body: unknown): Promise<T> => call<T>('PUT', path, body);
export const patch = <T>(path: string, body: unknown): Promise<T> => call<T>('PATCH', path, body);
export const del = <T>(path: string, options: { keepalive?: boolean } = {}): Promise<T> => call<T>('DELETE', path, undefined, undefined, options.keepalive);

// ---- what the server sends --------------------------------------------------------

/** USD as the server wrote it: a decimal number, exact. */
export type Decimal = string;
/** RFC 3339, UTC. */
export type Moment = string;

export interface Visitor {
  site: { brand: string; contact: string; public_url: string; credits_per_usd: number; registration: boolean; mails: boolean };
  user: { email: string; operator: boolean; role: string; client_id?: string; client_name?: string } | null;
  guard: string;
}

export interface Page<T> {
  items: T[];
  next_cursor: string | null;
}

export interface Balance {
  currency: string;
  balance: Decimal;
  reserved: Decimal;
  available: Decimal;
}

export type KeyState = 'active' | 'disabled' | 'revoked' | 'expired';

export interface ApiKey {
  id: string;
  name: string;
  last4: string;
  status: KeyState;
  model_scope: 'automatic' | 'single' | 'selected';
  allowed_model_ids: string[];
  monthly_cap: Decimal | null;
  total_quota: Decimal | null;
  daily_usd: Decimal | null;
  rpm: number;
  tpm: number;
  max_concurrency: number;
  ip_allow: string[];
  drain_tokens: number;
  expires_at: Moment | null;
  spent_month: Decimal;
  spent_total: Decimal;
  last_used_at: Moment | null;
  created_at: Moment;
  updated_at: Moment;
}

export interface CreatedKey extends ApiKey {
  token: string;
}

export interface Tier {
  above_input_tokens: number;
  prices: Record<string, Decimal>;
}

export interface Model {
  id: string;
  aliases: string[];
  tags: string[];
  context_tokens: number;
  max_output_tokens: number;
  created_at: Moment;
  callable: boolean;
  price: { currency: string; price_version: string; prices: Record<string, Decimal>; free?: string[]; tiers?: Tier[] } | null;
  auto?: { strategy: string; models: string[] };
}

export type CallStatus = 'success' | 'failed' | 'timeout' | 'cancelled' | 'interrupted' | 'refused';

export interface Call {
  request_id: string;
  client_request_id?: string;
  conversation_id?: string;
  time: Moment;
  model: string;
  requested_model: string;
  key_id: string;
  key_name: string;
  stream: boolean;
  status: CallStatus;
  http_status: number;
  code?: string;
  input_tokens: number;
  output_tokens: number;
  usage: Record<string, number>;
  usage_source: string;
  reserved: Decimal;
  charge: Decimal;
  currency: string;
  price_version?: string;
  latency_ms: number;
  first_token_ms: number | null;
}

export interface Trace extends Call {
  ended_at: Moment;
  request_bytes: number;
  response_bytes: number;
  max_tokens_clamped: boolean;
  attempts: { outcome: string; start_ms: number; duration_ms: number }[];
}

export interface StatementLine {
  model: string;
  key_id: string;
  key_name: string;
  calls: number;
  success: number;
  input_tokens: number;
  output_tokens: number;
  usage: Record<string, number>;
  charge: Decimal;
}

export interface Statement {
  month: string;
  from: Moment;
  to: Moment;
  currency: string;
  lines: StatementLine[];
  transactions: { id: string; time: Moment; kind: string; amount: Decimal; note: string }[];
  calls: number;
  input_tokens: number;
  output_tokens: number;
  charges: Decimal;
  credits: Decimal;
  net: Decimal;
}

export interface Spend {
  calls: number;
  success: number;
  input_tokens: number;
  output_tokens: number;
  charge: Decimal;
}

export type ModelSpend = Spend & { model: string };
export type KeySpend = Spend & { key_id: string; key_name: string };
export type SpendDay = Spend & { date: string };

export interface SpendOverview {
  as_of: Moment;
  currency: string;
  available: Decimal;
  today: Spend;
  yesterday: Spend;
  last_7_days: Spend;
  last_30_days: Spend;
  this_month: Spend;
  last_month: Spend;
  top_models: ModelSpend[];
  top_keys: KeySpend[];
}

export interface SpendTrend {
  from: Moment;
  to: Moment;
  currency: string;
  total: Spend;
  items: SpendDay[];
}

/** What the calls of a day, a model and a key were charged. */
export type ChargeRow = Spend & { date: string; model: string; key_id: string; key_name: string };

export interface Transaction {
  id: string;
  time: Moment;
  booked_at: Moment;
  kind: 'recharge' | 'correction' | 'refund' | 'bad_debt' | 'reservation' | 'release' | 'charge';
  amount: Decimal;
  currency: string;
  request_id: string | null;
  model: string | null;
  key_id: string | null;
  key_name: string | null;
  note: string;
}

export interface Conversation {
  id: string;
  title: string;
  model: string | null;
  metadata: Record<string, string>;
  status: 'active' | 'archived';
  created_at: Moment;
  updated_at: Moment;
  archived_at: Moment | null;
}

export interface Member {
  id: number;
  email: string;
  role: string;
  active: boolean;
  created_at: Moment;
}

/** An invitation; its link only when it was just made. */
export interface Invited {
  id: number;
  email: string;
  role: string;
  state: 'open' | 'used' | 'revoked' | 'expired';
  expires_at: Moment;
  mailed?: boolean;
  link?: string;
}

export type Action = 'off' | 'flag' | 'mask' | 'block';
export type Where = 'both' | 'requests' | 'responses';

export interface ModelPolicy {
  model_scope: 'automatic' | 'single' | 'selected';
  allowed_model_ids: string[];
}

/** What becomes of a request that could not be judged. */
export type Judgement = 'refuse' | 'allow';

export interface SecurityPolicy {
  content_safety: {
    words: { list: string[]; action: Action; apply_to: Where };
    moderation: { model: string | null; categories: string[]; action: 'off' | 'flag' | 'block'; timeout_ms: number; on_failure: Judgement };
    webhook: { url: string | null; secret_set: boolean; timeout_ms: number; on_failure: Judgement };
  };
  masking: Record<'email' | 'phone' | 'card' | 'id' | 'credential', Action> & { apply_to: Where };
  logging: { level: 'standard' | 'minimal'; content: boolean; metadata: boolean };
  data_retention: { replay_hours: number; response_days: number; detail_days: number | null };
  models: ModelPolicy;
}

/** A part of a model's calls goes to another one. */
export interface Rollout {
  model: string;
  to: string;
  percent: number;
}

export interface RoutingPolicy {
  multi_region: { region: string | null; regions: string[]; available: string[] };
  fallback: { enabled: boolean };
  retry: { max_attempts: number | null; within_ms: number | null };
  rollout: { rules: Rollout[] };
  models: ModelPolicy;
}

export interface AlertConfig {
  low_balance: Decimal | null;
  quota_alert_percent: number | null;
}

// ---- for operators ------------------------------------------------------------------

export interface Margin {
  calls: number;
  success: number;
  charge: Decimal;
  cost: Decimal;
  overrun: Decimal;
  margin: Decimal;
}

export interface Whole {
  from: Moment;
  to: Moment;
  total: Margin;
  days: (Margin & { date: string })[];
  clients: (Margin & { client_id: string; name: string })[];
  models: (Margin & { model: string })[];
  errors: { code: string; count: number }[];
}

export interface Proxies {
  revision: number;
  live: number;
  applied: number;
  proxies: { name: string; slot: number; epoch: number; state: string; live: boolean; heartbeat: Moment; applied_revision: number; internal_url: string }[];
}

export interface OperatorClient {
  id: string;
  name: string;
  group: string;
  multiplier: Decimal;
  active: boolean;
  balance: Decimal;
  reserved: Decimal;
  escrowed: Decimal;
}

export interface Entry {
  id: number;
  time: Moment;
  kind: string;
  amount: Decimal;
  note: string;
  ref: string;
  actor: string;
}

export interface PricedModel {
  id: string;
  tags: string[];
  multiplier: Decimal;
  auto: string;
  price_id: number;
  effective_at: Moment | null;
  prices: Record<string, Decimal>;
  free: string[];
  tiers: Tier[];
  next: Moment | null;
  routes: { provider: string; upstream_model: string; priority: number; weight: number; own: boolean; prices: Record<string, Decimal> }[];
}
