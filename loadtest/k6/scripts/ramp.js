// More and more requests a second, up to RATE: where do delays begin? Open loop: a relay
// that falls behind does not slow the arrivals, it shows as delay or dropped iterations.
import { check } from 'k6';
import { answered, chat, needKey, number, seconds } from './lib/relay.js';
import { summary, trendStats } from './lib/summary.js';

const rate = number('RATE', 200);
const span = seconds(60);

export const options = {
  scenarios: {
    ramp: {
      executor: 'ramping-arrival-rate', startRate: Math.ceil(rate / 10), timeUnit: '1s', preAllocatedVUs: number('VUS', 100), maxVUs: 10 * number('VUS', 100),
      stages: [{ target: rate, duration: `${Math.ceil(span * 0.8)}s` }, { target: rate, duration: `${Math.ceil(span * 0.2)}s` }],
    },
  },
  thresholds: {
    checks: ['rate>0.999'], http_req_failed: ['rate<0.001'], dropped_iterations: ['count<1'],
    http_req_duration: [`p(95)<${number('P95', 500)}`, `p(99)<${number('P99', 1000)}`],
  },
  summaryTrendStats: trendStats,
};

export const setup = needKey;

export default function () {
  check(chat({ script: 'out=20' }), { answered });
}

export const handleSummary = summary('ramp');
