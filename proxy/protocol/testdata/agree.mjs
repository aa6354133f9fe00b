// Reads documents from stdin, each behind its length (4 bytes, little endian), and
// answers nine bytes for each: 0 for one that JSON.parse refuses, else 1, then a hash of
// what a server would take from a chat request, and one of the whole tree.
import fs from 'node:fs';

const PRIME = 16777619, START = 0x811c9dc5 | 0;
const f64 = new Float64Array(1), u32 = new Uint32Array(f64.buffer);
const mix = (h, x) => Math.imul(h ^ x, PRIME);
const text = (h, s) => {
  for (let i = 0; i < s.length; i++) {
    let c = s.charCodeAt(i);
    if (c >= 0xd800 && c < 0xe000) { // a lone surrogate is what UTF-8 makes of it
      const low = c < 0xdc00 ? s.charCodeAt(i + 1) : 0;
      if (low >= 0xdc00 && low < 0xe000) { h = mix(mix(h, c), low); i++; continue; }
      c = 0xfffd;
    }
    h = mix(h, c);
  }
  return h;
};
const number = (h, n) => { f64[0] = n; return mix(mix(h, u32[0]), u32[1]); };
const tree = (v) => {
  switch (typeof v) {
    case 'string': return text(mix(START, 1), v);
    case 'number': return number(mix(START, 2), v);
    case 'boolean': return mix(START, v ? 3 : 4);
  }
  if (v === null) return mix(START, 5);
  if (Array.isArray(v)) {
    let h = mix(START, 6);
    for (const x of v) h = mix(h, tree(x));
    return h;
  }
  let h = mix(START, 7);
  for (const k of Object.keys(v)) h = (h + Math.imul(text(START, k), 31) + mix(tree(v[k]), 9)) | 0;
  return h;
};
const asked = (o) => {
  if (typeof o !== 'object' || o === null || typeof o.model !== 'string') return 0;
  let h = text(START, o.model);
  h = mix(h, o.stream === true ? 1 : 0);
  for (const k of ['max_tokens', 'max_completion_tokens', 'n', 'best_of']) h = number(h, typeof o[k] === 'number' ? o[k] : 0);
  return mix(h, o.stream_options && o.stream_options.include_usage === true ? 1 : 0);
};

let rest = Buffer.alloc(0);
const out = Buffer.alloc(1 << 16);
let at = 0;
const flush = () => {
  for (let from = 0; from < at;) from += fs.writeSync(1, out, from, at - from);
  at = 0;
};
process.stdin.on('data', (chunk) => {
  rest = rest.length ? Buffer.concat([rest, chunk]) : chunk;
  let i = 0;
  while (rest.length - i >= 4) {
    const n = rest.readUInt32LE(i);
    if (rest.length - i - 4 < n) break;
    const body = rest.toString('utf8', i + 4, i + 4 + n);
    i += 4 + n;
    if (at + 9 > out.length) flush();
    let v, ok = 1;
    try { v = JSON.parse(body); } catch { ok = 0; }
    out[at] = ok;
    out.writeInt32LE(ok ? asked(v) : 0, at + 1);
    out.writeInt32LE(ok ? tree(v) : 0, at + 5);
    at += 9;
  }
  rest = rest.subarray(i);
  flush();
});
