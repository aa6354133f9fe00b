import { Anchor, Badge, Box, Button, Divider, Drawer, Group, SegmentedControl, Stack, Table, Text, TextInput } from '@mantine/core';
import { IconRobot, IconSearch } from '../icons';
import { useDeferredValue, useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import type { Model } from '../api';
import { Copy, ModelName, PageTitle, Panel } from '../components/bits';
import { Empty, Loaded } from '../components/states';
import { DataTable, type Columns } from '../components/table';
import { compare, usd } from '../decimal';
import { tokens } from '../format';
import { useGet } from '../hooks';
import type { Key } from '../i18n';
import { useVisitor } from '../session';

const perEach = new Set(['seconds', 'images', 'searches', 'request']);

export function Price({ value, free = false }: { value: string | undefined; free?: boolean }) {
  const { t } = useTranslation();
  if (free) return <span>{t('models.free')}</span>;
  if (value === undefined) return <span style={{ color: 'var(--mantine-color-dimmed)' }}>–</span>;
  return <span className="number">{usd(value)}</span>;
}

export default function Models() {
  const { t } = useTranslation();
  const { user } = useVisitor();
  return <ModelList mine={user?.client_id !== undefined} title={t('models.title')} />;
}

/** ModelList shows the models with the account's prices, or with list prices. */
export function ModelList({ mine, title }: { mine: boolean; title: string }) {
  const { t } = useTranslation();
  const models = useGet<{ items: Model[] }>(mine ? '/openapi/v1/models' : '/console/api/models');
  const [text, setText] = useState('');
  // The letter is painted first; hundreds of rows follow, and the next letter interrupts them.
  const sought = useDeferredValue(text);
  const [tag, setTag] = useState('');
  const [open, setOpen] = useState<Model | null>(null);
  const all = models.data?.items ?? [];
  const tags = useMemo(() => {
    const counts = new Map<string, number>();
    for (const m of all) for (const name of m.tags) counts.set(name, (counts.get(name) ?? 0) + 1);
    return [...counts].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0])).slice(0, 6).map(([name]) => name);
  }, [all]);
  const shown = useMemo(() => {
    const needle = sought.trim().toLowerCase();
    return all.filter((m) => (tag === '' || m.tags.includes(tag)) && (needle === '' || [m.id, ...m.aliases].some((name) => name.toLowerCase().includes(needle))));
  }, [all, sought, tag]);

  const columns = useMemo<Columns<Model>>(() => {
    const price = (name: string, header: string, wide = false) => ({
      id: name,
      accessorFn: (m: Model) => m.price?.prices[name] ?? '',
      header,
      meta: { right: true, wide },
      sortingFn: (a: { original: Model }, b: { original: Model }) => compare(a.original.price?.prices[name] ?? '-1', b.original.price?.prices[name] ?? '-1'),
      cell: ({ row: { original: m } }: { row: { original: Model } }) => <Price value={m.price?.prices[name]} free={m.price?.free?.includes(name) ?? false} />,
    });
    return [
      {
        accessorKey: 'id',
        header: t('models.model'),
        meta: { lead: true },
        cell: ({ row: { original: m } }) => (
          <ModelName id={m.id}>
            {m.auto ? (
              <Badge size="xs" color="relay" tt="none">
                auto · {m.auto.strategy}
              </Badge>
            ) : null}
            {m.tags.slice(0, 4).map((name) => (
              <Badge key={name} size="xs" color="gray" tt="none" fw={500}>
                {name}
              </Badge>
            ))}
          </ModelName>
        ),
      },
      { accessorKey: 'context_tokens', header: t('models.context'), meta: { right: true }, cell: ({ row }) => tokens(row.original.context_tokens) },
      { accessorKey: 'max_output_tokens', header: t('models.maxOutput'), meta: { right: true, wide: true }, cell: ({ row }) => tokens(row.original.max_output_tokens) },
      price('input', t('models.input')),
      price('cache_read', t('models.cacheRead'), true),
      price('output', t('models.output')),
    ];
  }, [t]);

  const list = useMemo(() => <DataTable rows={shown} columns={columns} id={(m) => m.id} label={t('models.title')} sortable onOpen={setOpen} empty={<Empty title={t('models.empty')} icon={IconRobot} />} />, [shown, columns, t]);

  return (
    <>
      <PageTitle title={title} text={t(mine ? 'models.subtitleMine' : 'models.subtitleList')} />
      <Group mb="md" gap="sm">
        <TextInput placeholder={t('common.search')} aria-label={t('common.search')} leftSection={<IconSearch size={16} />} value={text} onChange={(e) => setText(e.currentTarget.value)} style={{ flex: '1 1 220px' }} maw={360} />
        <Box style={{ overflowX: 'auto', maxWidth: '100%' }}>
          <SegmentedControl size="sm" value={tag} onChange={setTag} data={[{ value: '', label: t('common.all') }, ...tags.map((name) => ({ value: name, label: name }))]} aria-label={t('models.tags')} />
        </Box>
        <Text size="sm" c="dimmed" ml="auto" visibleFrom="sm">
          {t('models.count', { shown: shown.length, all: all.length })}
        </Text>
      </Group>
      <Panel flush>
        <Loaded of={models}>{list}</Loaded>
      </Panel>
      <Drawer opened={open !== null} onClose={() => setOpen(null)} position="right" size="md" title={open?.id ?? ''} closeButtonProps={{ 'aria-label': t('common.close') }}>
        {open ? <Detail model={open} /> : null}
      </Drawer>
    </>
  );
}

