import { Button, Grid, Group, SegmentedControl, Select, SimpleGrid, Stack, Text } from '@mantine/core';
import { IconDownload } from '../icons';
import { useMemo } from 'react';
import { useTranslation } from 'react-i18next';
import { useSearchParams } from 'react-router';
import { withQuery, type ApiKey, type ChargeRow } from '../api';
import { period, useCharges } from '../charges';
import { Money, PageTitle, Panel, Share, Stat } from '../components/bits';
import { byParts, SpendChart } from '../components/spendChart';
import { Broken, Empty, Waiting } from '../components/states';
import { DataTable, type Columns } from '../components/table';
import { add, compare, share } from '../decimal';
import { count, percent, short } from '../format';
import { useGet } from '../hooks';

interface Line {
  id: string;
  name: string;
  calls: number;
  success: number;
  input: number;
  output: number;
  charge: string;
}

function addUp(rows: ChargeRow[], id: (r: ChargeRow) => string, name: (r: ChargeRow) => string): Line[] {
  const lines = new Map<string, Line>();
  for (const r of rows) {
    const l = lines.get(id(r)) ?? { id: id(r), name: name(r), calls: 0, success: 0, input: 0, output: 0, charge: '0' };
    l.calls += r.calls;
    l.success += r.success;
    l.input += r.input_tokens;
    l.output += r.output_tokens;
    l.charge = add(l.charge, r.charge);
    lines.set(id(r), l);
  }
  return [...lines.values()].sort((a, b) => compare(b.charge, a.charge));
}

export default function Usage() {
  const { t } = useTranslation();
  const [params, setParams] = useSearchParams();
  const days = [7, 30, 90].includes(Number(params.get('days'))) ? Number(params.get('days')) : 30;
  const keyId = params.get('key_id');
  const range = useMemo(() => period(days), [days]);
  const charges = useCharges({ from: range.from, to: range.to, key_id: keyId });
  const keys = useGet<{ items: ApiKey[] }>('/openapi/v1/api-keys', { limit: 200 });
  const set = (name: string, value: string | null) =>
    setParams((p) => {
      if (value) p.set(name, value);
      else p.delete(name);
      return p;
    });
  const { rows } = charges;
  const chart = useMemo(() => byParts(rows.map((r) => ({ date: r.date, part: r.model, amount: r.charge })), range.dates, t('dash.other')), [rows, range.dates, t]);
  const byModel = useMemo(() => addUp(rows, (r) => r.model, (r) => r.model), [rows]);
  const byKey = useMemo(() => addUp(rows, (r) => r.key_id, (r) => r.key_name), [rows]);
  const total = byModel.reduce((sum, l) => add(sum, l.charge), '0');
  const sum = (f: (l: Line) => number) => byModel.reduce((n, l) => n + f(l), 0);
  const calls = sum((l) => l.calls);

  const columns = (header: string): Columns<Line> => [
    { accessorKey: 'name', header, meta: { lead: true }, cell: ({ row }) => <Text size="sm" fw={550} style={{ overflowWrap: 'anywhere' }}>{row.original.name}</Text> },
    { accessorKey: 'calls', header: t('usage.calls'), meta: { right: true }, cell: ({ row }) => count(row.original.calls) },
    { accessorKey: 'input', header: t('usage.input'), meta: { right: true, wide: true }, cell: ({ row }) => count(row.original.input) },
    { accessorKey: 'output', header: t('usage.output'), meta: { right: true, wide: true }, cell: ({ row }) => count(row.original.output) },
    { accessorKey: 'charge', header: t('usage.charge'), meta: { right: true }, sortingFn: (a, b) => compare(a.original.charge, b.original.charge), cell: ({ row }) => <Money value={row.original.charge} /> },
    { id: 'share', header: t('usage.share'), enableSorting: false, meta: { wide: true, width: 110 }, cell: ({ row }) => <Share percent={share(row.original.charge, total)} /> },
  ];
  const table = (title: string, header: string, lines: Line[]) => (
    <Panel flush title={title}>
      {charges.complete ? <DataTable rows={lines} columns={columns(header)} id={(l) => l.id} label={title} sortable empty={<Empty title={t('usage.empty')} />} /> : <Waiting />}
    </Panel>
  );

  return (
    <>
      <PageTitle title={t('usage.title')} text={t('usage.subtitle')}>
        <Button component="a" href={withQuery('/openapi/v1/billing/detail.csv', { from: range.from, to: range.to, key_id: keyId })} download variant="default" leftSection={<IconDownload size={16} />}>
          {t('common.exportCsv')}
        </Button>
      </PageTitle>
      <Group mb="md" gap="sm">
        <SegmentedControl aria-label={t('common.period')} value={String(days)} onChange={(v) => set('days', v)} data={[7, 30, 90].map((d) => ({ value: String(d), label: t(`common.days${d as 7 | 30 | 90}`) }))} />
        <Select aria-label={t('usage.key')} placeholder={t('logs.allKeys')} data={keys.data?.items.map((k) => ({ value: k.id, label: `${k.name} (…${k.last4})` })) ?? []} value={keyId} onChange={(v) => set('key_id', v)} searchable clearable />
        <Text size="xs" c="dimmed" ml="auto">
          {t('common.utc')}
        </Text>
      </Group>
      <Stack gap="lg">
        {charges.error ? <Broken error={charges.error} retry={() => void charges.refetch()} /> : null}
        <SimpleGrid cols={{ base: 1, xs: 2, md: 4 }} spacing="md">
          <Stat label={t('usage.total')} loading={!charges.complete} value={<Money value={total} />} />
          <Stat label={t('usage.requests')} loading={!charges.complete} value={short(calls)} hint={t('dash.successRate', { rate: percent(sum((l) => l.success), calls) })} />
          <Stat label={t('usage.input')} loading={!charges.complete} value={short(sum((l) => l.input))} />
          <Stat label={t('usage.output')} loading={!charges.complete} value={short(sum((l) => l.output))} />
        </SimpleGrid>
        <Panel title={t('usage.daily')}>{charges.complete ? <SpendChart days={chart.days} parts={chart.parts} label={t('usage.daily')} h={260} /> : <Waiting />}</Panel>
        <Grid gap="lg">
          <Grid.Col span={12}>{table(t('usage.byModel'), t('usage.model'), byModel)}</Grid.Col>
          <Grid.Col span={12}>{table(t('usage.byKey'), t('usage.key'), byKey)}</Grid.Col>
        </Grid>
      </Stack>
    </>
  );
}
