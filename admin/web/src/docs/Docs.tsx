import { Anchor, Box, Button, Group, NavLink, Stack, Text, Title } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { lazy, useEffect, type ReactNode } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useLocation, useParams } from 'react-router';
import { index, pages, type Heading, type Meta } from 'virtual:docs';
import type { ApiKey, Page } from '../api';
import { PublicShell } from '../components/publicShell';
import { Broken, Empty, Waiting } from '../components/states';
import { day } from '../format';
import { useGet } from '../hooks';
import { useVisitor } from '../session';
import { Article } from './Article';
import { Search } from './Search';
import { zhTitles } from './titles';
import './docs.css';

const Reference = lazy(() => import('./Reference'));

const sections = ['guide', 'sdk', 'reference', 'help', 'operate'] as const;
/** Pages that are made of what the relay says, not of text. */
const made = [{ slug: 'api-reference', section: 'reference', order: 210 }] as const;

interface Entry {
  slug: string;
  section: string;
  order: number;
  title: string;
  summary: string;
}

/** useEntries is every page in the reader's language. */
function useEntries(): Entry[] {
  const { t, i18n } = useTranslation();
  const zh = i18n.resolvedLanguage === 'zh';
  const translated = new Map(index.zh.map((m) => [m.slug, m]));
  const own = (m: Meta): Entry => (zh ? (translated.get(m.slug) ?? { ...m, title: zhTitles[m.slug] ?? m.title }) : m);
  return [...index.en.map(own), ...made.map((m) => ({ ...m, title: t(`docs.made.${m.slug}`), summary: t(`docs.made.${m.slug}.text`) }))].sort((a, b) => a.order - b.order);
}

function Navigation({ entries, current, close }: { entries: Entry[]; current: string; close: () => void }) {
  const { t } = useTranslation();
  return (
    <Stack gap="lg">
      <Search onGo={close} />
      {sections.map((s) => (
        <Stack key={s} gap={1} component="nav" aria-label={t(`docs.section.${s}`)}>
          <Text size="xs" fw={600} c="dimmed" px={12} pb={4}>
            {t(`docs.section.${s}`)}
          </Text>
          {entries
            .filter((e) => e.section === s)
            .map((e) => (
              <NavLink key={e.slug} className="nav-link" component={Link} to={`/docs/${e.slug}`} label={e.title} active={e.slug === current} aria-current={e.slug === current ? 'page' : undefined} onClick={close} py={5} />
            ))}
          {s === 'reference' ? <NavLink className="nav-link" component={Link} to="/docs/pricing" label={t('public.pricing')} onClick={close} py={5} /> : null}
        </Stack>
      ))}
    </Stack>
  );
}

/** OwnKey says whose key stands for $TOKEN_RELAY_KEY: it was shown once, so only its end is known. */
function OwnKey() {
  const { t } = useTranslation();
  const { user } = useVisitor();
  const keys = useGet<Page<ApiKey>>(user?.client_id ? '/openapi/v1/api-keys' : null, { limit: 20 });
  if (!user?.client_id) {
    return user ? null : (
      <Text size="sm" className="doc-note">
        {t('docs.noKey')} <Anchor component={Link} to="/console/sign-in" size="sm">{t('nav.signIn')}</Anchor>
      </Text>
    );
  }
  const key = keys.data?.items.find((k) => k.status === 'active');
  if (keys.data === undefined) return null;
  return (
    <Text size="sm" className="doc-note" data-testid="own-key">
      {key ? (
        <>
          <code>$TOKEN_RELAY_KEY</code> {t('docs.ownKey')} <b>{key.name}</b> (<code>…{key.last4}</code>).{' '}
        </>
      ) : (
        `${t('docs.keyNeeded')} `
      )}
      <Anchor component={Link} to="/console/api-keys?new" size="sm">
        {t('keys.create')}
      </Anchor>
    </Text>
  );
}

