// Several customers at once: one asks for as much as it can, one streams, one has no
// money, one has no key. The quiet one must not notice.
//   KEYS        keys of different customers, comma-separated: quiet, greedy, streaming
//   EMPTY_KEY   key of a customer without money (left out if not set)
import { check } from 'k6';
import exec from 'k6/execution';
import { answered, chat, honest, number, seconds, stream } from './lib/relay.js';
import { summary, trendStats } from './lib/summary.js';

const keys = (__ENV.KEYS || '').split(',').filter((k) => k);
const empty = __ENV.EMPTY_KEY || '';
const duration = `${seconds(60)}s`;

const scenarios = {
  quiet: { executor: 'constant-arrival-rate', exec: 'quiet', rate: 10, timeUnit: '1s', duration, preAllocatedVUs: 20, maxVUs: 200 },
  greedy: { executor: 'constant-vus', exec: 'greedy', vus: number('GREEDY', 20), duration },
  streaming: { executor: 'constant-vus', exec: 'streaming', vus: number('STREAMS', 20), duration, gracefulStop: '120s' },
  stranger: { executor: 'constant-arrival-rate', exec: 'stranger', rate: 5, timeUnit: '1s', duration, preAllocatedVUs: 10, maxVUs: 100 },
};
if (empty) scenarios.empty = { executor: 'constant-arrival-rate', exec: 'broke', rate: 5, timeUnit: '1s', duration, preAllocatedVUs: 10, maxVUs: 100 };

export const options = {
  scenarios,
  thresholds: {
    checks: ['rate==1'],
    sse_complete: ['rate==1'],
    'http_req_failed{tenant:quiet}': ['rate==0'],
    'http_req_duration{tenant:quiet}': [`p(95)<${number('P95', 500)}`, `p(99)<${number('P99', 1000)}`],
  },
  summaryTrendStats: trendStats,
};

export function setup() {
  if (keys.length < 3) throw new Error('KEYS needs three keys, comma-separated, of three customers');
}

export function quiet() {
  check(chat({ key: keys[0], script: 'out=20', tags: { tenant: 'quiet' } }), { 'quiet: answered': answered });
}

export function greedy() {
  const r = chat({ key: keys[1], script: 'out=20', tags: { tenant: 'greedy' }, expect: [200, 429] });
  check(r, { 'greedy: answered, or refused honestly': (x) => answered(x) || (x.status === 429 && honest(x)) });
}

export function streaming() {
  const r = stream({ key: keys[2], anthropic: exec.scenario.iterationInTest % 2 === 1, script: 'out=40;gap=20ms', tags: { tenant: 'streaming' } });
  check(r, { 'streaming: whole': (x) => x.complete && x.tokens > 0 });
}

export function broke() {
  check(chat({ key: empty, tags: { tenant: 'empty' }, expect: [402] }), { 'empty: 402 and nothing else': (r) => r.status === 402 });
}

export function stranger() {
  check(chat({ key: 'tsk_nobody', tags: { tenant: 'stranger' }, expect: [401] }), { 'stranger: 401 and nothing else': (r) => r.status === 401 });
}

export const handleSummary = summary('tenants');
