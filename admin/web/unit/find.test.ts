import { expect, test } from 'vitest';
import type { Section } from 'virtual:docs';
import { find } from '../src/docs/find';

const section = (page: string, title: string, text: string): Section => ({ page, pageTitle: page, id: title, title, text });
const all = [section('billing', 'Reserved', 'what retry costs'), section('limits', 'Waiting', 'retry-after in seconds, retry'), section('errors', 'Retry', 'what to repeat'), section('models', '', 'names')];

test('titles come before texts, and every word must occur', () => {
  expect(find(all, 'retry').map((s) => s.page)).toEqual(['errors', 'limits', 'billing']);
  expect(find(all, 'RETRY seconds').map((s) => s.page)).toEqual(['limits']);
  expect(find(all, 'retry nothing')).toEqual([]);
  expect(find(all, '  ')).toEqual([]);
});
