import { Badge, Button, Grid, Group, SegmentedControl, Select, SimpleGrid, Stack, Tabs, Text, TextInput } from '@mantine/core';
import { IconDownload, IconReceipt2 } from '../icons';
import { useMemo, useState, type FormEvent } from 'react';
import { useTranslation } from 'react-i18next';
import { useSearchParams } from 'react-router';
import { post, withQuery, type Balance, type Statement, type StatementLine, type Transaction } from '../api';
import { Money, PageTitle, Panel, Stat } from '../components/bits';
import { Broken, Empty, Loaded, More, Waiting } from '../components/states';
import { DataTable, type Columns } from '../components/table';
import { TraceDrawer } from '../components/trace';
import { compare, usd } from '../decimal';
import { count, moment, month as monthName } from '../format';
import { at, useChange, useGet, usePages } from '../hooks';
import type { Key } from '../i18n';
import { useVisitor } from '../session';

/** months are the last so many, newest first, as YYYY-MM (UTC). */
function months(n: number): string[] {
  const now = new Date();
  return Array.from({ length: n }, (_, i) => new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - i, 1)).toISOString().slice(0, 7));
}

export default function Billing() {
  const { t } = useTranslation();
  const balance = useGet<Balance>('/openapi/v1/balance', {}, { every: 5000 });
  const [params, setParams] = useSearchParams();
  const tab = params.get('tab') === 'ledger' ? 'ledger' : 'statement';
  return (
    <>
      <PageTitle title={t('bill.title')} text={t('bill.subtitle')} />
      <Stack gap="lg">
        {balance.error ? <Broken error={balance.error} retry={() => void balance.refetch()} /> : null}
        <Grid gap="lg" align="stretch">
          <Grid.Col span={{ base: 12, md: 7 }}>
            <Stack gap="sm" h="100%">
              <SimpleGrid cols={{ base: 1, xs: 3 }} spacing="md">
                <Stat label={t('bill.available')} loading={balance.isPending} value={balance.data ? <Money value={balance.data.available} /> : null} />
                <Stat label={t('bill.balance')} loading={balance.isPending} value={balance.data ? <Money value={balance.data.balance} /> : null} />
                <Stat label={t('bill.reserved')} loading={balance.isPending} value={balance.data ? <Money value={balance.data.reserved} /> : null} />
              </SimpleGrid>
              <Text size="xs" c="dimmed">
                {t('bill.explain')}
              </Text>
            </Stack>
          </Grid.Col>
          <Grid.Col span={{ base: 12, md: 5 }}>
            <Redeem />
          </Grid.Col>
        </Grid>
        <Tabs value={tab} onChange={(v) => setParams(v === 'ledger' ? { tab: 'ledger' } : {}, { replace: true })} keepMounted={false}>
          <Tabs.List mb="md">
            <Tabs.Tab value="statement">{t('bill.statement')}</Tabs.Tab>
            <Tabs.Tab value="ledger">{t('bill.ledger')}</Tabs.Tab>
          </Tabs.List>
          <Tabs.Panel value="statement">
            <MonthlyStatement />
          </Tabs.Panel>
          <Tabs.Panel value="ledger">
            <Ledger />
          </Tabs.Panel>
        </Tabs>
      </Stack>
    </>
  );
}

function Redeem() {
  const { t } = useTranslation();
  const { site } = useVisitor();
  const [code, setCode] = useState('');
  const redeem = useChange(
    (c: string) => post<{ amount: string; repeated: boolean }>('/openapi/v1/redeem', { code: c }),
    ['/openapi/v1/balance', '/openapi/v1/billing/monthly-statement', '/openapi/v1/cost'],
    (out) => (out.repeated ? t('bill.redeemedBefore') : t('bill.redeemed', { amount: usd(out.amount) })),
    ['code'],
  );
  const submit = (e: FormEvent) => {
    e.preventDefault();
    redeem.mutate(code.trim(), { onSuccess: () => setCode('') });
  };
  return (
    <Panel title={t('bill.redeem')} h="100%">
      <form onSubmit={submit}>
        <Group gap="sm" align="flex-start" wrap="nowrap">
          <TextInput flex={1} aria-label={t('bill.code')} placeholder={t('bill.code')} required value={code} onChange={(e) => setCode(e.currentTarget.value)} error={at(redeem.error, 'code')} />
          <Button type="submit" loading={redeem.isPending}>
            {t('bill.redeemSubmit')}
          </Button>
        </Group>
      </form>
      <Text size="xs" c="dimmed">
        {t('bill.redeemText')} {site.contact ? t('bill.topUp', { contact: site.contact }) : t('bill.topUpOperator')}
      </Text>
    </Panel>
  );
}

const kindColor: Record<string, string> = { recharge: 'teal', refund: 'teal', correction: 'orange', bad_debt: 'red', reservation: 'gray', release: 'gray', charge: 'relay' };

function Kind({ kind }: { kind: string }) {
  const { t } = useTranslation();
  return (
    <Badge tt="none" color={kindColor[kind] ?? 'gray'} fw={600}>
      {t(`bill.kind.${kind}` as Key)}
    </Badge>
  );
}

