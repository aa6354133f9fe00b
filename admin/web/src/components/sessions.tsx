import { Badge, Button, Group, Stack, Text } from '@mantine/core';
import { useTranslation } from 'react-i18next';
import { del, type Moment } from '../api';
import { moment } from '../format';
import { useChange, useGet } from '../hooks';
import { Panel } from './bits';
import { Broken, Waiting } from './states';

interface SignedSession {
  id: number;
  created_at: Moment;
  expires_at: Moment;
  ip: string;
  agent: string;
  current: boolean;
}

const path = '/console/api/sessions';

/** browser is the short name of what a browser calls itself: a program, and a system. */
export function browser(agent: string): string {
  const program = /(?:Edg|OPR|Firefox|Chrome|Safari)(?=\/)/.exec(agent.includes('Edg/') ? agent.slice(agent.indexOf('Edg/')) : agent.includes('OPR/') ? agent.slice(agent.indexOf('OPR/')) : agent)?.[0];
  const system = /Windows|Android|iPhone|iPad|Mac OS X|CrOS|Linux/.exec(agent)?.[0];
  const names: Record<string, string> = { Edg: 'Edge', OPR: 'Opera', 'Mac OS X': 'macOS', CrOS: 'ChromeOS' };
  return [program, system].flatMap((n) => (n === undefined ? [] : [names[n] ?? n])).join(' · ') || agent.slice(0, 60);
}

/** Sessions are where an account is signed in; each can be ended from here. */
export function Sessions() {
  const { t } = useTranslation();
  const list = useGet<{ items: SignedSession[] }>(path);
  const end = useChange((id: number | 'others') => del<unknown>(id === 'others' ? path : `${path}/${id}`), [path], (_, id) => t(id === 'others' ? 'sessions.othersEnded' : 'sessions.ended'));
  const items = list.data?.items ?? [];
  return (
    <Panel
      title={t('sessions.title')}
      aside={
        items.length > 1 ? (
          <Button size="xs" variant="default" loading={end.isPending && end.variables === 'others'} onClick={() => end.mutate('others')}>
            {t('sessions.endOthers')}
          </Button>
        ) : null
      }
    >
      {list.error ? (
        <Broken error={list.error} retry={() => void list.refetch()} />
      ) : list.data === undefined ? (
        <Waiting />
      ) : (
        <Stack gap="sm" role="list" aria-label={t('sessions.title')}>
          {items.map((s) => (
            <Group key={s.id} justify="space-between" wrap="nowrap" role="listitem">
              <Stack gap={0} miw={0}>
                <Group gap="xs">
                  <Text size="sm" fw={550} style={{ overflowWrap: 'anywhere' }} title={s.agent}>
                    {browser(s.agent) || t('sessions.unknown')}
                  </Text>
                  {s.current ? (
                    <Badge tt="none" color="teal" size="sm">
                      {t('sessions.current')}
                    </Badge>
                  ) : null}
                </Group>
                <Text size="xs" c="dimmed" style={{ overflowWrap: 'anywhere' }}>
                  {[s.ip, t('sessions.since', { time: moment(s.created_at) }), t('sessions.until', { time: moment(s.expires_at) })].filter(Boolean).join(' · ')}
                </Text>
              </Stack>
              {s.current ? null : (
                <Button size="compact-sm" variant="subtle" color="red" onClick={() => end.mutate(s.id)} aria-label={`${t('sessions.end')}: ${browser(s.agent)}, ${moment(s.created_at)}`}>
                  {t('sessions.end')}
                </Button>
              )}
            </Group>
          ))}
        </Stack>
      )}
    </Panel>
  );
}
