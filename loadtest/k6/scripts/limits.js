// Is a limit what it says? One client asks for twice its requests per minute; another
// one waits as it is told.
//   LIMITED_KEYS  two keys, comma-separated, each with the limit
//   RPM           their limit of requests a minute
import { check, sleep } from 'k6';
import { Counter } from 'k6/metrics';
import { answered, chat, honest, number, seconds } from './lib/relay.js';
import { summary, trendStats } from './lib/summary.js';

const keys = (__ENV.LIMITED_KEYS || '').split(',').filter((k) => k);
const rpm = number('RPM', 60);
const span = seconds(90);
const accepted = new Counter('relay_accepted');
const refused = new Counter('relay_refused');

// A sliding window of a minute lets through N at once, and then N a minute.
const most = Math.ceil(rpm + (rpm * span) / 60);

export const options = {
  scenarios: {
    pushing: { executor: 'constant-arrival-rate', exec: 'pushing', rate: 2 * rpm, timeUnit: '1m', duration: `${span}s`, preAllocatedVUs: 10, maxVUs: 200 },
    polite: { executor: 'constant-vus', exec: 'polite', vus: 1, duration: `${span}s`, gracefulStop: '70s' },
  },
  thresholds: {
    checks: ['rate==1'],
    http_req_failed: ['rate==0'], // of statuses other than 200 and 429
    'relay_accepted{client:pushing}': [`count<=${most}`, `count>=${Math.min(Math.floor((0.95 * rpm * span) / 60), 2 * Math.floor((rpm * span) / 60))}`],
    'relay_refused{client:pushing}': ['count>0'],
  },
  summaryTrendStats: trendStats,
};

export function setup() {
  if (keys.length < 2) throw new Error('LIMITED_KEYS needs two keys, comma-separated, with a limit of RPM requests a minute');
}

function header(r, name) {
  for (const k in r.headers) if (k.toLowerCase() === name) return r.headers[k];
  return '';
}

function one(client, i) {
  const r = chat({ key: keys[i], script: 'out=5', tags: { client }, expect: [200, 429] });
  (r.status === 200 ? accepted : refused).add(1, { client });
  if (r.status === 200) {
    check(r, {
      'an answer is whole': answered,
      'an answer tells the limit and what is left': (x) => Number(header(x, 'x-ratelimit-limit-requests')) === rpm && Number(header(x, 'x-ratelimit-remaining-requests')) >= 0,
    });
  } else {
    check(r, {
      'a refusal is honest': (x) => x.status === 429 && honest(x) && /^rate_limited/.test(header(x, 'x-relay-error')),
      'a refusal asks for no more than a minute': (x) => Number(header(x, 'retry-after')) <= 60,
    });
  }
  return r;
}

export function pushing() {
  one('pushing', 0);
}

// Asks until it is refused, waits for as long as it was told, and must then be served.
export function polite() {
  const r = one('polite', 1);
  if (r.status !== 429) return;
  sleep(Number(header(r, 'retry-after')));
  check(one('polite', 1), { 'who has waited is served': (x) => x.status === 200 });
}

export const handleSummary = summary('limits');
