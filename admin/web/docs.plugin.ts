import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import hljs from 'highlight.js/lib/core';
import bash from 'highlight.js/lib/languages/bash';
import go from 'highlight.js/lib/languages/go';
import javascript from 'highlight.js/lib/languages/javascript';
import json from 'highlight.js/lib/languages/json';
import python from 'highlight.js/lib/languages/python';
import yaml from 'highlight.js/lib/languages/yaml';
import { Marked, type Tokens } from 'marked';
import type { Plugin } from 'vite';

// The documentation is Markdown in the repository. It is rendered when the console is
// built, so that a reader's browser gets HTML and no Markdown.

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const site = join(root, 'docs/site');

for (const [name, language] of Object.entries({ bash, go, javascript, json, python, yaml })) hljs.registerLanguage(name, language);
const highlighted: Record<string, string> = { bash: 'bash', python: 'python', js: 'javascript', go: 'go', json: 'json', yaml: 'yaml' };
const labels: Record<string, string> = { bash: 'Shell', python: 'Python', js: 'Node', go: 'Go', json: 'JSON', yaml: 'YAML', text: '' };

export interface Heading {
  id: string;
  text: string;
  level: number;
}

const escape = (text: string): string => text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;').replace(/"/g, '&quot;');

/** slug is the anchor of a heading: its words, in any script. */
export const slug = (text: string): string => text.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, '-').replace(/^-|-$/g, '');

