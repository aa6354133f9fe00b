import { Button, Group, Modal, Stack, TextInput } from '@mantine/core';
import { useState, type FormEvent } from 'react';
import { useTranslation } from 'react-i18next';
import { post, type OperatorClient } from '../api';
import { isDecimal, isZero, usd } from '../decimal';
import { at, useChange } from '../hooks';

/** Booking puts money on a wallet, or takes it off. The reference makes a second press harmless. */
export function Booking({ client, onClose }: { client: OperatorClient; onClose: () => void }) {
  const { t } = useTranslation();
  const [amount, setAmount] = useState('');
  const [note, setNote] = useState('');
  const [tried, setTried] = useState(false);
  const [ref] = useState(() => `console-${crypto.getRandomValues(new Uint32Array(3)).join('-')}`);
  const book = useChange(
    () => post<{ balance: string }>(`/admin/v1/clients/${client.id}/credit`, { amount: amount.trim(), note: note.trim(), ref }),
    ['/admin/v1/clients', '/openapi/v1/balance', '/openapi/v1/billing'],
    (out) => t('op.booked', { amount: usd(out.balance) }),
    ['amount', 'note'],
  );
  const wrong = !isDecimal(amount.trim()) || isZero(amount.trim()) ? t('keys.badAmount') : null;
  const submit = (e: FormEvent) => {
    e.preventDefault();
    setTried(true);
    if (wrong === null) book.mutate(undefined, { onSuccess: onClose });
  };
  return (
    <Modal opened onClose={onClose} title={t('op.bookTitle', { name: client.name })} closeButtonProps={{ 'aria-label': t('common.close') }}>
      <form onSubmit={submit} noValidate>
        <Stack>
          <TextInput label={t('op.amount')} description={t('op.amountHint')} inputMode="decimal" leftSection="$" data-autofocus required value={amount} onChange={(e) => setAmount(e.currentTarget.value)} error={(tried ? wrong : null) ?? at(book.error, 'amount')} />
          <TextInput label={t('op.note')} maxLength={500} value={note} onChange={(e) => setNote(e.currentTarget.value)} error={at(book.error, 'note')} />
          <Group justify="flex-end">
            <Button variant="default" onClick={onClose}>
              {t('common.cancel')}
            </Button>
            <Button type="submit" loading={book.isPending}>
              {t('op.book')}
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
