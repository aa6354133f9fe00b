// A few requests of every kind by one user: is the relay there, and does it say no where
// it must?
import http from 'k6/http';
import { check } from 'k6';
import { answered, base, chat, key, model, needKey, number, stream } from './lib/relay.js';
import { summary, trendStats } from './lib/summary.js';

export const options = {
  scenarios: { smoke: { executor: 'per-vu-iterations', vus: 1, iterations: number('ITERATIONS', 5), maxDuration: '5m' } },
  thresholds: { checks: ['rate==1'], http_req_failed: ['rate==0'], sse_complete: ['rate==1'] },
  summaryTrendStats: trendStats,
};

export const setup = needKey;

export default function () {
  check(chat(), { 'chat is answered': answered });
  check(chat({ anthropic: true }), { 'messages is answered': answered });
  const s = stream();
  check(s, { 'chat streams to its end': (r) => r.complete && r.tokens > 0, 'chat stream tells its usage': (r) => r.output > 0 });
  check(stream({ anthropic: true }), { 'messages streams to its end': (r) => r.complete && r.tokens > 0, 'messages stream tells its usage': (r) => r.output > 0 });
  const models = http.get(`${base}/v1/models`, { headers: { Authorization: `Bearer ${key}` } });
  check(models, { 'the model is listed': (r) => r.status === 200 && r.json('data').some((m) => m.id === model) });
  check(chat({ key: 'tsk_nobody', expect: [401] }), { 'an unknown key is refused': (r) => r.status === 401 });
  check(chat({ model: 'no-such-model', expect: [400, 404] }), { 'an unknown model is refused': (r) => r.status === 400 || r.status === 404 });
}

export const handleSummary = summary('smoke');
