import { ActionIcon, Alert, Badge, Box, Button, Divider, Drawer, Group, Modal, PasswordInput, Select, Stack, Text, TextInput, Tooltip } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useMemo, useState, type FormEvent } from 'react';
import { useTranslation } from 'react-i18next';
import { data, operator, useOperator, type Schemas } from '../../client';
import { Money, PageTitle, Panel } from '../../components/bits';
import { Empty, Loaded } from '../../components/states';
import { DataTable, type Columns } from '../../components/table';
import { isDecimal } from '../../decimal';
import { count, duration } from '../../format';
import { at, useChange } from '../../hooks';
import { IconBolt, IconPlayerPause, IconPlayerPlay, IconPlus, IconPlugConnected } from '../../icons';

type Provider = Schemas['Provider'];
type Sum = Schemas['ProviderSum'];

const path = '/admin/v1/providers';

/** Providers: who serves, how well, with which credentials, and what it has cost today. */
export default function Providers() {
  const { t } = useTranslation();
  const list = useOperator([path], (signal) => operator.GET(path, { signal }), 10_000);
  const sums = useOperator(['/admin/v1/reports/providers'], (signal) => operator.GET('/admin/v1/reports/providers', { signal, params: { query: {} } }), 15_000);
  const [open, setOpen] = useState<string | null>(null);
  const [adding, setAdding] = useState(false);
  const of = useMemo(() => new Map((sums.data?.items ?? []).map((s) => [s.provider, s])), [sums.data]);
  const turn = useTurn();
  const columns = useMemo<Columns<Provider>>(
    () => [
      {
        accessorKey: 'name',
        header: t('prov.provider'),
        meta: { lead: true },
        cell: ({ row: { original: p } }) => (
          <Stack gap={0}>
            <Text size="sm" fw={550}>
              {p.name}
            </Text>
            <Text size="xs" c="dimmed" style={{ overflowWrap: 'anywhere' }}>
              {p.base_url}
            </Text>
          </Stack>
        ),
      },
      { id: 'state', header: t('op.state'), meta: { trail: true }, cell: ({ row: { original: p } }) => <State provider={p} sum={of.get(p.name)} /> },
      { id: 'attempts', header: t('prov.attempts'), meta: { right: true }, accessorFn: (p) => of.get(p.name)?.attempts ?? 0, cell: ({ row }) => count(of.get(row.original.name)?.attempts ?? 0) },
      { id: 'success', header: t('usage.success'), meta: { right: true }, accessorFn: (p) => of.get(p.name)?.success_rate ?? -1, cell: ({ row }) => rate(of.get(row.original.name)) },
      { id: 'latency', header: t('logs.latency'), meta: { right: true }, accessorFn: (p) => of.get(p.name)?.mean_ms ?? -1, cell: ({ row }) => { const ms = of.get(row.original.name)?.mean_ms; return ms == null ? '–' : duration(ms); } },
      // Of the attempts' rows: what a proxy tells meanwhile, it tells of providers with a daily stop.
      { id: 'cost', header: t('prov.today'), meta: { right: true }, accessorFn: (p) => Number(of.get(p.name)?.cost ?? 0), cell: ({ row }) => <Money value={of.get(row.original.name)?.cost ?? '0'} /> },
      { id: 'keys', header: t('prov.keys'), meta: { right: true, wide: true }, cell: ({ row }) => `${row.original.keys.filter((k) => k.enabled).length} / ${row.original.keys.length}` },
      {
        id: 'actions',
        header: '',
        enableSorting: false,
        meta: { right: true, trail: true },
        cell: ({ row: { original: p } }) => (
          <Tooltip label={t(p.paused ? 'prov.reactivate' : 'prov.pause')}>
            <ActionIcon
              variant="subtle"
              color={p.paused ? 'teal' : 'gray'}
              aria-label={`${t(p.paused ? 'prov.reactivate' : 'prov.pause')}: ${p.name}`}
              onClick={(e) => {
                e.stopPropagation();
                turn.mutate(p);
              }}
            >
              {p.paused ? <IconPlayerPlay size={18} /> : <IconPlayerPause size={18} />}
            </ActionIcon>
          </Tooltip>
        ),
      },
    ],
    // eslint-disable-next-line react-hooks/exhaustive-deps -- the mutation is a new object each time
    [t, of],
  );
  const shown = list.data?.items.find((p) => p.name === open) ?? null;
  return (
    <>
      <PageTitle title={t('prov.title')} text={t('prov.text')}>
        <Button leftSection={<IconPlus size={16} />} onClick={() => setAdding(true)}>
          {t('prov.add')}
        </Button>
      </PageTitle>
      <Panel flush>
        <Loaded of={list}>
          <DataTable rows={list.data?.items ?? []} columns={columns} id={(p) => p.name} label={t('prov.title')} sortable onOpen={(p) => setOpen(p.name)} empty={<Empty title={t('prov.none')} icon={IconPlugConnected} />} />
        </Loaded>
      </Panel>
      <Drawer opened={shown !== null} onClose={() => setOpen(null)} position="right" size="md" title={shown?.name ?? ''} closeButtonProps={{ 'aria-label': t('common.close') }}>
        {shown ? <Detail key={shown.name} provider={shown} sum={of.get(shown.name)} /> : null}
      </Drawer>
      {adding ? <Add onClose={() => setAdding(false)} /> : null}
    </>
  );
}