/** source reads a page: its front matter, and its text with other files of docs put in. */
export function source(file: string): { meta: Record<string, string>; body: string; files: string[] } {
  const raw = readFileSync(file, 'utf8');
  const head = /^---\n([\s\S]*?)\n---\n/.exec(raw);
  if (head === null) throw new Error(`${relative(root, file)} has no front matter`);
  const meta = Object.fromEntries((head[1] ?? '').split('\n').map((l) => [l.slice(0, l.indexOf(':')), l.slice(l.indexOf(':') + 1).trim()]));
  const files = [file];
  const body = raw.slice(head[0].length).replace(/^\{\{include (\S+)\}\}$/gm, (_, name: string) => {
    const other = resolve(dirname(file), name);
    files.push(other);
    // The page has its own title, and says itself where the text is from.
    return readFileSync(other, 'utf8').replace(/^# .*\n/, '').replace(/^(Generated from|Written by) .*; do not edit\.\n/m, '');
  });
  return { meta, body, files };
}

/** updated is the day on which the newest of the files was committed. */
function updated(files: string[]): string {
  const days = files.map((f) => {
    try {
      const day = execFileSync('git', ['log', '-1', '--format=%cs', '--', f], { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
      if (day !== '') return day;
    } catch {
      // No git, or no repository: the day of the file.
    }
    return statSync(f).mtime.toISOString().slice(0, 10);
  });
  return days.sort().at(-1) ?? '';
}

/** render makes HTML of a page. Fences that follow each other are tabs of one block. */
export function render(body: string): { html: string; headings: Heading[]; sections: { id: string; title: string; text: string }[] } {
  const headings: Heading[] = [];
  const sections = [{ id: '', title: '', text: '' }];
  const seen = new Map<string, number>();
  const marked = new Marked({ gfm: true });
  const code = (t: Tokens.Code): { label: string; html: string } => {
    const [language = 'text', ...more] = (t.lang ?? 'text').split(/\s+/);
    const title = /title="([^"]*)"/.exec(more.join(' '))?.[1] ?? labels[language];
    if (title === undefined) throw new Error(`a code block in ${language}, which is no language of the documentation`);
    const name = highlighted[language];
    return { label: title, html: name === undefined ? escape(t.text) : hljs.highlight(t.text, { language: name }).value };
  };
  const block = (parts: { label: string; html: string }[]): string => {
    const bar = parts.map((p, i) => (parts.length > 1 ? `<button type="button" class="snippet-tab" data-tab="${i}" aria-pressed="${i === 0}">${escape(p.label)}</button>` : `<span class="snippet-name">${escape(p.label)}</span>`)).join('');
    const bodies = parts.map((p, i) => `<pre tabindex="0" data-panel="${i}"${i === 0 ? '' : ' hidden'}><code>${p.html}</code></pre>`).join('');
    return `<div class="snippet"><div class="snippet-bar${parts.length === 1 && parts[0]?.label === '' ? ' bare' : ''}">${bar}<button type="button" class="snippet-copy" data-copy>__COPY__</button></div>${bodies}</div>`;
  };
  marked.use({
    renderer: {
      heading({ tokens, depth, text }) {
        const plain = text.replace(/[`*]/g, '');
        const n = seen.get(slug(plain)) ?? 0;
        seen.set(slug(plain), n + 1);
        const id = n === 0 ? slug(plain) : `${slug(plain)}-${n + 1}`;
        if (depth === 2 || depth === 3) headings.push({ id, text: plain, level: depth });
        return `<h${depth} id="${id}"><a class="anchor" href="#${id}">${this.parser.parseInline(tokens)}</a></h${depth}>`;
      },
      code: (t) => block([code(t)]),
      table(t) {
        const row = (cells: Tokens.TableCell[], tag: string) => `<tr>${cells.map((c) => `<${tag}>${this.parser.parseInline(c.tokens)}</${tag}>`).join('')}</tr>`;
        return `<div class="doc-table" tabindex="0"><table><thead>${row(t.header, 'th')}</thead><tbody>${t.rows.map((r) => row(r, 'td')).join('')}</tbody></table></div>`;
      },
    },
  });
  const out: string[] = [];
  let run: Tokens.Code[] = [];
  const tokens = marked.lexer(body);
  const flush = () => {
    if (run.length > 0) out.push(block(run.map(code)));
    run = [];
  };
  for (const t of tokens) {
    if (t.type === 'code') {
      run.push(t as Tokens.Code);
      continue;
    }
    if (t.type === 'space') continue;
    flush();
    out.push(marked.parser([t]));
    if (t.type === 'heading' && t.depth <= 3) sections.push({ id: headings.at(-1)?.id ?? '', title: (t as Tokens.Heading).text.replace(/[`*]/g, ''), text: '' });
    else (sections.at(-1) as { text: string }).text += ` ${t.raw.replace(/[`*|#]|\]\([^)]*\)|\[/g, ' ').replace(/\s+/g, ' ')}`;
  }
  flush();
  return { html: out.join('\n'), headings, sections };
}

interface Meta {
  slug: string;
  title: string;
  section: string;
  summary: string;
  order: number;
}

const files = (language: string): string[] =>
  readdirSync(join(site, language))
    .filter((n) => n.endsWith('.md'))
    .map((n) => join(site, language, n));

function metas(language: string): Meta[] {
  return files(language)
    .map((f) => {
      const { meta } = source(f);
      for (const name of ['title', 'section', 'summary', 'order']) if (!meta[name]) throw new Error(`${relative(root, f)} has no ${name}`);
      return { slug: f.slice(f.lastIndexOf('/') + 1, -3), title: meta.title ?? '', section: meta.section ?? '', summary: meta.summary ?? '', order: Number(meta.order) };
    })
    .sort((a, b) => a.order - b.order);
}

const prefix = 'virtual:docs';

/** docs gives the application the pages: a list, the pages one by one, and what is searched. */
export function docs(): Plugin {
  return {
    name: 'docs',
    resolveId: (id) => (id === prefix || id.startsWith(`${prefix}/`) ? `\0${id}` : null),
    load(id) {
      if (!id.startsWith(`\0${prefix}`)) return null;
      const [, kind, language = 'en', name = ''] = id.slice(1).split('/');
      if (kind === undefined) {
        const languages = ['en', 'zh'];
        const list = languages.map((l) => `${l}: ${JSON.stringify(metas(l))}`).join(', ');
        const pages = languages.flatMap((l) => metas(l).map((m) => `'${l}/${m.slug}': () => import('${prefix}/page/${l}/${m.slug}')`)).join(', ');
        const search = languages.map((l) => `${l}: () => import('${prefix}/search/${l}')`).join(', ');
        return `export const index = { ${list} };\nexport const pages = { ${pages} };\nexport const search = { ${search} };`;
      }
      if (kind === 'search') {
        for (const f of files(language)) this.addWatchFile(f);
        const all = metas(language).flatMap((m) => render(source(join(site, language, `${m.slug}.md`)).body).sections.map((s) => ({ ...s, page: m.slug, pageTitle: m.title })));
        return `export default ${JSON.stringify(all)};`;
      }
      const s = source(join(site, language, `${name}.md`));
      for (const f of s.files) this.addWatchFile(f);
      const { html, headings } = render(s.body);
      return `export default ${JSON.stringify({ html, headings, updated: updated(s.files) })};`;
    },
  };
}
