// Runs scenarios against a relay and reports each on one line of JSON. The plan
// (RELAY_SDK_PLAN names its file) says where the relay is, which keys there are and
// which models show which fault.
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';

export const plan = JSON.parse(readFileSync(process.env.RELAY_SDK_PLAN, 'utf8'));

const scenarios = [];

export function scenario(name, run) {
  scenarios.push([name, run]);
}

export function equal(got, want, what = 'value') {
  if (JSON.stringify(got) !== JSON.stringify(want)) {
    throw new Error(`${what}: got ${JSON.stringify(got)}, want ${JSON.stringify(want)}`);
  }
}

export function check(ok, what) {
  if (!ok) throw new Error(what);
}

// raises runs a function that must fail with exactly this kind of error.
export async function raises(kind, run) {
  try {
    await run();
  } catch (e) {
    if (e instanceof kind) return e;
    throw new Error(`raised ${e?.constructor?.name}: ${e?.message}, want ${kind.name}`);
  }
  throw new Error(`raised nothing, want ${kind.name}`);
}

export async function main(workers = 4) {
  const todo = [...scenarios];
  await Promise.all(
    Array.from({ length: workers }, async () => {
      for (let next; (next = todo.shift()); ) {
        const [name, run] = next;
        const line = { name, ok: true };
        const start = performance.now();
        try {
          await run();
        } catch (e) {
          const at = String(e?.stack).split('\n').find((l) => /(suite|gemini)\.mjs/.test(l)) ?? '';
          line.ok = false;
          line.detail = `${e?.constructor?.name}: ${e?.message} (${basename(at)}`;
        }
        line.ms = Math.round(performance.now() - start);
        console.log(JSON.stringify(line));
      }
    }),
  );
}
