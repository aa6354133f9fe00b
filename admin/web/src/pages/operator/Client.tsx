import { Anchor, Badge, Button, Group, Modal, SimpleGrid, Stack, Text, TextInput } from '@mantine/core';
import { useMemo, useState, type FormEvent } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useParams } from 'react-router';
import { del, post, type ApiKey, type CreatedKey, type Entry, type OperatorClient } from '../../api';
import { KeyBadge, Money, PageTitle, Panel, Stat } from '../../components/bits';
import { Booking } from '../../components/booking';
import { Broken, Empty, More, Waiting } from '../../components/states';
import { DataTable, type Columns } from '../../components/table';
import { isDecimal } from '../../decimal';
import { moment } from '../../format';
import { at, useChange, useGet, usePages } from '../../hooks';
import type { Key } from '../../i18n';
import { Reveal } from '../Keys';

export default function Client() {
  const { t } = useTranslation();
  const { id = '' } = useParams();
  const path = `/admin/v1/clients/${encodeURIComponent(id)}`;
  const client = useGet<OperatorClient>(path, {}, { every: 5000 });
  const entries = usePages<Entry>(`${path}/entries`, { limit: 50 });
  const keys = usePages<ApiKey>(`${path}/api-keys`, { limit: 50 });
  const [booking, setBooking] = useState(false);
  const [making, setMaking] = useState(false);
  const [made, setMade] = useState<CreatedKey | null>(null);
  const change = useChange(
    ({ key, to }: { key: ApiKey; to: 'enable' | 'disable' | 'revoke' }) => (to === 'revoke' ? del<ApiKey>(`/admin/v1/api-keys/${key.id}`) : post<ApiKey>(`/admin/v1/api-keys/${key.id}/${to}`)),
    [path],
    (_, { key, to }) => t(to === 'enable' ? 'op.enabled' : to === 'disable' ? 'keys.disabled' : 'keys.revoked', { name: key.name }),
  );
  const ledger = useMemo<Columns<Entry>>(
    () => [
      { accessorKey: 'time', header: t('logs.time'), cell: ({ row }) => <span className="number">{moment(row.original.time)}</span> },
      { accessorKey: 'kind', header: t('bill.kind'), meta: { lead: true }, cell: ({ row }) => <Badge tt="none" color={row.original.amount.startsWith('-') ? 'orange' : 'teal'}>{t(`bill.kind.${row.original.kind}` as Key)}</Badge> },
      { accessorKey: 'note', header: t('op.note'), cell: ({ row }) => <Text span size="sm" style={{ overflowWrap: 'anywhere' }}>{row.original.note}</Text> },
      { accessorKey: 'actor', header: t('op.actor'), meta: { wide: true } },
      { accessorKey: 'amount', header: t('bill.amount'), meta: { right: true, trail: true }, cell: ({ row }) => <Money value={row.original.amount} signed /> },
    ],
    [t],
  );
  const keyColumns = useMemo<Columns<ApiKey>>(
    () => [
      {
        accessorKey: 'name',
        header: t('keys.name'),
        meta: { lead: true },
        cell: ({ row: { original: k } }) => (
          <Stack gap={0}>
            <Text size="sm" fw={550} style={{ overflowWrap: 'anywhere' }}>
              {k.name}
            </Text>
            <Text size="xs" c="dimmed" ff="monospace">
              {k.id.slice(0, 4)}…{k.last4}
            </Text>
          </Stack>
        ),
      },
      { accessorKey: 'status', header: t('keys.status'), meta: { trail: true }, cell: ({ row }) => <KeyBadge state={row.original.status} /> },
      { accessorKey: 'spent_month', header: t('keys.spentMonth'), meta: { right: true }, cell: ({ row }) => <Money value={row.original.spent_month} /> },
      { accessorKey: 'monthly_cap', header: t('keys.cap'), meta: { right: true }, cell: ({ row }) => (row.original.monthly_cap === null ? t('common.none') : <Money value={row.original.monthly_cap} />) },
      {
        id: 'actions',
        header: '',
        meta: { right: true },
        cell: ({ row: { original: k } }) =>
          k.status === 'revoked' ? null : (
            <Group gap={4} justify="flex-end" wrap="nowrap">
              <Button size="compact-xs" variant="subtle" onClick={() => change.mutate({ key: k, to: k.status === 'disabled' ? 'enable' : 'disable' })}>
                {t(k.status === 'disabled' ? 'op.enable' : 'keys.disable')}
              </Button>
              <Button size="compact-xs" variant="subtle" color="red" onClick={() => change.mutate({ key: k, to: 'revoke' })}>
                {t('keys.revoke')}
              </Button>
            </Group>
          ),
      },
    ],
    [t, change],
  );
  // What is open over the page must not go when a later reading of it fails.
  if (client.error && client.data === undefined) return <Broken error={client.error} retry={() => void client.refetch()} />;
  const c = client.data;
  if (c === undefined) return <Waiting />;
  return (
    <>
      <Anchor component={Link} to="/console/operator/clients" size="sm">
        ← {t('op.clientsTitle')}
      </Anchor>
      <PageTitle title={c.name} text={`${c.id} · ${t('op.group')} ${c.group} · ${t('op.multiplier')} ${c.multiplier}`}>
        <Button variant="default" onClick={() => setMaking(true)}>
          {t('op.newKey')}
        </Button>
        <Button onClick={() => setBooking(true)}>{t('op.book')}</Button>
      </PageTitle>
      {made ? <Reveal made={made} onDone={() => setMade(null)} /> : null}
      <Stack gap="lg">
        <SimpleGrid cols={{ base: 1, xs: 3 }} spacing="md">
          <Stat label={t('op.balance')} value={<Money value={c.balance} />} />
          <Stat label={t('op.reserved')} value={<Money value={c.reserved} />} />
          <Stat label={t('op.escrowed')} value={<Money value={c.escrowed} />} />
        </SimpleGrid>
        <Panel flush title={t('op.keys')}>
          {keys.error ? <Broken error={keys.error} /> : <DataTable rows={keys.rows} columns={keyColumns} id={(k) => k.id} label={t('op.keys')} empty={<Empty title={t('keys.empty')} />} />}
        </Panel>
        <Panel flush title={t('op.ledger')}>
          {entries.error ? <Broken error={entries.error} /> : <DataTable rows={entries.rows} columns={ledger} id={(e) => String(e.id)} label={t('op.ledger')} empty={<Empty title={t('op.noLedger')} />} />}
          <More of={entries} />
        </Panel>
      </Stack>
      {booking ? <Booking client={c} onClose={() => setBooking(false)} /> : null}
      {making ? (
        <NewKey
          path={path}
          onClose={() => setMaking(false)}
          onMade={(k) => {
            setMade(k);
            setMaking(false);
          }}
        />
      ) : null}
    </>
  );
}