function OnThisPage({ headings }: { headings: Heading[] }) {
  const { t } = useTranslation();
  if (headings.length < 2) return null;
  return (
    <Box component="nav" className="doc-toc" visibleFrom="lg" aria-label={t('docs.onThisPage')}>
      <Text size="xs" fw={600} c="dimmed" mb={6}>
        {t('docs.onThisPage')}
      </Text>
      {headings.map((h) => (
        <Anchor key={h.id} href={`#${h.id}`} size="sm" className="doc-toc-link" pl={h.level === 3 ? 12 : 0}>
          {h.text}
        </Anchor>
      ))}
    </Box>
  );
}

function Around({ entries, current }: { entries: Entry[]; current: string }) {
  const { t } = useTranslation();
  const at = entries.findIndex((e) => e.slug === current);
  const link = (e: Entry | undefined, label: string) =>
    e ? (
      <Button component={Link} to={`/docs/${e.slug}`} variant="default" h="auto" py={8}>
        <Stack gap={0} align="flex-start">
          <Text size="xs" c="dimmed">
            {label}
          </Text>
          {e.title}
        </Stack>
      </Button>
    ) : (
      <span />
    );
  return (
    <Group justify="space-between" mt={40}>
      {link(entries[at - 1], t('docs.before'))}
      {link(entries[at + 1], t('docs.after'))}
    </Group>
  );
}

/** useAnchor goes to the heading that the address names, once the page is there. */
function useAnchor(ready: boolean): void {
  const { hash, pathname } = useLocation();
  useEffect(() => {
    if (!ready) return;
    if (hash === '') window.scrollTo(0, 0);
    else document.getElementById(decodeURIComponent(hash.slice(1)))?.scrollIntoView();
  }, [hash, pathname, ready]);
}

function Written({ slug, entry, after }: { slug: string; entry: Entry; after: ReactNode }) {
  const { t, i18n } = useTranslation();
  const language = i18n.resolvedLanguage === 'zh' && pages[`zh/${slug}`] ? 'zh' : 'en';
  const page = useQuery({ queryKey: ['docs', language, slug], queryFn: async () => (await pages[`${language}/${slug}`]!()).default, staleTime: Infinity });
  useAnchor(page.data !== undefined);
  if (page.error) return <Broken error={page.error} retry={() => void page.refetch()} />;
  if (page.data === undefined) return <Waiting />;
  return (
    <div className="doc-columns">
      <div className="doc-main">
        <Title order={1}>{entry.title}</Title>
        <Text c="dimmed" mb="md">
          {entry.summary}
        </Text>
        {i18n.resolvedLanguage === 'zh' && language === 'en' ? (
          <Text size="sm" className="doc-note">
            {t('docs.englishOnly')}
          </Text>
        ) : null}
        {/snippet/.test(page.data.html) && entry.section !== 'operate' ? <OwnKey /> : null}
        <div lang={language === 'zh' ? 'zh-CN' : 'en'}>
          <Article content={page.data} />
        </div>
        <Text size="xs" c="dimmed" mt="xl">
          {t('docs.updated', { date: day(`${page.data.updated}T12:00:00`) })}
        </Text>
        {after}
      </div>
      <OnThisPage headings={page.data.headings} />
    </div>
  );
}

export default function Docs() {
  const { t } = useTranslation();
  const { site } = useVisitor();
  const { slug = 'getting-started' } = useParams();
  const entries = useEntries();
  const entry = entries.find((e) => e.slug === slug);
  useEffect(() => {
    document.title = entry ? `${entry.title} · ${site.brand}` : site.brand;
  }, [entry, site.brand]);
  const after = <Around entries={entries} current={slug} />;
  return (
    <PublicShell nav={(close) => <Navigation entries={entries} current={slug} close={close} />}>
      {entry === undefined ? (
        <Empty title={t('common.notFound')} text={t('common.notFoundText')}>
          <Button component={Link} to="/docs" variant="light" mt="sm">
            {t('docs.home')}
          </Button>
        </Empty>
      ) : slug === 'api-reference' ? (
        <Reference title={entry.title} summary={entry.summary} />
      ) : (
        <Written key={slug} slug={slug} entry={entry} after={after} />
      )}
    </PublicShell>
  );
}
