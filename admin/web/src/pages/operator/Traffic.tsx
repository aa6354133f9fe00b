import { Badge, Box, Drawer, Group, SimpleGrid, Stack, Text } from '@mantine/core';
import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import type { CallStatus } from '../../api';
import { operator, useOperator, type Schemas } from '../../client';
import { CallBadge, Money, PageTitle, Panel, Stat } from '../../components/bits';
import { Broken, Empty, Waiting } from '../../components/states';
import { DataTable, type Columns } from '../../components/table';
import { add } from '../../decimal';
import { count, duration, moment } from '../../format';

type Call = Schemas['Call'];

/** Traffic is what happens now: the last minute, running money, the last calls. */
export default function Traffic() {
  const { t } = useTranslation();
  const live = useOperator(['/admin/v1/live'], (signal) => operator.GET('/admin/v1/live', { signal, params: { query: { calls: 50 } } }), 2000);
  const [open, setOpen] = useState<Call | null>(null);
  const columns = useMemo<Columns<Call>>(
    () => [
      { accessorKey: 'time', header: t('logs.time'), cell: ({ row }) => <span className="number">{moment(row.original.time)}</span> },
      { accessorKey: 'model', header: t('logs.model'), meta: { lead: true }, cell: ({ row: { original: c } }) => <Text size="sm" fw={550} style={{ overflowWrap: 'anywhere' }}>{c.model || c.requested_model}</Text> },
      { accessorKey: 'client_id', header: t('op.client') },
      { id: 'provider', header: t('prov.provider'), cell: ({ row }) => row.original.attempts.at(-1)?.provider ?? '–' },
      { accessorKey: 'charge', header: t('op.revenue'), meta: { right: true }, cell: ({ row }) => <Money value={row.original.charge} /> },
      { accessorKey: 'margin', header: t('op.margin'), meta: { right: true }, cell: ({ row }) => <Money value={row.original.margin} /> },
      { accessorKey: 'latency_ms', header: t('logs.latency'), meta: { right: true }, cell: ({ row }) => duration(row.original.latency_ms) },
      { accessorKey: 'status', header: t('logs.status'), meta: { trail: true }, cell: ({ row }) => <CallBadge status={row.original.status as CallStatus} /> },
    ],
    [t],
  );
  const l = live.data;
  const calls = l?.steps.reduce((n, s) => n + s.calls, 0) ?? 0;
  const failed = l?.steps.reduce((n, s) => n + s.failed, 0) ?? 0;
  const most = Math.max(1, ...(l?.steps.map((s) => s.calls) ?? []));
  return (
    <>
      <PageTitle title={t('live.title')} text={t('live.text')} />
      {live.error ? (
        <Broken error={live.error} retry={() => void live.refetch()} />
      ) : l === undefined ? (
        <Waiting />
      ) : (
        <Stack gap="lg">
          <SimpleGrid cols={{ base: 1, xs: 2, md: 4 }}>
            <Stat label={t('live.calls')} value={count(calls)} hint={t('op.failed', { n: count(failed) })} />
            <Stat label={t('op.revenue')} value={<Money value={add(...l.steps.map((s) => s.charge))} />} hint={t('live.minute')} />
            <Stat label={t('op.reserved')} value={<Money value={l.reserved} />} hint={t('live.reserved')} />
            <Stat label={t('op.proxies')} value={count(l.proxies.length)} hint={t('live.proxies')} />
          </SimpleGrid>
          <Panel title={t('live.steps')}>
            <Group gap={4} align="flex-end" h={72} wrap="nowrap" role="img" aria-label={t('live.stepsLabel', { n: count(calls) })}>
              {l.steps.map((s) => (
                <Box key={s.time} flex={1} h={`${Math.max(3, (s.calls / most) * 100)}%`} bg={s.failed > 0 ? 'orange.5' : 'relay.5'} style={{ borderRadius: 3 }} title={`${count(s.calls)} · ${moment(s.time)}`} />
              ))}
            </Group>
          </Panel>
          <Panel flush title={t('live.last')}>
            <DataTable rows={l.calls} columns={columns} id={(c) => c.request_id} label={t('live.last')} onOpen={setOpen} empty={<Empty title={t('dash.noCalls')} />} />
          </Panel>
        </Stack>
      )}
      <Drawer opened={open !== null} onClose={() => setOpen(null)} position="right" size="md" title={t('logs.detail')} closeButtonProps={{ 'aria-label': t('common.close') }}>
        {open ? <Detail call={open} /> : null}
      </Drawer>
    </>
  );
}

function Detail({ call: c }: { call: Call }) {
  const { t } = useTranslation();
  const line = (label: string, value: React.ReactNode) => (
    <Group justify="space-between" wrap="nowrap" align="flex-start">
      <Text size="sm" c="dimmed">
        {label}
      </Text>
      <Text size="sm" component="div" ta="right" style={{ overflowWrap: 'anywhere' }}>
        {value}
      </Text>
    </Group>
  );
  return (
    <Stack gap={6}>
      <code>{c.request_id}</code>
      {line(t('op.client'), c.client_id)}
      {line(t('logs.key'), `${c.key_name} (${c.key_id})`)}
      {line(t('logs.model'), c.model)}
      {line(t('op.proxy'), c.proxy)}
      {line(t('logs.http'), `${c.http_status} ${c.code}`)}
      {line(t('op.reserved'), <Money value={c.hold} />)}
      {line(t('op.revenue'), <Money value={c.charge} />)}
      {line(t('op.cost'), <Money value={c.cost} />)}
      {line(t('op.margin'), <Money value={c.margin} />)}
      {line(t('op.multiplier'), `${c.model_multiplier} × ${c.group_multiplier} × ${c.client_multiplier}`)}
      <Text size="sm" fw={550} mt="sm">
        {t('logs.attempts')}
      </Text>
      {c.attempts.map((a) => (
        <Group key={a.n} justify="space-between">
          <Text size="sm">
            {a.n}. {a.provider} · {a.upstream_model}
          </Text>
          <Badge size="sm" tt="none" color={a.outcome === 'ok' ? 'teal' : 'orange'}>
            {a.outcome} {duration(a.duration_ms)}
          </Badge>
        </Group>
      ))}
    </Stack>
  );
}
