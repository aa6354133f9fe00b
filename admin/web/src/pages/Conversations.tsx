import { Badge, Button, Group, Modal, SegmentedControl, Select, Stack, Text, Textarea, TextInput } from '@mantine/core';
import { useMemo, useState, type FormEvent } from 'react';
import { useTranslation } from 'react-i18next';
import { del, patch, post, type Conversation, type Model } from '../api';
import { PageTitle, Panel } from '../components/bits';
import { Empty, Loaded, More } from '../components/states';
import { DataTable, type Columns } from '../components/table';
import { moment } from '../format';
import { at, useChange, useGet, usePages } from '../hooks';
import { IconArchive, IconMessages, IconPlus } from '../icons';

const path = '/openapi/v1/conversations';

/** written is metadata as lines of name=text. */
const written = (m: Record<string, string>): string => Object.entries(m).map(([k, v]) => `${k}=${v}`).join('\n');

/** parsed reads such lines, null where one has no name. */
function parsed(text: string): Record<string, string> | null {
  const out: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const line of text.split('\n').filter((l) => l.trim() !== '')) {
    const at = line.indexOf('=');
    if (at < 1) return null;
    out[line.slice(0, at).trim()] = line.slice(at + 1).trim();
  }
  return out;
}

export default function Conversations() {
  const { t } = useTranslation();
  const [status, setStatus] = useState('active');
  const list = usePages<Conversation>(path, { limit: 50, archived: status === 'archived' });
  const [editing, setEditing] = useState<Conversation | 'new' | null>(null);
  const columns = useMemo<Columns<Conversation>>(
    () => [
      {
        accessorKey: 'title',
        header: t('conv.name'),
        meta: { lead: true },
        cell: ({ row: { original: c } }) => (
          <Stack gap={0}>
            <Text size="sm" fw={550} style={{ overflowWrap: 'anywhere' }}>
              {c.title || t('conv.untitled')}
            </Text>
            <Text size="xs" c="dimmed" ff="monospace">
              {c.id}
            </Text>
          </Stack>
        ),
      },
      { accessorKey: 'model', header: t('models.model'), cell: ({ row }) => row.original.model ?? '–' },
      { id: 'metadata', header: t('conv.metadata'), cell: ({ row }) => <Text size="sm" lineClamp={2} maw={280} style={{ overflowWrap: 'anywhere' }}>{written(row.original.metadata)}</Text> },
      { accessorKey: 'updated_at', header: t('conv.updated'), cell: ({ row }) => moment(row.original.updated_at) },
      { accessorKey: 'status', header: t('keys.status'), meta: { trail: true }, cell: ({ row }) => <Badge tt="none" color={row.original.status === 'active' ? 'teal' : 'gray'}>{t(row.original.status === 'active' ? 'conv.active' : 'conv.archived')}</Badge> },
    ],
    [t],
  );
  return (
    <>
      <PageTitle title={t('conv.title')} text={t('conv.subtitle')}>
        <Button leftSection={<IconPlus size={16} />} onClick={() => setEditing('new')}>
          {t('conv.create')}
        </Button>
      </PageTitle>
      <SegmentedControl mb="md" aria-label={t('keys.status')} value={status} onChange={setStatus} data={[{ value: 'active', label: t('conv.active') }, { value: 'archived', label: t('conv.archived') }]} />
      <Panel flush>
        <Loaded of={list}>
          <DataTable rows={list.rows} columns={columns} id={(c) => c.id} label={t('conv.title')} onOpen={setEditing} empty={<Empty title={t('conv.empty')} text={t('conv.emptyText')} icon={IconMessages} />} />
        </Loaded>
        <More of={list} />
      </Panel>
      {editing ? <Form existing={editing === 'new' ? null : editing} onClose={() => setEditing(null)} /> : null}
    </>
  );
}

function Form({ existing, onClose }: { existing: Conversation | null; onClose: () => void }) {
  const { t } = useTranslation();
  const models = useGet<{ items: Model[] }>('/openapi/v1/models');
  const [title, setTitle] = useState(existing?.title ?? '');
  const [model, setModel] = useState<string | null>(existing?.model ?? null);
  const [metadata, setMetadata] = useState(written(existing?.metadata ?? {}));
  const save = useChange(
    () => {
      const body = { title: title.trim(), model, metadata: parsed(metadata) };
      return existing ? patch<Conversation>(`${path}/${existing.id}`, body) : post<Conversation>(path, body);
    },
    [path],
    () => t('settings.saved'),
    ['title', 'model', 'metadata'],
  );
  const archive = useChange(() => del<Conversation>(`${path}/${existing?.id ?? ''}`), [path], () => t('conv.isArchived'));
  const wrong = parsed(metadata) === null ? t('conv.badMetadata') : null;
  const submit = (e: FormEvent) => {
    e.preventDefault();
    if (wrong === null) save.mutate(undefined, { onSuccess: onClose });
  };
  const archived = existing?.status === 'archived';
  return (
    <Modal opened onClose={onClose} title={existing ? t('conv.edit') : t('conv.create')} closeButtonProps={{ 'aria-label': t('common.close') }}>
      <form onSubmit={submit} noValidate>
        <Stack>
          <TextInput label={t('conv.name')} data-autofocus maxLength={256} value={title} onChange={(e) => setTitle(e.currentTarget.value)} error={at(save.error, 'title')} disabled={archived} />
          <Select label={t('models.model')} clearable searchable data={[...new Set([...(models.data?.items.map((m) => m.id) ?? []), ...(existing?.model ? [existing.model] : [])])]} value={model} onChange={setModel} error={at(save.error, 'model')} disabled={archived} />
          <Textarea label={t('conv.metadata')} description={t('conv.metadataHint')} autosize minRows={2} maxRows={8} value={metadata} onChange={(e) => setMetadata(e.currentTarget.value)} error={wrong ?? at(save.error, 'metadata')} disabled={archived} />
          <Group justify="space-between">
            {existing && !archived ? (
              <Button variant="subtle" color="red" leftSection={<IconArchive size={16} />} loading={archive.isPending} onClick={() => archive.mutate(undefined, { onSuccess: onClose })}>
                {t('conv.archive')}
              </Button>
            ) : (
              <span />
            )}
            <Group gap="sm">
              <Button variant="default" onClick={onClose}>
                {t('common.cancel')}
              </Button>
              {archived ? null : (
                <Button type="submit" loading={save.isPending}>
                  {t('common.save')}
                </Button>
              )}
            </Group>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
