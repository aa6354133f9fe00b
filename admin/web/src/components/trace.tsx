import { Anchor, Badge, Box, Divider, Drawer, Group, Stack, Text } from '@mantine/core';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import type { Trace } from '../api';
import { count, duration, moment } from '../format';
import { useGet } from '../hooks';
import type { Key } from '../i18n';
import { CallBadge, Copy, Money } from './bits';
import { Broken, Waiting } from './states';

/** TraceDrawer shows what happened to one request. */
export function TraceDrawer({ id, onClose }: { id: string | null; onClose: () => void }) {
  const { t } = useTranslation();
  const trace = useGet<Trace>(id === null ? null : `/openapi/v1/traces/${id}`);
  const fresh = trace.data?.request_id === id ? trace.data : undefined;
  return (
    <Drawer opened={id !== null} onClose={onClose} position="right" size="md" title={t('logs.detail')} closeButtonProps={{ 'aria-label': t('common.close') }}>
      {trace.error ? <Broken error={trace.error} retry={() => void trace.refetch()} /> : fresh ? <Detail trace={fresh} /> : <Waiting />}
    </Drawer>
  );
}

function Detail({ trace }: { trace: Trace }) {
  const { t } = useTranslation();
  const line = (label: string, value: React.ReactNode) => (
    <Group justify="space-between" wrap="nowrap" align="flex-start" gap="md">
      <Text size="sm" c="dimmed" style={{ whiteSpace: 'nowrap' }}>
        {label}
      </Text>
      <Text size="sm" component="div" ta="right" style={{ overflowWrap: 'anywhere' }}>
        {value}
      </Text>
    </Group>
  );
  return (
    <Stack gap="md">
      <Group gap={4} wrap="nowrap">
        <Text ff="monospace" size="xs" style={{ overflowWrap: 'anywhere' }}>
          {trace.request_id}
        </Text>
        <Copy value={trace.request_id} />
      </Group>
      <Group justify="space-between">
        <CallBadge status={trace.status} />
        <Text fz={20} fw={650}>
          <Money value={trace.charge} />
        </Text>
      </Group>
      <Stack gap={6}>
        {line(t('logs.time'), moment(trace.time))}
        {line(t('logs.model'), trace.model)}
        {trace.requested_model !== trace.model ? line(t('logs.requested'), trace.requested_model) : null}
        {line(t('logs.key'), trace.key_name)}
        {line(t('logs.stream'), t(trace.stream ? 'logs.yes' : 'logs.no'))}
        {line(t('logs.http'), trace.http_status)}
        {trace.code ? line(t('logs.code'), <code>{trace.code}</code>) : null}
        {trace.client_request_id ? line(t('logs.clientId'), trace.client_request_id) : null}
        {trace.conversation_id ? line(t('logs.conversation'), <Anchor component={Link} size="sm" to={`/console/logs?conversation_id=${encodeURIComponent(trace.conversation_id)}`}>{trace.conversation_id}</Anchor>) : null}
        {line(t('logs.latency'), duration(trace.latency_ms))}
        {trace.first_token_ms !== null ? line(t('logs.firstToken'), duration(trace.first_token_ms)) : null}
        {line(t('logs.bytes'), `${count(trace.request_bytes)} / ${count(trace.response_bytes)}`)}
      </Stack>
      <Divider color="var(--line)" />
      <Stack gap={6}>
        <Text size="sm" fw={550}>
          {t('logs.units')}
        </Text>
        {Object.entries(trace.usage).map(([name, n]) => (
          <Box key={name}>{line(t(`class.${name}` as Key), count(n))}</Box>
        ))}
        {line(t('logs.usageSource'), trace.usage_source)}
        {line(t('logs.reserved'), <Money value={trace.reserved} />)}
        {trace.price_version ? line(t('logs.priceVersion'), <code>{trace.price_version}</code>) : null}
      </Stack>
      {trace.attempts.length > 0 ? (
        <>
          <Divider color="var(--line)" />
          <Stack gap={6}>
            <Text size="sm" fw={550}>
              {t('logs.attempts')}
            </Text>
            {trace.attempts.map((a, i) => (
              <Group key={`${a.start_ms}-${i}`} justify="space-between">
                <Group gap="xs">
                  <Text size="sm">{t('logs.attempt', { n: i + 1 })}</Text>
                  <Badge size="sm" tt="none" color={a.outcome === 'ok' ? 'teal' : 'orange'}>
                    {a.outcome}
                  </Badge>
                </Group>
                <Text size="sm" c="dimmed">
                  +{duration(a.start_ms)} · {duration(a.duration_ms)}
                </Text>
              </Group>
            ))}
          </Stack>
        </>
      ) : null}
    </Stack>
  );
}
