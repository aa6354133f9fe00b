// Ten times the usual load for a while, at once. During it the relay may refuse (429, 503),
// if it says when to come back; it may not fail otherwise, and afterwards all is as before.
import { check } from 'k6';
import exec from 'k6/execution';
import { Rate } from 'k6/metrics';
import { answered, chat, honest, needKey, number, phase, seconds } from './lib/relay.js';
import { summary, trendStats } from './lib/summary.js';

const rate = number('RATE', 20);
const span = seconds(60);
const refused = new Rate('relay_refused');

export const options = {
  scenarios: {
    spike: {
      executor: 'ramping-arrival-rate', startRate: rate, timeUnit: '1s', preAllocatedVUs: number('VUS', 200), maxVUs: 10 * number('VUS', 200),
      stages: [
        { target: rate, duration: `${Math.ceil(span / 3)}s` }, { target: 10 * rate, duration: '1s' }, { target: 10 * rate, duration: `${Math.ceil(span / 3)}s` },
        { target: rate, duration: '1s' }, { target: rate, duration: `${Math.ceil(span / 3)}s` },
      ],
    },
  },
  thresholds: {
    checks: ['rate==1'], http_req_failed: ['rate<0.001'],
    'relay_refused{phase:before}': ['rate==0'], 'relay_refused{phase:after}': ['rate==0'],
    'http_req_duration{phase:before}': [`p(95)<${number('P95', 500)}`], 'http_req_duration{phase:after}': [`p(95)<${number('P95', 500)}`],
  },
  summaryTrendStats: trendStats,
};

export const setup = needKey;

export default function () {
  // The second after the spike still belongs to it.
  const tags = { phase: phase(exec.scenario.progress, [0.32, 0.72], ['before', 'spike', 'after']) };
  const r = chat({ script: 'out=20', tags, expect: [200, 429, 503] });
  refused.add(r.status !== 200, tags);
  check(r, { 'answered, or refused honestly': (x) => answered(x) || ((x.status === 429 || x.status === 503) && honest(x)) });
}

export const handleSummary = summary('spike');
