// The first provider of a model fails for a third of the run. Customers must not notice.
//   FAILOVER_MODEL   a model with two routes
//   MOCK_URL, LANE   the mock provider and the lane that it is told to fail; without them
//                    break the first provider by hand in the second third of the run
import http from 'k6/http';
import { check, sleep } from 'k6';
import exec from 'k6/execution';
import { answered, chat, model, needKey, number, phase, seconds, stream } from './lib/relay.js';
import { summary, trendStats } from './lib/summary.js';

const span = seconds(60);
const failing = __ENV.FAILOVER_MODEL || model;
const control = __ENV.MOCK_URL ? `${__ENV.MOCK_URL}/script/${__ENV.LANE || 'primary'}` : '';
const how = ['status=500', 'rst=headers', 'error=rate_limit']; // in turn

const scenarios = {
  traffic: { executor: 'constant-arrival-rate', exec: 'traffic', rate: number('RATE', 30), timeUnit: '1s', duration: `${span}s`, preAllocatedVUs: 50, maxVUs: 500 },
};
if (control) scenarios.outage = { executor: 'per-vu-iterations', exec: 'outage', vus: 1, iterations: 1, startTime: `${Math.floor(span / 3)}s`, maxDuration: `${span}s` };

export const options = {
  scenarios,
  thresholds: {
    checks: ['rate==1'], 'http_req_failed{scenario:traffic}': ['rate==0'], sse_complete: ['rate==1'],
    'http_req_duration{kind:plain,phase:outage}': [`p(95)<${number('P95', 1000)}`],
    'http_req_duration{kind:plain,phase:after}': [`p(95)<${number('P95', 1000)}`],
  },
  summaryTrendStats: trendStats,
};

export const setup = needKey;

export function traffic() {
  const i = exec.scenario.iterationInTest;
  const o = { model: failing, tags: { phase: phase(exec.scenario.progress, [1 / 3, 2 / 3], ['before', 'outage', 'after']) } };
  if (i % 3 === 0) check(stream(Object.assign({ script: 'out=20;gap=5ms' }, o)), { 'stream is whole': (r) => r.complete && r.tokens > 0 });
  else check(chat(Object.assign({ script: 'out=10' }, o)), { answered });
}

export function outage() {
  for (const script of how) {
    http.put(control, script);
    sleep(span / 3 / how.length);
  }
  http.put(control, '');
}

export function teardown() {
  if (control) http.put(control, '');
}

export const handleSummary = summary('failover');
