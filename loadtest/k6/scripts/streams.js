// Many streams at once: how long until the first token, how even are the gaps, and does
// every stream come to its end with its usage?
import { check } from 'k6';
import exec from 'k6/execution';
import { mock, needKey, number, seconds, stream } from './lib/relay.js';
import { summary, trendStats } from './lib/summary.js';

const span = seconds(60);
const streams = number('STREAMS', 100);
const out = 50; // what the mock provider is asked for: a token each 20 ms, the first after 50 ms

export const options = {
  scenarios: {
    streams: {
      executor: 'ramping-vus', startVUs: 1, gracefulStop: '120s', gracefulRampDown: '120s',
      stages: [{ target: streams, duration: `${Math.ceil(span / 4)}s` }, { target: streams, duration: `${Math.ceil((span * 3) / 4)}s` }],
    },
  },
  thresholds: {
    checks: ['rate==1'], sse_complete: ['rate==1'], http_req_failed: ['rate==0'],
    sse_first_token: [`p(95)<${number('FIRST_P95', 1000)}`, `p(99)<${number('FIRST_P99', 2000)}`],
    sse_gap: [`p(99)<${number('GAP_P99', 500)}`],
  },
  summaryTrendStats: trendStats,
};

export const setup = needKey;

export default function () {
  const r = stream({ anthropic: exec.scenario.iterationInTest % 2 === 1, script: `out=${out};delay=50ms;gap=20ms` });
  check(r, { 'comes to its end': (x) => x.complete, 'has tokens': (x) => x.tokens > 0, 'tells its usage': (x) => x.output > 0 });
  if (mock) check(r, { 'has every token': (x) => x.tokens === out && x.output === out });
}

export const handleSummary = summary('streams');
