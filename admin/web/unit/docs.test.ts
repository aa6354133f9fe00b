import { expect, test } from 'vitest';
import { render, slug } from '../docs.plugin';

test('fences that follow each other are tabs of one block', () => {
  const { html } = render('```bash title="curl"\necho 1\n```\n```python\nprint(1)\n```\n\ntext\n\n```json\n{}\n```\n');
  expect(html.match(/class="snippet"/g)).toHaveLength(2);
  expect(html.match(/data-tab=/g)).toHaveLength(2);
  expect(html).toContain('>curl</button>');
});

test('code is text, and a language that nothing runs or shows is refused', () => {
  expect(render('```text\n<script>alert(1)</script>\n```').html).not.toContain('<script>');
  expect(render('```bash\n<script>alert(1)</script>\n```').html).not.toContain('<script>');
  expect(() => render('```perl\n1\n```')).toThrow('perl');
});

test('headings have anchors of their own, in any script', () => {
  const { headings } = render('## One `two`\n\n## One two\n\n## 获取密钥\n');
  expect(headings.map((h) => h.id)).toEqual(['one-two', 'one-two-2', '获取密钥']);
  expect(slug('When it breaks!')).toBe('when-it-breaks');
});

test('what is searched is the text by section', () => {
  const { sections } = render('Before.\n\n## A\n\nOne [link](/x) `code`.\n\n## B\n\nTwo.\n');
  expect(sections.map((s) => s.title)).toEqual(['', 'A', 'B']);
  expect(sections[1]?.text).toContain('code');
  expect(sections[1]?.text).not.toContain('/x');
});