function NewKey({ path, onClose, onMade }: { path: string; onClose: () => void; onMade: (k: CreatedKey) => void }) {
  const { t } = useTranslation();
  const [name, setName] = useState('');
  const [cap, setCap] = useState('');
  const [tried, setTried] = useState(false);
  const make = useChange(() => post<CreatedKey>(`${path}/api-keys`, { name: name.trim(), monthly_cap: cap.trim() === '' ? null : cap.trim() }), [path], undefined, ['name', 'monthly_cap']);
  const capWrong = cap.trim() !== '' && (!isDecimal(cap.trim()) || cap.trim().startsWith('-'));
  const submit = (e: FormEvent) => {
    e.preventDefault();
    setTried(true);
    if (name.trim() !== '' && !capWrong) make.mutate(undefined, { onSuccess: onMade });
  };
  return (
    <Modal opened onClose={onClose} title={t('op.newKey')} closeButtonProps={{ 'aria-label': t('common.close') }}>
      <form onSubmit={submit} noValidate>
        <Stack>
          <TextInput label={t('keys.name')} data-autofocus required maxLength={128} value={name} onChange={(e) => setName(e.currentTarget.value)} error={tried && name.trim() === '' ? t('keys.needName') : at(make.error, 'name')} />
          <TextInput label={t('keys.capLabel')} description={t('keys.capHint')} leftSection="$" inputMode="decimal" value={cap} onChange={(e) => setCap(e.currentTarget.value)} error={tried && capWrong ? t('keys.badAmount') : at(make.error, 'monthly_cap')} />
          <Group justify="flex-end">
            <Button variant="default" onClick={onClose}>
              {t('common.cancel')}
            </Button>
            <Button type="submit" loading={make.isPending}>
              {t('op.newKey')}
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