function Detail({ model }: { model: Model }) {
  const { t } = useTranslation();
  const { site, user } = useVisitor();
  const line = (label: string, value: string) => (
    <Group justify="space-between" wrap="nowrap" align="flex-start">
      <Text size="sm" c="dimmed">
        {label}
      </Text>
      <Text size="sm" ta="right" style={{ overflowWrap: 'anywhere' }}>
        {value}
      </Text>
    </Group>
  );
  const curl = `curl ${site.public_url}/v1/chat/completions \\\n  -H "Authorization: Bearer $TOKEN_RELAY_KEY" \\\n  -H "Content-Type: application/json" \\\n  -d '{"model": "${model.id}",\n       "messages": [{"role": "user", "content": "Hello"}]}'`;
  return (
    <Stack>
      <Group gap={4}>
        <code>{model.id}</code>
        <Copy value={model.id} />
      </Group>
      <Stack gap={6}>
        {model.aliases.length > 0 ? line(t('models.aliases'), model.aliases.join(', ')) : null}
        {line(t('models.context'), tokens(model.context_tokens))}
        {line(t('models.maxOutput'), tokens(model.max_output_tokens))}
        {model.tags.length > 0 ? line(t('models.tags'), model.tags.join(', ')) : null}
        {model.price ? line(t('models.version'), model.price.price_version) : null}
      </Stack>
      {model.auto ? <Text size="sm">{t('models.auto', { models: model.auto.models.join(', ') })}</Text> : null}
      {model.price ? (
        <>
          <Divider color="var(--line)" />
          <PriceTable prices={model.price.prices} free={model.price.free ?? []} />
          {(model.price.tiers ?? []).map((tier) => (
            <Box key={tier.above_input_tokens}>
              <Text size="sm" fw={550} mb={4}>
                {t('models.tier', { tokens: tokens(tier.above_input_tokens) })}
              </Text>
              <PriceTable prices={tier.prices} free={[]} />
            </Box>
          ))}
        </>
      ) : null}
      <Divider color="var(--line)" />
      <Group justify="space-between">
        <Text size="sm" fw={550}>
          {t('models.use')}
        </Text>
        <Copy value={curl} />
      </Group>
      <pre className="code-block">{curl}</pre>
      {user ? (
        user.client_id ? (
          <Anchor component={Link} to="/console/api-keys?new" size="sm">
            {t('keys.create')}
          </Anchor>
        ) : null
      ) : (
        <Button component={Link} to="/console/sign-in">
          {t('nav.signIn')}
        </Button>
      )}
    </Stack>
  );
}

export function PriceTable({ prices, free }: { prices: Record<string, string>; free: string[] }) {
  const { t } = useTranslation();
  return (
    <Table verticalSpacing={6} horizontalSpacing={0} withRowBorders={false}>
      <Table.Tbody>
        {[...Object.entries(prices), ...free.filter((f) => !(f in prices)).map((f) => [f, ''] as const)].map(([name, value]) => (
          <Table.Tr key={name}>
            <Table.Td>
              <Text size="sm">{t(`class.${name}` as Key)}</Text>
            </Table.Td>
            <Table.Td ta="right">
              <Price value={value} free={free.includes(name)} />{' '}
              <Text span size="xs" c="dimmed">
                {t(perEach.has(name) ? 'models.unit.each' : 'models.unit.perMillion')}
              </Text>
            </Table.Td>
          </Table.Tr>
        ))}
      </Table.Tbody>
    </Table>
  );
}
