import { Badge, Group, Stack, Text, TextInput, Title } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useEffect, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { ApiError } from '../api';
import { Panel } from '../components/bits';
import { PublicShell } from '../components/publicShell';
import { Broken, Empty, Waiting } from '../components/states';
import { moment, percent } from '../format';
import { IconActivity, IconSearch } from '../icons';
import { useVisitor } from '../session';

type State = 'operational' | 'degraded' | 'down' | 'unknown';

interface Report {
  time: string;
  state: Exclude<State, 'unknown'>;
  models: { id: string; state: State; hours: { time: string; state: State; success_rate: number }[] }[];
}

const hours = 24;
const colors: Record<State, string> = { operational: 'teal', degraded: 'orange', down: 'red', unknown: 'gray' };
const grounds: Record<State, string> = { operational: 'teal.5', degraded: 'orange.5', down: 'red.5', unknown: 'var(--line)' };

/** Status says how well the models work, of real calls (S0-17). */
export default function Status() {
  const { t } = useTranslation();
  const { site } = useVisitor();
  const [text, setText] = useState('');
  const status = useQuery({
    queryKey: ['status.json'],
    refetchInterval: 30_000,
    queryFn: async ({ signal }) => {
      const r = await fetch('/status.json', { signal });
      if (!r.ok) throw new ApiError(r.status, 'status', `The server answered ${r.status}.`, r.headers.get('x-request-id') ?? '');
      return (await r.json()) as Report;
    },
  });
  useEffect(() => {
    document.title = `${t('public.status')} · ${site.brand}`;
  }, [site.brand, t]);
  const s = status.data;
  const needle = text.trim().toLowerCase();
  const shown = (s?.models ?? []).filter((m) => m.id.toLowerCase().includes(needle));
  const called = shown.filter((m) => m.state !== 'unknown' || m.hours.length > 0);
  const quiet = shown.filter((m) => m.state === 'unknown' && m.hours.length === 0);
  return (
    <PublicShell>
      <Stack gap="lg" maw={860} mx="auto">
        <Title order={1}>{t('public.status')}</Title>
        {status.error && !s ? (
          <Broken error={status.error} retry={() => void status.refetch()} />
        ) : s === undefined ? (
          <Waiting />
        ) : (
          <>
            <Panel>
              <Group justify="space-between">
                <Group gap="sm">
                  <Badge size="lg" tt="none" color={colors[s.state]} leftSection={<IconActivity size={14} />}>
                    {t(`status.${s.state}`)}
                  </Badge>
                  <Text>{t(`status.${s.state}.text`)}</Text>
                </Group>
                <Text size="xs" c="dimmed">
                  {t('status.asOf', { time: moment(s.time) })}
                </Text>
              </Group>
            </Panel>
            <TextInput aria-label={t('common.search')} placeholder={t('common.search')} leftSection={<IconSearch size={16} />} value={text} onChange={(e) => setText(e.currentTarget.value)} maw={360} />
            <Panel title={t('status.models')} aside={<Text size="xs" c="dimmed">{t('status.day')}</Text>}>
              {called.length === 0 ? <Empty title={t('status.none')} text={t('status.noneText')} icon={IconActivity} /> : null}
              {called.map((m) => (
                <Row key={m.id} model={m} now={s.time} />
              ))}
            </Panel>
            {quiet.length > 0 ? (
              <details>
                <summary>{t('status.quiet', { n: quiet.length })}</summary>
                <Text size="sm" c="dimmed" mt="xs">
                  {quiet.map((m) => m.id).join(', ')}
                </Text>
              </details>
            ) : null}
          </>
        )}
      </Stack>
    </PublicShell>
  );
}

function Row({ model: m, now }: { model: Report['models'][number]; now: string }) {
  const { t } = useTranslation();
  const first = Math.floor(Date.parse(now) / 3_600_000) - (hours - 1);
  const at = new Map(m.hours.map((h) => [Math.floor(Date.parse(h.time) / 3_600_000), h]));
  const worst = m.hours.length === 0 ? null : Math.min(...m.hours.map((h) => h.success_rate));
  return (
    <Stack gap={6} py={6}>
      <Group justify="space-between" wrap="nowrap">
        <Text size="sm" fw={550} style={{ overflowWrap: 'anywhere' }}>
          {m.id}
        </Text>
        <Badge tt="none" color={colors[m.state]}>
          {t(`status.${m.state}`)}
        </Badge>
      </Group>
      <Group gap={3} wrap="nowrap" role="img" aria-label={worst === null ? t('status.unknown') : t('status.worst', { rate: percent(worst, 1) })}>
        {Array.from({ length: hours }, (_, i) => {
          const h = at.get(first + i);
          return <Bar key={i} state={h?.state ?? 'unknown'} title={h ? `${moment(h.time)}: ${percent(h.success_rate, 1)}` : ''} />;
        })}
      </Group>
    </Stack>
  );
}

function Bar({ state, title }: { state: State; title: string }) {
  return <Group flex={1} h={22} bg={grounds[state]} title={title} style={{ borderRadius: 3 }} />;
}
