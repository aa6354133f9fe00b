import { useEffect, useMemo, useRef } from 'react';
import { useTranslation } from 'react-i18next';
import { useNavigate } from 'react-router';
import type { Article as Content } from 'virtual:docs';
import { useVisitor } from '../session';

const escaped = (text: string): string => text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;').replace(/"/g, '&quot;');

/** The address that the pages are written with. */
const written = 'http://127.0.0.1:8000';

/** contact is how to reach the operator: a link where the setting is one. */
function contact(text: string, none: string): string {
  if (text === '') return escaped(none);
  if (/^https?:\/\//.test(text)) return `<a href="${escaped(text)}" rel="noreferrer">${escaped(text)}</a>`;
  return text.includes('@') ? `<a href="mailto:${escaped(text)}">${escaped(text)}</a>` : escaped(text);
}

/** personal puts this relay's address and contact, and the reader's language, in a page. */
export function personal(html: string, site: { public_url: string; contact: string }, words: { copy: string; ask: string }): string {
  return html.replaceAll(written, escaped(site.public_url.replace(/\/$/, ''))).replaceAll('__COPY__', escaped(words.copy)).replaceAll('__CONTACT__', contact(site.contact, words.ask));
}

/** Article shows a rendered page; its buttons and links are answered here. */
export function Article({ content }: { content: Content }) {
  const { t } = useTranslation();
  const { site } = useVisitor();
  const navigate = useNavigate();
  const box = useRef<HTMLElement>(null);
  const html = useMemo(() => ({ __html: personal(content.html, site, { copy: t('common.copy'), ask: t('docs.askOperator') }) }), [content, site, t]);

  useEffect(() => {
    const root = box.current;
    if (root === null) return;
    const click = (e: MouseEvent) => {
      const target = e.target as Element;
      const link = target.closest('a');
      const href = link?.getAttribute('href');
      if (href?.startsWith('/') && !e.metaKey && !e.ctrlKey && !e.shiftKey) {
        e.preventDefault();
        void navigate(href);
        return;
      }
      const snippet = target.closest('.snippet');
      const tab = target.closest<HTMLElement>('[data-tab]');
      if (snippet && tab) {
        for (const b of snippet.querySelectorAll('[data-tab]')) b.setAttribute('aria-pressed', String(b === tab));
        for (const p of snippet.querySelectorAll<HTMLElement>('[data-panel]')) p.hidden = p.dataset.panel !== tab.dataset.tab;
      }
      const copy = target.closest<HTMLElement>('[data-copy]');
      if (snippet && copy) {
        const shown = snippet.querySelector<HTMLElement>('[data-panel]:not([hidden])');
        void navigator.clipboard.writeText(shown?.textContent ?? '').then(() => {
          copy.textContent = t('common.copied');
          setTimeout(() => (copy.textContent = t('common.copy')), 1800);
        });
      }
    };
    root.addEventListener('click', click);
    return () => root.removeEventListener('click', click);
  }, [html, navigate, t]);

  return <article ref={box} className="doc" dangerouslySetInnerHTML={html} />;
}