const rate = (s: Sum | undefined): string => (s?.success_rate == null ? '–' : `${(s.success_rate * 100).toFixed(s.success_rate === 1 ? 0 : 1)}%`);

function State({ provider: p, sum }: { provider: Provider; sum: Sum | undefined }) {
  const { t } = useTranslation();
  if (p.paused) return <Badge tt="none" color="orange">{t('prov.paused')}</Badge>;
  if (p.keys.every((k) => !k.enabled)) return <Badge tt="none" color="red">{t('prov.noKeys')}</Badge>;
  if (sum?.success_rate != null && sum.success_rate < 0.9) return <Badge tt="none" color="red">{t('prov.failing')}</Badge>;
  return <Badge tt="none" color="teal">{t('op.active')}</Badge>;
}

function useTurn() {
  const { t } = useTranslation();
  return useChange(
    (p: Provider) => data(p.paused ? operator.POST('/admin/v1/providers/{provider}/reactivate', { params: { path: { provider: p.name } } }) : operator.POST('/admin/v1/providers/{provider}/pause', { params: { path: { provider: p.name } } })),
    [path],
    (s) => t(s.paused ? 'prov.isPaused' : 'prov.isActive', { name: s.name }),
  );
}

function Detail({ provider: p, sum }: { provider: Provider; sum: Sum | undefined }) {
  const { t } = useTranslation();
  const turn = useTurn();
  const [stop, setStop] = useState(p.daily_stop ?? '');
  const [tried, setTried] = useState(false);
  const save = useChange(() => data(operator.PATCH('/admin/v1/providers/{provider}', { params: { path: { provider: p.name } }, body: { daily_stop: stop.trim() === '' ? null : stop.trim() } })), [path], () => t('settings.saved'), ['daily_stop']);
  const wrong = stop.trim() !== '' && (!isDecimal(stop.trim()) || stop.trim().startsWith('-'));
  const parts: [string, number][] = sum
    ? [['connect_failed', sum.connect_failed], ['timeout', sum.timeout], ['rate_limited', sum.rate_limited], ['refused', sum.refused], ['server_error', sum.server_error], ['broken', sum.broken], ['cancelled', sum.cancelled]]
    : [];
  return (
    <Stack>
      <Group>
        <State provider={p} sum={sum} />
        <Text size="sm" c="dimmed">
          {p.protocol} · {p.dialect} · {t('prov.routes', { n: p.routes })}
        </Text>
      </Group>
      <Group>
        <Button size="xs" variant="default" loading={turn.isPending} onClick={() => turn.mutate(p)}>
          {t(p.paused ? 'prov.reactivate' : 'prov.pause')}
        </Button>
      </Group>
      {parts.some(([, n]) => n > 0) ? (
        <Box>
          <Text size="sm" fw={550}>
            {t('prov.faults')}
          </Text>
          {parts.filter(([, n]) => n > 0).map(([name, n]) => (
            <Group key={name} justify="space-between">
              <code>{name}</code>
              <span className="number">{count(n)}</span>
            </Group>
          ))}
        </Box>
      ) : null}
      <form
        noValidate
        onSubmit={(e) => {
          e.preventDefault();
          setTried(true);
          if (!wrong) save.mutate(undefined);
        }}
      >
        <Group align="flex-end" wrap="nowrap">
          <TextInput flex={1} label={t('prov.stop')} description={t('prov.stopText')} leftSection="$" inputMode="decimal" value={stop} onChange={(e) => setStop(e.currentTarget.value)} error={tried && wrong ? t('keys.badAmount') : at(save.error, 'daily_stop')} />
          <Button type="submit" variant="default" loading={save.isPending}>
            {t('common.save')}
          </Button>
        </Group>
      </form>
      <Divider color="var(--line)" />
      <Text size="sm" fw={550}>
        {t('prov.keys')}
      </Text>
      {p.keys.map((k) => (
        <KeyRow key={k.name} provider={p.name} name={k.name} version={k.version} enabled={k.enabled} />
      ))}
      <AddKey provider={p.name} />
    </Stack>
  );
}

