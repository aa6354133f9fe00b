import { Badge, Grid, Group, SegmentedControl, SimpleGrid, Stack, Text } from '@mantine/core';
import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useNavigate } from 'react-router';
import type { Margin, Proxies, Whole } from '../../api';
import { Money, PageTitle, Panel, Stat } from '../../components/bits';
import { SpendChart } from '../../components/spendChart';
import { Broken, Empty, Waiting } from '../../components/states';
import { DataTable, type Columns } from '../../components/table';
import { share } from '../../decimal';
import { count, moment, short } from '../../format';
import { useGet } from '../../hooks';

type Row = Margin & { id: string; name: string };

export default function Overview() {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const [days, setDays] = useState(30);
  const whole = useGet<Whole>('/admin/v1/overview', { days }, { every: 15_000 });
  const proxies = useGet<Proxies>('/admin/v1/proxies', {}, { every: 5000 });
  const w = whole.data;
  const rows = (header: string): Columns<Row> => [
    { accessorKey: 'name', header, meta: { lead: true }, cell: ({ row }) => <Text size="sm" fw={550} style={{ overflowWrap: 'anywhere' }}>{row.original.name}</Text> },
    { accessorKey: 'calls', header: t('op.requests'), meta: { right: true }, cell: ({ row }) => short(row.original.calls) },
    { accessorKey: 'charge', header: t('op.revenue'), meta: { right: true }, cell: ({ row }) => <Money value={row.original.charge} /> },
    { accessorKey: 'margin', header: t('op.margin'), meta: { right: true }, cell: ({ row }) => <Money value={row.original.margin} /> },
  ];
  const proxyColumns = useMemo<Columns<Proxies['proxies'][number]>>(
    () => [
      { accessorKey: 'name', header: t('op.proxy'), meta: { lead: true }, cell: ({ row }) => <Text size="sm" fw={550} style={{ overflowWrap: 'anywhere' }}>{row.original.name}</Text> },
      { accessorKey: 'live', header: t('op.state'), meta: { trail: true }, cell: ({ row: { original: p } }) => <Badge tt="none" color={p.live ? 'teal' : p.state === 'active' ? 'red' : 'gray'}>{p.live ? t('op.live') : p.state === 'active' ? t('op.silent') : p.state}</Badge> },
      { accessorKey: 'applied_revision', header: t('op.revision'), meta: { right: true }, cell: ({ row }) => count(row.original.applied_revision) },
      { accessorKey: 'heartbeat', header: t('op.heartbeat'), cell: ({ row }) => moment(row.original.heartbeat) },
    ],
    [t],
  );
  return (
    <>
      <PageTitle title={t('op.title')} text={t('op.subtitle', { days })}>
        <SegmentedControl aria-label={t('common.period')} value={String(days)} onChange={(v) => setDays(Number(v))} data={[7, 30, 90].map((d) => ({ value: String(d), label: t(`common.days${d as 7 | 30 | 90}`) }))} />
      </PageTitle>
      <Stack gap="lg">
        {whole.error ? <Broken error={whole.error} retry={() => void whole.refetch()} /> : null}
        <SimpleGrid cols={{ base: 1, xs: 2, md: 4 }} spacing="md">
          <Stat label={t('op.revenue')} loading={whole.isPending} value={w ? <Money value={w.total.charge} /> : null} />
          <Stat label={t('op.cost')} loading={whole.isPending} value={w ? <Money value={w.total.cost} /> : null} />
          <Stat label={t('op.margin')} loading={whole.isPending} value={w ? <Money value={w.total.margin} /> : null} hint={w ? t('op.marginRate', { rate: share(w.total.margin, w.total.charge) }) : ''} />
          <Stat label={t('op.requests')} loading={whole.isPending} value={w ? short(w.total.calls) : null} hint={w ? t('op.failed', { n: count(w.total.calls - w.total.success) }) : ''} />
        </SimpleGrid>
        <Panel title={t('op.byDay')} aside={<Text size="xs" c="dimmed">{t('common.utc')}</Text>}>
          {w ? <SpendChart stacked={false} label={t('op.byDay')} parts={[t('op.revenue'), t('op.cost')]} days={w.days.map((d) => ({ date: d.date, parts: { [t('op.revenue')]: d.charge, [t('op.cost')]: d.cost } }))} /> : <Waiting />}
        </Panel>
        <Grid gap="lg">
          <Grid.Col span={{ base: 12, lg: 6 }}>
            <Panel flush h="100%" title={t('op.topClients')}>
              <DataTable minWidth={400} rows={w?.clients.map((c) => ({ ...c, id: c.client_id })) ?? []} columns={rows(t('op.client'))} id={(r) => r.id} label={t('op.topClients')} onOpen={(r) => void navigate(`/console/operator/clients/${r.id}`)} empty={<Empty title={t('usage.empty')} />} />
            </Panel>
          </Grid.Col>
          <Grid.Col span={{ base: 12, lg: 6 }}>
            <Panel flush h="100%" title={t('op.topModels')}>
              <DataTable minWidth={400} rows={w?.models.map((m) => ({ ...m, id: m.model, name: m.model })) ?? []} columns={rows(t('usage.model'))} id={(r) => r.id} label={t('op.topModels')} empty={<Empty title={t('usage.empty')} />} />
            </Panel>
          </Grid.Col>
          <Grid.Col span={{ base: 12, lg: 7 }}>
            <Panel flush h="100%" title={t('op.proxies')} aside={proxies.data ? <Badge tt="none" color={proxies.data.live > 0 && proxies.data.applied === proxies.data.live ? 'teal' : 'orange'}>{t('op.applied', { revision: proxies.data.revision, applied: proxies.data.applied, live: proxies.data.live })}</Badge> : null}>
              {proxies.error ? <Broken error={proxies.error} /> : <DataTable minWidth={400} rows={proxies.data?.proxies ?? []} columns={proxyColumns} id={(p) => p.name} label={t('op.proxies')} />}
            </Panel>
          </Grid.Col>
          <Grid.Col span={{ base: 12, lg: 5 }}>
            <Panel h="100%" title={t('op.errors')}>
              {w && w.errors.length === 0 ? (
                <Text size="sm" c="dimmed">
                  {t('op.noErrors')}
                </Text>
              ) : (
                w?.errors.map((e) => (
                  <Group key={e.code} justify="space-between">
                    <code>{e.code}</code>
                    <Text size="sm" className="number">
                      {count(e.count)}
                    </Text>
                  </Group>
                ))
              )}
            </Panel>
          </Grid.Col>
        </Grid>
      </Stack>
    </>
  );
}
