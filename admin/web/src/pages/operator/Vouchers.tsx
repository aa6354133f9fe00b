import { Alert, Badge, Button, Group, Modal, NumberInput, Stack, Text, TextInput } from '@mantine/core';
import { useMemo, useState, type FormEvent } from 'react';
import { useTranslation } from 'react-i18next';
import { data, operator, useOperator, type Schemas } from '../../client';
import { Copy, Money, PageTitle, Panel } from '../../components/bits';
import { Empty, Loaded } from '../../components/states';
import { DataTable, type Columns } from '../../components/table';
import { isDecimal, isZero } from '../../decimal';
import { moment } from '../../format';
import { at, useChange } from '../../hooks';
import { IconPlus, IconTicket } from '../../icons';

type Voucher = Schemas['VoucherView'];

const path = '/admin/v1/vouchers';
const colors: Record<string, string> = { open: 'teal', redeemed: 'gray', revoked: 'red', expired: 'orange' };

/** Vouchers are codes that customers redeem for money, each once. */
export default function Vouchers() {
  const { t } = useTranslation();
  const list = useOperator([path], (signal) => operator.GET(path, { signal, params: { query: { limit: 100 } } }));
  const [making, setMaking] = useState(false);
  const [made, setMade] = useState<Voucher[]>([]);
  const revoke = useChange((id: number) => data(operator.DELETE('/admin/v1/vouchers/{voucher_id}', { params: { path: { voucher_id: String(id) } } })), [path], () => t('vouch.revoked'));
  const columns = useMemo<Columns<Voucher>>(
    () => [
      { accessorKey: 'last4', header: t('bill.code'), meta: { lead: true }, cell: ({ row }) => <code>…{row.original.last4}</code> },
      { accessorKey: 'amount', header: t('bill.amount'), meta: { right: true }, cell: ({ row }) => <Money value={row.original.amount} /> },
      { accessorKey: 'status', header: t('keys.status'), meta: { trail: true }, cell: ({ row }) => <Badge tt="none" color={colors[row.original.status] ?? 'gray'}>{row.original.status}</Badge> },
      { accessorKey: 'note', header: t('op.note'), cell: ({ row }) => <Text size="sm" style={{ overflowWrap: 'anywhere' }}>{row.original.note}</Text> },
      { accessorKey: 'created_at', header: t('keys.created'), cell: ({ row }) => moment(row.original.created_at) },
      { id: 'actions', header: '', enableSorting: false, meta: { right: true }, cell: ({ row: { original: v } }) => (v.status === 'open' ? <Button size="compact-sm" variant="subtle" color="red" onClick={() => revoke.mutate(v.id)} aria-label={`${t('keys.revoke')}: …${v.last4}`}>{t('keys.revoke')}</Button> : null) },
    ],
    // eslint-disable-next-line react-hooks/exhaustive-deps -- the mutation is a new object each time
    [t],
  );
  const codes = made.map((v) => v.code ?? '').join('\n');
  return (
    <>
      <PageTitle title={t('vouch.title')} text={t('vouch.text')}>
        <Button leftSection={<IconPlus size={16} />} onClick={() => setMaking(true)}>
          {t('vouch.make')}
        </Button>
      </PageTitle>
      {made.length > 0 ? (
        <Alert color="teal" variant="light" radius="lg" mb="lg" icon={<IconTicket size={20} />} title={t('vouch.made')}>
          <pre className="key-token" data-testid="codes">{codes}</pre>
          <Group gap="sm">
            <Copy value={codes} label={t('common.copy')} />
            <Button variant="default" onClick={() => setMade([])}>
              {t('keys.revealDone')}
            </Button>
          </Group>
        </Alert>
      ) : null}
      <Panel flush>
        <Loaded of={list}>
          <DataTable rows={list.data?.items ?? []} columns={columns} id={(v) => String(v.id)} label={t('vouch.title')} empty={<Empty title={t('vouch.none')} icon={IconTicket} />} />
        </Loaded>
      </Panel>
      {making ? <Make onClose={() => setMaking(false)} onMade={setMade} /> : null}
    </>
  );
}

function Make({ onClose, onMade }: { onClose: () => void; onMade: (v: Voucher[]) => void }) {
  const { t } = useTranslation();
  const [amount, setAmount] = useState('');
  const [n, setN] = useState<number>(1);
  const [note, setNote] = useState('');
  const [tried, setTried] = useState(false);
  const make = useChange(() => data(operator.POST(path, { body: { amount: amount.trim(), count: n, note: note.trim() } })), [path], undefined, ['amount', 'count', 'note']);
  const wrong = !isDecimal(amount.trim()) || amount.trim().startsWith('-') || isZero(amount.trim()) ? t('keys.badAmount') : null;
  const submit = (e: FormEvent) => {
    e.preventDefault();
    setTried(true);
    if (wrong) return;
    make.mutate(undefined, {
      onSuccess: (out) => {
        onMade(out.items);
        onClose();
      },
    });
  };
  return (
    <Modal opened onClose={onClose} title={t('vouch.make')} closeButtonProps={{ 'aria-label': t('common.close') }}>
      <form onSubmit={submit} noValidate>
        <Stack>
          <TextInput label={t('op.amount')} required data-autofocus leftSection="$" inputMode="decimal" value={amount} onChange={(e) => setAmount(e.currentTarget.value)} error={(tried ? wrong : null) ?? at(make.error, 'amount')} />
          <NumberInput label={t('vouch.count')} min={1} max={1000} allowDecimal={false} value={n} onChange={(v) => typeof v === 'number' && setN(v)} error={at(make.error, 'count')} />
          <TextInput label={t('op.note')} maxLength={500} value={note} onChange={(e) => setNote(e.currentTarget.value)} error={at(make.error, 'note')} />
          <Group justify="flex-end">
            <Button variant="default" onClick={onClose}>
              {t('common.cancel')}
            </Button>
            <Button type="submit" loading={make.isPending}>
              {t('vouch.make')}
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