function KeyRow({ provider, name, version, enabled }: { provider: string; name: string; version: number; enabled: boolean }) {
  const { t } = useTranslation();
  const params = { path: { provider, key_name: name } };
  const test = useMutation({ mutationFn: () => data(operator.POST('/admin/v1/providers/{provider}/keys/{key_name}/test', { params, body: {} })) });
  const turn = useChange(() => data(enabled ? operator.POST('/admin/v1/providers/{provider}/keys/{key_name}/disable', { params }) : operator.POST('/admin/v1/providers/{provider}/keys/{key_name}/enable', { params })), [path], () => t('settings.saved'));
  const r = test.data;
  return (
    <Box>
      <Group justify="space-between" wrap="nowrap">
        <Group gap="xs" miw={0}>
          <Text size="sm" style={{ overflowWrap: 'anywhere' }}>
            {name}
          </Text>
          <Badge size="xs" tt="none" color={enabled ? 'teal' : 'red'}>
            {t(enabled ? 'op.active' : 'op.inactive')}
          </Badge>
          <Text size="xs" c="dimmed">
            v{version}
          </Text>
        </Group>
        <Group gap={4} wrap="nowrap">
          <Button size="compact-xs" variant="default" leftSection={<IconBolt size={12} />} loading={test.isPending} onClick={() => test.mutate()} aria-label={`${t('prov.test')}: ${name}`}>
            {t('prov.test')}
          </Button>
          <Button size="compact-xs" variant="subtle" color={enabled ? 'red' : 'teal'} loading={turn.isPending} onClick={() => turn.mutate(undefined)}>
            {t(enabled ? 'keys.disable' : 'op.enable')}
          </Button>
        </Group>
      </Group>
      {r || test.error ? (
        <Alert mt={6} p="xs" color={r?.ok ? 'teal' : 'red'} variant="light" role="alert">
          {r ? (r.ok ? t('prov.testOk', { model: r.model, time: duration(r.latency_ms) }) : `${r.http_status || ''} ${r.message}`) : (test.error?.message ?? '')}
        </Alert>
      ) : null}
    </Box>
  );
}

function AddKey({ provider }: { provider: string }) {
  const { t } = useTranslation();
  const [name, setName] = useState('');
  const [secret, setSecret] = useState('');
  const add = useChange(() => data(operator.POST('/admin/v1/providers/{provider}/keys', { params: { path: { provider } }, body: { name: name.trim(), secret: secret.trim() } })), [path], () => t('prov.keyAdded'), ['name', 'secret']);
  const submit = (e: FormEvent) => {
    e.preventDefault();
    add.mutate(undefined, {
      onSuccess: () => {
        setName('');
        setSecret('');
      },
    });
  };
  return (
    <form onSubmit={submit}>
      <Stack gap="xs">
        <Group grow align="flex-start">
          <TextInput label={t('op.name')} required maxLength={64} value={name} onChange={(e) => setName(e.currentTarget.value)} error={at(add.error, 'name')} />
          <PasswordInput visibilityToggleButtonProps={{ 'aria-label': t('signIn.show') }} label={t('prov.secret')} required autoComplete="off" value={secret} onChange={(e) => setSecret(e.currentTarget.value)} error={at(add.error, 'secret')} />
        </Group>
        <Button type="submit" variant="default" size="xs" loading={add.isPending} style={{ alignSelf: 'flex-end' }}>
          {t('prov.addKey')}
        </Button>
      </Stack>
    </form>
  );
}

const protocols = ['openai', 'anthropic', 'gemini', 'dashscope', 'bedrock', 'cohere'] as const;

function Add({ onClose }: { onClose: () => void }) {
  const { t } = useTranslation();
  const [name, setName] = useState('');
  const [url, setUrl] = useState('');
  const [protocol, setProtocol] = useState<(typeof protocols)[number]>('openai');
  const [tried, setTried] = useState(false);
  const add = useChange(() => data(operator.POST(path, { body: { name: name.trim(), protocol, base_url: url.trim() } })), [path], (p) => t('op.created', { name: p.name }), ['name', 'base_url']);
  const badName = !/^[a-z0-9][a-z0-9-]*$/.test(name.trim()) ? t('prov.badName') : null;
  const badUrl = !/^https?:\/\/\S+$/.test(url.trim()) ? t('prov.badUrl') : null;
  const submit = (e: FormEvent) => {
    e.preventDefault();
    setTried(true);
    if (!badName && !badUrl) add.mutate(undefined, { onSuccess: onClose });
  };
  return (
    <Modal opened onClose={onClose} title={t('prov.add')} closeButtonProps={{ 'aria-label': t('common.close') }}>
      <form onSubmit={submit} noValidate>
        <Stack>
          <TextInput label={t('op.name')} description={t('prov.nameText')} required data-autofocus value={name} onChange={(e) => setName(e.currentTarget.value)} error={(tried ? badName : null) ?? at(add.error, 'name')} />
          <Select label={t('prov.protocol')} data={[...protocols]} value={protocol} onChange={(v) => v && setProtocol(v as (typeof protocols)[number])} allowDeselect={false} />
          <TextInput label={t('prov.url')} required placeholder="https://api.openai.com/v1" value={url} onChange={(e) => setUrl(e.currentTarget.value)} error={(tried ? badUrl : null) ?? at(add.error, 'base_url')} />
          <Group justify="flex-end">
            <Button variant="default" onClick={onClose}>
              {t('common.cancel')}
            </Button>
            <Button type="submit" loading={add.isPending}>
              {t('prov.add')}
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
