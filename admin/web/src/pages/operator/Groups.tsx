import { Button, Group, Modal, MultiSelect, NumberInput, SimpleGrid, Stack, Text, TextInput } from '@mantine/core';
import { useMemo, useState, type FormEvent } from 'react';
import { useTranslation } from 'react-i18next';
import { data, operator, useOperator, type Schemas } from '../../client';
import { Money, PageTitle, Panel } from '../../components/bits';
import { Empty, Loaded } from '../../components/states';
import { DataTable, type Columns } from '../../components/table';
import { isDecimal } from '../../decimal';
import { count } from '../../format';
import { at, useChange } from '../../hooks';
import { IconPlus, IconUsers } from '../../icons';

type Tier = Schemas['Group'];

const path = '/admin/v1/groups';

/** Groups are the tiers of customers: models, multiplier, limits. */
export default function Groups() {
  const { t } = useTranslation();
  const list = useOperator([path], (signal) => operator.GET(path, { signal }));
  const [editing, setEditing] = useState<Tier | 'new' | null>(null);
  const columns = useMemo<Columns<Tier>>(
    () => [
      { accessorKey: 'name', header: t('op.group'), meta: { lead: true }, cell: ({ row }) => <Text size="sm" fw={550} style={{ overflowWrap: 'anywhere' }}>{row.original.name}</Text> },
      { id: 'models', header: t('keys.models'), cell: ({ row }) => (row.original.models.includes('*') ? t('keys.scope.automatic') : t('keys.scope.selected', { count: row.original.models.length })) },
      { accessorKey: 'multiplier', header: t('op.multiplier'), meta: { right: true }, cell: ({ row }) => `× ${row.original.multiplier}` },
      { id: 'limits', header: t('keys.limits'), cell: ({ row: { original: g } }) => [g.rpm > 0 ? `${count(g.rpm)} rpm` : '', g.tpm > 0 ? `${count(g.tpm)} tpm` : '', g.daily_usd ? `$${g.daily_usd} / d` : ''].filter(Boolean).join(' · ') || t('common.unlimited') },
      { accessorKey: 'clients', header: t('group.clients'), meta: { right: true }, cell: ({ row }) => count(row.original.clients) },
      { accessorKey: 'spent_today', header: t('dash.today'), meta: { right: true }, cell: ({ row }) => <Money value={row.original.spent_today} /> },
    ],
    [t],
  );
  return (
    <>
      <PageTitle title={t('group.title')} text={t('group.text')}>
        <Button leftSection={<IconPlus size={16} />} onClick={() => setEditing('new')}>
          {t('group.add')}
        </Button>
      </PageTitle>
      <Panel flush>
        <Loaded of={list}>
          <DataTable rows={list.data?.items ?? []} columns={columns} id={(g) => g.name} label={t('group.title')} sortable onOpen={setEditing} empty={<Empty title={t('group.none')} icon={IconUsers} />} />
        </Loaded>
      </Panel>
      {editing ? <Form existing={editing === 'new' ? null : editing} onClose={() => setEditing(null)} /> : null}
    </>
  );
}

function Form({ existing, onClose }: { existing: Tier | null; onClose: () => void }) {
  const { t } = useTranslation();
  const models = useOperator(['/admin/v1/models'], (signal) => operator.GET('/admin/v1/models', { signal }));
  const [d, setD] = useState({ name: existing?.name ?? '', models: existing?.models.includes('*') ? [] : (existing?.models ?? []), multiplier: existing?.multiplier ?? '1', rpm: existing?.rpm || '', tpm: existing?.tpm || '', daily: existing?.daily_usd ?? '' });
  const [tried, setTried] = useState(false);
  const set = <K extends keyof typeof d>(name: K, value: (typeof d)[K]) => setD((all) => ({ ...all, [name]: value }));
  const save = useChange(
    () => {
      const limits = { models: d.models.length === 0 ? ['*'] : d.models, multiplier: d.multiplier.trim(), rpm: Number(d.rpm || 0), tpm: Number(d.tpm || 0), daily_usd: d.daily.trim() === '' ? null : d.daily.trim() };
      return data(existing ? operator.PATCH('/admin/v1/groups/{group}', { params: { path: { group: existing.name } }, body: limits }) : operator.POST(path, { body: { name: d.name.trim(), ...limits } }));
    },
    [path],
    () => t('settings.saved'),
    ['name', 'models', 'multiplier', 'daily_usd', 'rpm', 'tpm'],
  );
  const badName = d.name.trim() === '' ? t('keys.needName') : null;
  const badFactor = !isDecimal(d.multiplier.trim(), 6) ? t('op.badPrice') : null;
  const badDaily = d.daily.trim() !== '' && (!isDecimal(d.daily.trim()) || d.daily.trim().startsWith('-')) ? t('keys.badAmount') : null;
  const submit = (e: FormEvent) => {
    e.preventDefault();
    setTried(true);
    if (!badName && !badFactor && !badDaily) save.mutate(undefined, { onSuccess: onClose });
  };
  return (
    <Modal opened onClose={onClose} title={existing ? existing.name : t('group.add')} closeButtonProps={{ 'aria-label': t('common.close') }}>
      <form onSubmit={submit} noValidate>
        <Stack>
          {existing ? null : <TextInput label={t('op.name')} required data-autofocus maxLength={64} value={d.name} onChange={(e) => set('name', e.currentTarget.value)} error={(tried ? badName : null) ?? at(save.error, 'name')} />}
          <MultiSelect label={t('keys.modelsLabel')} description={t('group.modelsText')} data={[...new Set([...(models.data?.items.map((m) => m.id) ?? []), ...d.models])]} value={d.models} onChange={(v) => set('models', v)} searchable clearable maxDropdownHeight={220} error={at(save.error, 'models')} />
          <SimpleGrid cols={2}>
            <TextInput label={t('op.multiplier')} inputMode="decimal" value={d.multiplier} onChange={(e) => set('multiplier', e.currentTarget.value)} error={(tried ? badFactor : null) ?? at(save.error, 'multiplier')} />
            <TextInput label={t('group.daily')} leftSection="$" inputMode="decimal" value={d.daily} onChange={(e) => set('daily', e.currentTarget.value)} error={(tried ? badDaily : null) ?? at(save.error, 'daily_usd')} />
            <NumberInput label={t('keys.rpm')} min={0} allowDecimal={false} hideControls value={d.rpm} onChange={(v) => set('rpm', typeof v === 'number' ? v : '')} error={at(save.error, 'rpm')} />
            <NumberInput label={t('keys.tpm')} min={0} allowDecimal={false} hideControls value={d.tpm} onChange={(v) => set('tpm', typeof v === 'number' ? v : '')} error={at(save.error, 'tpm')} />
          </SimpleGrid>
          <Group justify="flex-end">
            <Button variant="default" onClick={onClose}>
              {t('common.cancel')}
            </Button>
            <Button type="submit" loading={save.isPending}>
              {t('common.save')}
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
