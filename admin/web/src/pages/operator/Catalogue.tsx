import { Badge, Button, Drawer, Stack, Text, TextInput } from '@mantine/core';
import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { operator, useOperator, type Schemas } from '../../client';
import { ModelForm } from '../../components/modelForm';
import { ModelName, PageTitle, Panel } from '../../components/bits';
import { ModelRoutes } from '../../components/routes';
import { Empty, Loaded } from '../../components/states';
import { DataTable, type Columns } from '../../components/table';
import { tokens } from '../../format';
import { IconPlus, IconRobot, IconSearch } from '../../icons';

type Model = Schemas['OperatorModel'];

const path = '/admin/v1/models';

/** Catalogue is which models there are, under which names, and who serves them: C19, S0-11. */
export default function Catalogue() {
  const { t } = useTranslation();
  const list = useOperator([path], (signal) => operator.GET(path, { signal }));
  const [text, setText] = useState('');
  const [open, setOpen] = useState<string | null>(null);
  const [making, setMaking] = useState(false);
  const word = text.trim().toLowerCase();
  const shown = useMemo(() => (list.data?.items ?? []).filter((m) => [m.id, ...m.aliases, ...m.routes.map((r) => r.provider)].some((name) => name.toLowerCase().includes(word))), [list.data, word]);
  const columns = useMemo<Columns<Model>>(
    () => [
      {
        accessorKey: 'id',
        header: t('models.model'),
        meta: { lead: true },
        cell: ({ row: { original: m } }) => (
          <ModelName id={m.id}>
            {m.auto ? <Badge size="xs" tt="none">auto · {m.auto}</Badge> : null}
            {!m.auto && m.price_id === 0 ? <Badge size="xs" tt="none" color="red">{t('op.unpriced')}</Badge> : null}
            {!m.auto && m.routes.length === 0 ? <Badge size="xs" tt="none" color="red">{t('op.noCost')}</Badge> : null}
            {m.off_routes.length > 0 ? <Badge size="xs" tt="none" color="orange">{t('cat.off', { n: m.off_routes.length })}</Badge> : null}
          </ModelName>
        ),
      },
      { id: 'aliases', header: t('models.aliases'), enableSorting: false, cell: ({ row }) => <Text size="xs" c="dimmed" style={{ overflowWrap: 'anywhere' }}>{row.original.aliases.join(', ') || '–'}</Text> },
      { accessorKey: 'context_tokens', header: t('models.context'), meta: { right: true, wide: true }, cell: ({ row }) => tokens(row.original.context_tokens) },
      { id: 'routes', header: t('op.routes'), accessorFn: (m) => m.routes.length, cell: ({ row: { original: m } }) => <Text size="xs" c="dimmed" style={{ overflowWrap: 'anywhere' }}>{m.auto ? m.auto_models.join(', ') : m.routes.map((r) => (r.region ? `${r.provider} (${r.region})` : r.provider)).join(', ') || '–'}</Text> },
    ],
    [t],
  );
  const model = list.data?.items.find((m) => m.id === open) ?? null;
  return (
    <>
      <PageTitle title={t('cat.title')} text={t('cat.text')}>
        <Button leftSection={<IconPlus size={16} />} onClick={() => setMaking(true)}>
          {t('cat.add')}
        </Button>
      </PageTitle>
      <TextInput mb="md" maw={360} placeholder={t('common.search')} aria-label={t('common.search')} leftSection={<IconSearch size={16} />} value={text} onChange={(e) => setText(e.currentTarget.value)} />
      <Panel flush>
        <Loaded of={list}>
          <DataTable rows={shown} columns={columns} id={(m) => m.id} label={t('cat.title')} sortable onOpen={(m) => setOpen(m.id)} empty={<Empty title={t('models.empty')} icon={IconRobot} />} />
        </Loaded>
      </Panel>
      <Drawer opened={model !== null || making} onClose={() => { setOpen(null); setMaking(false); }} position="right" size="lg" title={model?.id ?? t('cat.add')} closeButtonProps={{ 'aria-label': t('common.close') }}>
        {making ? (
          <ModelForm
            existing={null}
            onDone={(id) => {
              setMaking(false);
              setOpen(id);
            }}
          />
        ) : model ? (
          <Stack key={model.id} gap="xl">
            <ModelForm existing={model} onDone={() => undefined} onGone={() => setOpen(null)} />
            {model.auto ? null : <ModelRoutes model={model} />}
          </Stack>
        ) : null}
      </Drawer>
    </>
  );
}
