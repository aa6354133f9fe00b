import '@mantine/dates/styles.css';

import { ActionIcon, Alert, Button, Collapse, Group, Menu, Modal, MultiSelect, NumberInput, Stack, Text, TextInput, Tooltip } from '@mantine/core';
import { DateTimePicker } from '@mantine/dates';
import { useDisclosure } from '@mantine/hooks';
import { IconAlertTriangle, IconBan, IconChevronDown, IconDots, IconKey, IconPencil, IconPlayerPause, IconPlus, IconCopy, IconRefresh } from '../icons';
import { useEffect, useMemo, useState, type FormEvent } from 'react';
import { useTranslation } from 'react-i18next';
import { useSearchParams } from 'react-router';
import { del, patch, post, type ApiKey, type CreatedKey, type Model } from '../api';
import { Copy, KeyBadge, Money, PageTitle, Panel, Share } from '../components/bits';
import { Empty, Loaded, More } from '../components/states';
import { DataTable, type Columns } from '../components/table';
import { compare, isDecimal, share } from '../decimal';
import { day, moment } from '../format';
import { at, useChange, useGet, usePages } from '../hooks';
import { useVisitor } from '../session';

const path = '/openapi/v1/api-keys';

export default function Keys() {
  const { t } = useTranslation();
  const keys = usePages<ApiKey>(path, { limit: 100 });
  const [params, setParams] = useSearchParams();
  const [editing, setEditing] = useState<ApiKey | 'new' | null>(params.has('new') ? 'new' : null);
  const [asking, setAsking] = useState<Asked | null>(null);
  const [made, setMade] = useState<CreatedKey | null>(null);
  const close = () => {
    setEditing(null);
    if (params.has('new')) setParams({}, { replace: true });
  };

  const columns = useMemo<Columns<ApiKey>>(
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
      { accessorKey: 'status', header: t('keys.status'), cell: ({ row }) => <KeyBadge state={row.original.status} />, meta: { trail: true } },
      {
        accessorKey: 'spent_month',
        header: t('keys.spentMonth'),
        sortingFn: (a, b) => compare(a.original.spent_month, b.original.spent_month),
        cell: ({ row: { original: k } }) => (
          <Stack gap={4} miw={130}>
            <span>
              <Money value={k.spent_month} />{' '}
              {k.monthly_cap !== null ? (
                <Text span size="xs" c="dimmed">
                  {t('keys.ofCap', { amount: `$${k.monthly_cap}` })}
                </Text>
              ) : null}
            </span>
            {k.monthly_cap !== null ? <Share percent={share(k.spent_month, k.monthly_cap)} /> : null}
          </Stack>
        ),
      },
      {
        id: 'models',
        header: t('keys.models'),
        enableSorting: false,
        cell: ({ row: { original: k } }) => (
          <Tooltip label={k.allowed_model_ids.join(', ')} disabled={k.allowed_model_ids.length === 0} multiline maw={320}>
            <span>{k.model_scope === 'selected' ? t('keys.scope.selected', { count: k.allowed_model_ids.length }) : k.model_scope === 'single' ? k.allowed_model_ids[0] : t('keys.scope.automatic')}</span>
          </Tooltip>
        ),
      },
      {
        id: 'limits',
        header: t('keys.limits'),
        enableSorting: false,
        cell: ({ row: { original: k } }) => {
          const list = [k.rpm > 0 ? `${k.rpm} rpm` : '', k.tpm > 0 ? `${k.tpm} tpm` : '', k.expires_at ? `→ ${day(k.expires_at)}` : ''].filter(Boolean);
          return list.length > 0 ? list.join(' · ') : <Text span size="sm" c="dimmed">{t('common.unlimited')}</Text>;
        },
      },
      { accessorKey: 'last_used_at', header: t('keys.lastUsed'), cell: ({ row: { original: k } }) => (k.last_used_at ? <span title={moment(k.last_used_at)}>{day(k.last_used_at)}</span> : <Text span size="sm" c="dimmed">{t('common.never')}</Text>) },
      { accessorKey: 'created_at', header: t('keys.created'), cell: ({ row }) => <span title={moment(row.original.created_at)}>{day(row.original.created_at)}</span> },
      {
        id: 'actions',
        header: '',
        enableSorting: false,
        meta: { trail: true, right: true, width: 56 },
        cell: ({ row: { original: k } }) =>
          k.status === 'revoked' ? null : (
            <Menu position="bottom-end">
              <Menu.Target>
                <ActionIcon variant="subtle" color="gray" aria-label={`${t('common.actions')}: ${k.name}`}>
                  <IconDots size={18} />
                </ActionIcon>
              </Menu.Target>
              <Menu.Dropdown>
                <Menu.Item leftSection={<IconPencil size={16} />} onClick={() => setEditing(k)}>
                  {t('keys.edit')}
                </Menu.Item>
                <Menu.Item leftSection={<IconCopy size={16} />} onClick={() => setAsking({ key: k, what: 'copy' })}>
                  {t('keys.copy')}
                </Menu.Item>
                {k.status === 'active' ? (
                  <Menu.Item leftSection={<IconRefresh size={16} />} onClick={() => setAsking({ key: k, what: 'rotate' })}>
                    {t('keys.rotate')}
                  </Menu.Item>
                ) : null}
                {k.status === 'disabled' ? null : (
                  <Menu.Item leftSection={<IconPlayerPause size={16} />} onClick={() => setAsking({ key: k, what: 'disable' })}>
                    {t('keys.disable')}
                  </Menu.Item>
                )}
                <Menu.Item color="red" leftSection={<IconBan size={16} />} onClick={() => setAsking({ key: k, what: 'revoke' })}>
                  {t('keys.revoke')}
                </Menu.Item>
              </Menu.Dropdown>
            </Menu>
          ),
      },
    ],
    [t],
  );

  return (
    <>
      <PageTitle title={t('keys.title')} text={t('keys.subtitle')}>
        <Button leftSection={<IconPlus size={16} />} onClick={() => setEditing('new')}>
          {t('keys.create')}
        </Button>
      </PageTitle>
      {made ? <Reveal made={made} onDone={() => setMade(null)} /> : null}
      <Panel flush>
        <Loaded of={keys}>
          <DataTable
            rows={keys.rows}
            columns={columns}
            id={(k) => k.id}
            label={t('keys.title')}
            sortable
            empty={
              <Empty title={t('keys.empty')} text={t('keys.emptyText')} icon={IconKey}>
                <Button mt="sm" onClick={() => setEditing('new')}>
                  {t('keys.create')}
                </Button>
              </Empty>
            }
          />
        </Loaded>
        <More of={keys} />
      </Panel>
      <KeyForm
        key={editing === 'new' ? 'new' : (editing?.id ?? 'closed')}
        editing={editing}
        onClose={close}
        onMade={(k) => {
          setMade(k);
          close();
        }}
      />
      <Confirm asking={asking} onClose={() => setAsking(null)} onMade={setMade} />
    </>
  );
}

