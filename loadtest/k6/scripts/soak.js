// The same mixed load for long: three of ten requests are streams, half speak Anthropic's
// protocol. The last fifth must be as good as the first one.
import { check } from 'k6';
import exec from 'k6/execution';
import { answered, chat, needKey, number, phase, seconds, stream } from './lib/relay.js';
import { summary, trendStats } from './lib/summary.js';

const p95 = number('P95', 500);

export const options = {
  scenarios: {
    soak: { executor: 'constant-arrival-rate', rate: number('RATE', 30), timeUnit: '1s', duration: `${seconds(600)}s`, preAllocatedVUs: number('VUS', 60), maxVUs: 10 * number('VUS', 60) },
  },
  thresholds: {
    checks: ['rate>0.9999'], http_req_failed: ['rate<0.0001'], sse_complete: ['rate>0.9999'], dropped_iterations: ['count<1'],
    'http_req_duration{kind:plain,phase:first}': [`p(95)<${p95}`],
    'http_req_duration{kind:plain,phase:last}': [`p(95)<${p95}`],
    'sse_first_token{phase:first}': [`p(95)<${number('FIRST_P95', 1000)}`],
    'sse_first_token{phase:last}': [`p(95)<${number('FIRST_P95', 1000)}`],
  },
  summaryTrendStats: trendStats,
};

export const setup = needKey;

export default function () {
  const i = exec.scenario.iterationInTest;
  const o = { anthropic: i % 2 === 1, tags: { phase: phase(exec.scenario.progress, [0.2, 0.8], ['first', 'middle', 'last']) } };
  if (i % 10 < 3) check(stream(Object.assign({ script: 'out=30;gap=20ms' }, o)), { 'stream is whole': (r) => r.complete && r.tokens > 0 });
  else check(chat(Object.assign({ script: 'out=20' }, o)), { answered });
}

export const handleSummary = summary('soak');