function MonthlyStatement() {
  const { t } = useTranslation();
  const list = useMemo(() => months(13), []);
  const [month, setMonth] = useState(list[0] ?? '');
  const statement = useGet<Statement>('/openapi/v1/billing/monthly-statement', { month });
  const s = statement.data;
  const lines = useMemo<Columns<StatementLine>>(
    () => [
      { accessorKey: 'model', header: t('usage.model'), meta: { lead: true }, cell: ({ row }) => <Text size="sm" fw={550}>{row.original.model}</Text> },
      { accessorKey: 'key_name', header: t('usage.key') },
      { accessorKey: 'calls', header: t('usage.calls'), meta: { right: true }, cell: ({ row }) => count(row.original.calls) },
      { accessorKey: 'input_tokens', header: t('usage.input'), meta: { right: true }, cell: ({ row }) => count(row.original.input_tokens) },
      { accessorKey: 'output_tokens', header: t('usage.output'), meta: { right: true }, cell: ({ row }) => count(row.original.output_tokens) },
      { accessorKey: 'charge', header: t('usage.charge'), meta: { right: true }, sortingFn: (a, b) => compare(a.original.charge, b.original.charge), cell: ({ row }) => <Money value={row.original.charge} /> },
    ],
    [t],
  );
  const payments = useMemo<Columns<Statement['transactions'][number]>>(
    () => [
      { accessorKey: 'time', header: t('logs.time'), cell: ({ row }) => moment(row.original.time) },
      { accessorKey: 'kind', header: t('bill.kind'), meta: { lead: true }, cell: ({ row }) => <Kind kind={row.original.kind} /> },
      { accessorKey: 'note', header: t('bill.note'), cell: ({ row }) => <Text span size="sm" style={{ overflowWrap: 'anywhere' }}>{row.original.note}</Text> },
      { accessorKey: 'amount', header: t('bill.amount'), meta: { right: true, trail: true }, cell: ({ row }) => <Money value={row.original.amount} signed /> },
    ],
    [t],
  );
  return (
    <Stack gap="lg">
      <Group justify="space-between">
        <Select aria-label={t('bill.month')} data={list.map((m) => ({ value: m, label: monthName(m) }))} value={month} onChange={(v) => v && setMonth(v)} allowDeselect={false} />
        <Button component="a" href={withQuery('/openapi/v1/billing/monthly-statement.csv', { month })} download variant="default" leftSection={<IconDownload size={16} />}>
          {t('common.exportCsv')}
        </Button>
      </Group>
      {statement.error ? (
        <Broken error={statement.error} retry={() => void statement.refetch()} />
      ) : s === undefined ? (
        <Waiting />
      ) : (
        <>
          <SimpleGrid cols={{ base: 1, xs: 3 }} spacing="md">
            <Stat label={t('bill.charges')} value={<Money value={s.charges} />} hint={`${count(s.calls)} ${t('usage.calls').toLowerCase()}`} />
            <Stat label={t('bill.credits')} value={<Money value={s.credits} />} />
            <Stat label={t('bill.net')} value={<Money value={s.net} signed />} />
          </SimpleGrid>
          <Panel flush title={t('bill.lines')}>
            <DataTable rows={s.lines} columns={lines} id={(l) => `${l.model} ${l.key_id}`} label={t('bill.lines')} sortable empty={<Empty title={t('bill.noLines')} icon={IconReceipt2} />} />
          </Panel>
          <Panel flush title={t('bill.transactions')}>
            <DataTable rows={s.transactions} columns={payments} id={(p) => p.id} label={t('bill.transactions')} empty={<Empty title={t('bill.noTransactions')} icon={IconReceipt2} />} />
          </Panel>
        </>
      )}
    </Stack>
  );
}

const kinds = ['', 'recharge', 'charge', 'reservation', 'release', 'correction', 'refund'] as const;

function Ledger() {
  const { t } = useTranslation();
  const [kind, setKind] = useState('');
  const [open, setOpen] = useState<string | null>(null);
  const list = usePages<Transaction>('/openapi/v1/balance-transactions', { kind, limit: 50 });
  const columns = useMemo<Columns<Transaction>>(
    () => [
      { accessorKey: 'booked_at', header: t('logs.time'), cell: ({ row }) => <span className="number">{moment(row.original.booked_at)}</span> },
      { accessorKey: 'kind', header: t('bill.kind'), meta: { lead: true }, cell: ({ row }) => <Kind kind={row.original.kind} /> },
      { id: 'what', header: t('bill.note'), cell: ({ row: { original: x } }) => <Text span size="sm" style={{ overflowWrap: 'anywhere' }}>{x.model ? `${x.model} · ${x.key_name ?? ''}` : x.note}</Text> },
      { accessorKey: 'id', header: t('bill.reference'), meta: { wide: true }, cell: ({ row }) => <Text span size="xs" ff="monospace" c="dimmed">{row.original.id}</Text> },
      { accessorKey: 'amount', header: t('bill.amount'), meta: { right: true, trail: true }, cell: ({ row }) => <Money value={row.original.amount} signed /> },
    ],
    [t],
  );
  return (
    <Stack gap="md">
      <Group justify="space-between" gap="sm">
        <div style={{ overflowX: 'auto', maxWidth: '100%' }}>
          <SegmentedControl aria-label={t('bill.kind')} value={kind} onChange={setKind} data={kinds.map((k) => ({ value: k, label: k === '' ? t('common.all') : t(`bill.kind.${k}`) }))} />
        </div>
        <Button component="a" href={withQuery('/openapi/v1/balance-transactions.csv', { kind })} download variant="default" leftSection={<IconDownload size={16} />}>
          {t('common.exportCsv')}
        </Button>
      </Group>
      <Text size="sm" c="dimmed">
        {t('bill.movementsText')}
      </Text>
      <Panel flush>
        <Loaded of={list}>
          <DataTable rows={list.rows} columns={columns} id={(x) => x.id} label={t('bill.movements')} onOpen={(x) => x.request_id && setOpen(x.request_id)} empty={<Empty title={t('bill.noTransactions')} icon={IconReceipt2} />} />
        </Loaded>
        <More of={list} />
      </Panel>
      <TraceDrawer id={open} onClose={() => setOpen(null)} />
    </Stack>
  );
}
