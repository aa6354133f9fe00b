import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

// What the build made: make build comes before.
const app = join(import.meta.dirname, '..', 'dist', 'app');
const index = readFileSync(join(app, 'index.html'), 'utf8');
const files = [...index.matchAll(/(?:src|href)="\/console\/(assets\/[^"]+)"/g)].map((m) => m[1] ?? '');
const size = (ending: string): number => files.filter((f) => f.endsWith(ending)).reduce((sum, f) => sum + statSync(join(app, `${f}.gz`)).size, 0);

test('the first page loads at most 250 KB of script and 60 KB of style', () => {
  expect(files.some((f) => f.endsWith('.js'))).toBe(true);
  console.info(`script ${Math.round(size('.js') / 1024)} KB, style ${Math.round(size('.css') / 1024)} KB, gzipped`);
  expect(size('.js')).toBeLessThanOrEqual(250 * 1024);
  expect(size('.css')).toBeLessThanOrEqual(60 * 1024);
});

test('nothing in the build names another host to load from', () => {
  for (const name of readdirSync(join(app, 'assets')).filter((n) => n.endsWith('.css'))) expect(readFileSync(join(app, 'assets', name), 'utf8'), name).not.toMatch(/url\(["']?(https?:)?\/\//);
  expect(index).not.toMatch(/(src|href)="(https?:)?\/\//);
  expect(index).not.toMatch(/<script(?![^>]*\bsrc=)/);
});
