import { Badge, Button, Group, Modal, Stack, Text, TextInput } from '@mantine/core';
import { useMemo, useState, type FormEvent } from 'react';
import { useTranslation } from 'react-i18next';
import { useNavigate } from 'react-router';
import { post, type OperatorClient } from '../../api';
import { Money, PageTitle, Panel } from '../../components/bits';
import { Booking } from '../../components/booking';
import { Empty, Loaded, More } from '../../components/states';
import { DataTable, type Columns } from '../../components/table';
import { compare, isDecimal } from '../../decimal';
import { at, useChange, usePages } from '../../hooks';
import { IconBuilding, IconPlus } from '../../icons';

const path = '/admin/v1/clients';

export default function Clients() {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const clients = usePages<OperatorClient>(path, { limit: 100 });
  const [making, setMaking] = useState(false);
  const [booking, setBooking] = useState<OperatorClient | null>(null);
  const columns = useMemo<Columns<OperatorClient>>(
    () => [
      {
        accessorKey: 'name',
        header: t('op.client'),
        meta: { lead: true },
        cell: ({ row: { original: c } }) => (
          <Stack gap={0}>
            <Text size="sm" fw={550} style={{ overflowWrap: 'anywhere' }}>
              {c.name}
            </Text>
            <Text size="xs" c="dimmed">
              {c.id}
            </Text>
          </Stack>
        ),
      },
      { accessorKey: 'active', header: t('keys.status'), cell: ({ row }) => <Badge tt="none" color={row.original.active ? 'teal' : 'red'}>{t(row.original.active ? 'op.active' : 'op.inactive')}</Badge> },
      { accessorKey: 'group', header: t('op.group') },
      { accessorKey: 'multiplier', header: t('op.multiplier'), meta: { right: true }, cell: ({ row }) => `× ${row.original.multiplier}` },
      { accessorKey: 'balance', header: t('op.balance'), meta: { right: true }, sortingFn: (a, b) => compare(a.original.balance, b.original.balance), cell: ({ row }) => <Money value={row.original.balance} /> },
      { accessorKey: 'reserved', header: t('op.reserved'), meta: { right: true, wide: true }, cell: ({ row }) => <Money value={row.original.reserved} /> },
      { accessorKey: 'escrowed', header: t('op.escrowed'), meta: { right: true, wide: true }, cell: ({ row }) => <Money value={row.original.escrowed} /> },
      {
        id: 'actions',
        header: '',
        enableSorting: false,
        meta: { right: true, trail: true },
        cell: ({ row: { original: c } }) => (
          <Button
            size="compact-sm"
            variant="light"
            onClick={(e) => {
              e.stopPropagation();
              setBooking(c);
            }}
          >
            {t('op.book')}
          </Button>
        ),
      },
    ],
    [t],
  );
  return (
    <>
      <PageTitle title={t('op.clientsTitle')} text={t('op.clientsText')}>
        <Button leftSection={<IconPlus size={16} />} onClick={() => setMaking(true)}>
          {t('op.newClient')}
        </Button>
      </PageTitle>
      <Panel flush>
        <Loaded of={clients}>
          <DataTable rows={clients.rows} columns={columns} id={(c) => c.id} label={t('op.clientsTitle')} sortable onOpen={(c) => void navigate(`/console/operator/clients/${c.id}`)} empty={<Empty title={t('op.noClients')} icon={IconBuilding} />} />
        </Loaded>
        <More of={clients} />
      </Panel>
      {making ? <NewClient onClose={() => setMaking(false)} /> : null}
      {booking ? <Booking client={booking} onClose={() => setBooking(null)} /> : null}
    </>
  );
}

function NewClient({ onClose }: { onClose: () => void }) {
  const { t } = useTranslation();
  const [draft, setDraft] = useState({ name: '', group: '', credit: '', multiplier: '' });
  const [tried, setTried] = useState(false);
  const make = useChange(
    () => post<OperatorClient>(path, { name: draft.name.trim(), group: draft.group.trim(), multiplier: draft.multiplier.trim(), ...(draft.credit.trim() === '' ? {} : { credit: draft.credit.trim() }) }),
    [path],
    (c) => t('op.created', { name: c.name }),
    ['name', 'group', 'multiplier', 'credit'],
  );
  const set = (name: keyof typeof draft) => (e: { currentTarget: { value: string } }) => {
    const { value } = e.currentTarget;
    setDraft((d) => ({ ...d, [name]: value }));
  };
  const amountWrong = draft.credit.trim() !== '' && (!isDecimal(draft.credit.trim()) || draft.credit.trim().startsWith('-'));
  const factorWrong = draft.multiplier.trim() !== '' && !isDecimal(draft.multiplier.trim(), 6);
  const submit = (e: FormEvent) => {
    e.preventDefault();
    setTried(true);
    if (draft.name.trim() !== '' && !amountWrong && !factorWrong) make.mutate(undefined, { onSuccess: onClose });
  };
  return (
    <Modal opened onClose={onClose} title={t('op.newClient')} closeButtonProps={{ 'aria-label': t('common.close') }}>
      <form onSubmit={submit} noValidate>
        <Stack>
          <TextInput label={t('op.name')} data-autofocus required maxLength={128} value={draft.name} onChange={set('name')} error={tried && draft.name.trim() === '' ? t('keys.needName') : at(make.error, 'name')} />
          <Group grow align="flex-start">
            <TextInput label={t('op.group')} placeholder="default" value={draft.group} onChange={set('group')} error={at(make.error, 'group')} />
            <TextInput label={t('op.multiplier')} placeholder="1.0" inputMode="decimal" value={draft.multiplier} onChange={set('multiplier')} error={tried && factorWrong ? t('op.badPrice') : at(make.error, 'multiplier')} />
          </Group>
          <TextInput label={t('op.credit')} leftSection="$" inputMode="decimal" value={draft.credit} onChange={set('credit')} error={tried && amountWrong ? t('keys.badAmount') : at(make.error, 'credit')} />
          <Group justify="flex-end">
            <Button variant="default" onClick={onClose}>
              {t('common.cancel')}
            </Button>
            <Button type="submit" loading={make.isPending}>
              {t('op.newClient')}
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