/** Reveal is the one time that a token is seen. */
export function Reveal({ made, onDone }: { made: CreatedKey; onDone: () => void }) {
  const { t } = useTranslation();
  const { site } = useVisitor();
  return (
    <Alert color="teal" variant="light" radius="lg" mb="lg" icon={<IconKey size={20} />} title={t('keys.revealTitle')} role="status" data-testid="reveal">
      <Stack gap="sm">
        <Text size="sm">{t('keys.revealText')}</Text>
        <Group gap="sm" align="center">
          <Text component="code" className="key-token" data-testid="token">
            {made.token}
          </Text>
        </Group>
        <Group gap="sm">
          <Copy value={made.token} label={t('common.copy')} />
          <Button variant="default" onClick={onDone}>
            {t('keys.revealDone')}
          </Button>
        </Group>
        <Text size="xs" c="dimmed" style={{ overflowWrap: 'anywhere' }}>
          {t('keys.revealUse')}: <code>OPENAI_BASE_URL={site.public_url}/v1</code> · <code>ANTHROPIC_BASE_URL={site.public_url}</code>
        </Text>
      </Stack>
    </Alert>
  );
}

interface Asked {
  key: ApiKey;
  what: 'disable' | 'revoke' | 'rotate' | 'copy';
}

/** Confirm asks before a key is ended or succeeded by another. */
function Confirm({ asking, onClose, onMade }: { asking: Asked | null; onClose: () => void; onMade: (k: CreatedKey) => void }) {
  const { t } = useTranslation();
  const change = useChange(
    ({ key, what }: Asked): Promise<ApiKey | CreatedKey> => (what === 'revoke' ? del<ApiKey>(`${path}/${key.id}`) : post<ApiKey | CreatedKey>(`${path}/${key.id}/${what}`)),
    [path],
    (_, { key, what }) => (what === 'revoke' ? t('keys.revoked', { name: key.name }) : what === 'disable' ? t('keys.disabled', { name: key.name }) : null),
  );
  const what = asking?.what ?? 'disable';
  const red = what === 'revoke' || what === 'disable';
  return (
    <Modal opened={asking !== null} onClose={onClose} title={t(`keys.${what}Ask`, { name: asking?.key.name ?? '' })} closeButtonProps={{ 'aria-label': t('common.close') }}>
      <Stack>
        <Group wrap="nowrap" align="flex-start">
          {red ? <IconAlertTriangle size={20} color="var(--mantine-color-red-6)" style={{ flexShrink: 0 }} /> : null}
          <Text size="sm">{t(`keys.${what}Text`)}</Text>
        </Group>
        <Group justify="flex-end">
          <Button variant="default" onClick={onClose}>
            {t('common.cancel')}
          </Button>
          <Button
            color={red ? 'red' : undefined}
            loading={change.isPending}
            onClick={() =>
              asking &&
              change.mutate(asking, {
                onSuccess: (out) => {
                  if ('token' in out) onMade(out);
                  onClose();
                },
              })
            }
          >
            {t(`keys.${what}`)}
          </Button>
        </Group>
      </Stack>
    </Modal>
  );
}

