import { execFileSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { body, type Ask } from '../src/chat';
import { languages, snippet } from '../src/snippets';

const ask: Ask = {
  model: 'gpt-4o-mini',
  messages: [
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: `it's "quoted"\nand $HOME \`x\` \\ 你好` },
  ],
  temperature: 0.5,
  maxTokens: 7,
};

test('the limit has the name that the model knows', () => {
  expect(body(ask, false)).toMatchObject({ max_tokens: 7, temperature: 0.5 });
  expect(body({ ...ask, model: 'gpt-5-mini' }, true)).toMatchObject({ max_completion_tokens: 7, stream: true });
  expect(body({ model: 'x', messages: [] }, false)).toEqual({ model: 'x', messages: [] });
});

test('what curl sends is the body, whatever is in the texts', () => {
  for (const stream of [true, false]) {
    const dir = mkdtempSync(join(tmpdir(), 'snippet-'));
    // A curl that prints what it was told to send.
    writeFileSync(join(dir, 'curl'), '#!/bin/sh\nwhile [ $# -gt 1 ]; do shift; done\nprintf %s "$1"\n', { mode: 0o755 });
    const out = execFileSync('sh', ['-c', snippet('curl', 'https://relay.example', ask, stream)], { encoding: 'utf8', env: { PATH: `${dir}:${process.env.PATH}` } });
    expect(JSON.parse(out)).toEqual(body(ask, stream));
  }
});

test('the programs in JavaScript and Go are well formed', () => {
  for (const stream of [true, false]) {
    const js = snippet('Node', 'https://relay.example', ask, stream).replace(/^import .*$/m, 'class OpenAI {}');
    const dir = mkdtempSync(join(tmpdir(), 'snippet-'));
    writeFileSync(join(dir, 'a.mjs'), js);
    execFileSync('node', ['--check', join(dir, 'a.mjs')]);
    writeFileSync(join(dir, 'a.go'), snippet('Go', 'https://relay.example', ask, stream));
    execFileSync('gofmt', ['-e', '-l', join(dir, 'a.go')], { stdio: 'pipe' });
  }
  for (const l of languages) expect(snippet(l, 'https://relay.example', ask, true)).toContain('https://relay.example/v1');
});