interface Draft {
  name: string;
  cap: string;
  models: string[];
  rpm: number | '';
  tpm: number | '';
  concurrency: number | '';
  expires: string | null;
}

const draftOf = (k: ApiKey | null): Draft => ({
  name: k?.name ?? '',
  cap: k?.monthly_cap ?? '',
  models: k?.allowed_model_ids ?? [],
  rpm: k?.rpm || '',
  tpm: k?.tpm || '',
  concurrency: k?.max_concurrency || '',
  expires: k?.expires_at ?? null,
});

function KeyForm({ editing, onClose, onMade }: { editing: ApiKey | 'new' | null; onClose: () => void; onMade: (k: CreatedKey) => void }) {
  const { t } = useTranslation();
  const existing = editing === 'new' ? null : editing;
  const [draft, setDraft] = useState<Draft>(() => draftOf(existing));
  const [tried, setTried] = useState(false);
  const [more, { toggle }] = useDisclosure(false);
  const models = useGet<{ items: Model[] }>(editing === null ? null : '/openapi/v1/models');
  useEffect(() => setDraft(draftOf(existing)), [existing]);
  const set = <K extends keyof Draft>(name: K, value: Draft[K]) => setDraft((d) => ({ ...d, [name]: value }));

  const save = useChange(
    (d: Draft) => {
      const body = {
        name: d.name.trim(),
        monthly_cap: d.cap.trim() === '' ? null : d.cap.trim(),
        allowed_model_ids: d.models,
        rpm: d.rpm === '' ? 0 : d.rpm,
        tpm: d.tpm === '' ? 0 : d.tpm,
        max_concurrency: d.concurrency === '' ? 0 : d.concurrency,
        expires_at: d.expires === null ? null : new Date(d.expires).toISOString(),
      };
      return existing ? patch<ApiKey | CreatedKey>(`${path}/${existing.id}`, body) : post<ApiKey | CreatedKey>(path, body);
    },
    [path],
    (out) => (existing ? t('keys.saved', { name: out.name }) : null),
    ['name', 'monthly_cap', 'allowed_model_ids', 'rpm', 'tpm', 'max_concurrency', 'expires_at'],
  );
  const nameError = draft.name.trim() === '' ? t('keys.needName') : null;
  const capError = draft.cap.trim() !== '' && (!isDecimal(draft.cap.trim()) || draft.cap.trim().startsWith('-')) ? t('keys.badAmount') : null;
  const submit = (e: FormEvent) => {
    e.preventDefault();
    setTried(true);
    if (nameError || capError) return;
    save.mutate(draft, { onSuccess: (out) => ('token' in out ? onMade(out) : onClose()) });
  };
  const number = (label: string, name: 'rpm' | 'tpm' | 'concurrency') => (
    <NumberInput
      label={label}
      description={t('keys.zeroIsNone')}
      min={0}
      max={1_000_000_000}
      allowDecimal={false}
      allowNegative={false}
      thousandSeparator=","
      hideControls
      value={draft[name]}
      error={at(save.error, name === 'concurrency' ? 'max_concurrency' : name)}
      onChange={(v) => set(name, typeof v === 'number' ? v : v === '' ? '' : Number(v))}
    />
  );
  return (
    <Modal opened={editing !== null} onClose={onClose} title={t(existing ? 'keys.editTitle' : 'keys.createTitle')} size="md" closeButtonProps={{ 'aria-label': t('common.close') }}>
      <form onSubmit={submit} noValidate>
        <Stack>
          <TextInput label={t('keys.name')} description={t('keys.nameHint')} required data-autofocus maxLength={128} value={draft.name} onChange={(e) => set('name', e.currentTarget.value)} error={(tried ? nameError : null) ?? at(save.error, 'name')} />
          <TextInput label={t('keys.capLabel')} description={t('keys.capHint')} inputMode="decimal" leftSection="$" value={draft.cap} onChange={(e) => set('cap', e.currentTarget.value)} error={(tried ? capError : null) ?? at(save.error, 'monthly_cap')} />
          <Button variant="subtle" size="compact-sm" color="gray" rightSection={<IconChevronDown size={14} />} onClick={toggle} aria-expanded={more} style={{ alignSelf: 'flex-start' }}>
            {t('keys.more')}
          </Button>
          <Collapse expanded={more || at(save.error, 'allowed_model_ids', 'rpm', 'tpm', 'max_concurrency', 'expires_at') !== null}>
            <Stack>
              <MultiSelect
                label={t('keys.modelsLabel')}
                description={t('keys.modelsHint')}
                data={[...new Set([...(models.data?.items.map((m) => m.id) ?? []), ...draft.models])]}
                value={draft.models}
                onChange={(v) => set('models', v)}
                searchable
                clearable
                maxDropdownHeight={220}
                error={at(save.error, 'allowed_model_ids')}
              />
              <Group grow align="flex-start">
                {number(t('keys.rpm'), 'rpm')}
                {number(t('keys.tpm'), 'tpm')}
              </Group>
              <Group grow align="flex-start">
                {number(t('keys.concurrency'), 'concurrency')}
                <DateTimePicker label={t('keys.expires')} description={t('keys.expiresHint')} clearable minDate={new Date()} value={draft.expires} onChange={(v) => set('expires', v)} error={at(save.error, 'expires_at')} />
              </Group>
            </Stack>
          </Collapse>
          <Group justify="flex-end">
            <Button variant="default" onClick={onClose}>
              {t('common.cancel')}
            </Button>
            <Button type="submit" loading={save.isPending}>
              {t(existing ? 'common.save' : 'keys.create')}
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
