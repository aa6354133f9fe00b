import { Alert, Badge, Button, Group, Modal, Select, Stack, Text, TextInput } from '@mantine/core';
import '@mantine/dates/styles.css';
import { DateTimePicker } from '@mantine/dates';
import { useDeferredValue, useMemo, useState, type FormEvent } from 'react';
import { useTranslation } from 'react-i18next';
import { useMutation } from '@tanstack/react-query';
import { post, type PricedModel, type Proxies } from '../../api';
import { data, operator, useOperator } from '../../client';
import { ModelName, PageTitle, Panel } from '../../components/bits';
import { Empty, Loaded } from '../../components/states';
import { DataTable, type Columns } from '../../components/table';
import { compare, isDecimal, subtract, share, usd } from '../../decimal';
import { count, moment } from '../../format';
import { at as fault, useChange, useGet } from '../../hooks';
import type { Key } from '../../i18n';
import { IconSearch, IconTags } from '../../icons';

const path = '/admin/v1/models';
const classes = ['input', 'cache_read', 'cache_write', 'cache_write_1h', 'output', 'reasoning', 'audio_in', 'audio_out', 'image_in', 'image_out', 'characters', 'seconds', 'images', 'searches', 'request'];

/** two are the prices that everybody compares. */
function two(prices: Record<string, string>): string {
  const first = prices.input ?? prices.characters ?? prices.seconds ?? prices.images ?? prices.request;
  const parts = [first, prices.output].filter((p): p is string => p !== undefined);
  return parts.length === 0 ? Object.values(prices).slice(0, 1).map(usd).join('') : parts.map(usd).join(' / ');
}

/** marginOf is what is left of the output price, or of the only one, in percent. */
function marginOf(m: PricedModel): number | null {
  const cost = m.routes[0]?.prices;
  const name = ['output', 'input', ...classes].find((c) => m.prices[c] !== undefined && cost?.[c] !== undefined);
  const price = name === undefined ? undefined : m.prices[name];
  const own = name === undefined ? undefined : cost?.[name];
  if (price === undefined || own === undefined) return null;
  return share(subtract(price, own), price);
}

export default function Prices() {
  const { t } = useTranslation();
  const models = useGet<{ items: PricedModel[] }>(path);
  const [text, setText] = useState('');
  const [editing, setEditing] = useState<PricedModel | null>(null);
  // The letter is painted first; hundreds of rows follow, and the next letter interrupts them.
  const sought = useDeferredValue(text);
  const shown = useMemo(() => (models.data?.items ?? []).filter((m) => m.id.toLowerCase().includes(sought.trim().toLowerCase())), [models.data, sought]);
  const columns = useMemo<Columns<PricedModel>>(
    () => [
      {
        accessorKey: 'id',
        header: t('models.model'),
        meta: { lead: true },
        cell: ({ row: { original: m } }) => (
          <ModelName id={m.id}>
            {m.auto ? <Badge size="xs" tt="none">auto · {m.auto}</Badge> : null}
            {!m.auto && m.price_id === 0 ? <Badge size="xs" tt="none" color="red">{t('op.unpriced')}</Badge> : null}
            {m.next ? <Badge size="xs" tt="none" color="orange">→ {moment(m.next)}</Badge> : null}
            {m.tiers.length > 0 ? <Badge size="xs" tt="none" color="gray">+{m.tiers.length}</Badge> : null}
          </ModelName>
        ),
      },
      { id: 'sell', header: t('op.sell'), meta: { right: true }, sortingFn: (a, b) => compare(a.original.prices.output ?? '-1', b.original.prices.output ?? '-1'), accessorFn: (m) => m.prices.output ?? '', cell: ({ row }) => <span className="number">{two(row.original.prices) || '–'}</span> },
      { id: 'buy', header: t('op.buy'), enableSorting: false, meta: { right: true }, cell: ({ row: { original: m } }) => <span className="number">{m.routes[0] ? two(m.routes[0].prices) || '–' : m.auto ? '–' : t('op.noCost')}</span> },
      {
        id: 'margin',
        header: t('op.margin'),
        meta: { right: true },
        accessorFn: (m) => marginOf(m) ?? -1000,
        cell: ({ row }) => {
          const margin = marginOf(row.original);
          return margin === null ? '–' : <Text span size="sm" className={margin < 0 ? 'bad' : margin === 0 ? '' : 'good'} fw={550}>{margin}%</Text>;
        },
      },
      { accessorKey: 'multiplier', header: t('op.multiplier'), meta: { right: true, wide: true }, cell: ({ row }) => `× ${row.original.multiplier}` },
      { id: 'routes', header: t('op.routes'), enableSorting: false, meta: { wide: true }, cell: ({ row }) => <Text size="xs" c="dimmed">{row.original.routes.map((r) => r.provider).join(', ')}</Text> },
      {
        id: 'actions',
        header: '',
        enableSorting: false,
        meta: { right: true, trail: true },
        cell: ({ row: { original: m } }) =>
          m.auto ? null : (
            <Button size="compact-sm" variant="light" onClick={() => setEditing(m)} aria-label={`${t('op.setPrice')}: ${m.id}`}>
              {t('op.setPrice')}
            </Button>
          ),
      },
    ],
    [t],
  );
  const list = useMemo(() => <DataTable rows={shown} columns={columns} id={(m) => m.id} label={t('op.pricesTitle')} sortable empty={<Empty title={t('models.empty')} icon={IconTags} />} />, [shown, columns, t]);
  const proxies = useGet<Proxies>('/admin/v1/proxies', {}, { every: 3000 });
  return (
    <>
      <PageTitle title={t('op.pricesTitle')} text={t('op.pricesText')}>
        {proxies.data ? (
          <Badge tt="none" size="lg" color={proxies.data.live > 0 && proxies.data.applied === proxies.data.live ? 'teal' : 'orange'}>
            {t('op.applied', { revision: proxies.data.revision, applied: proxies.data.applied, live: proxies.data.live })}
          </Badge>
        ) : null}
      </PageTitle>
      <TextInput mb="md" maw={360} placeholder={t('common.search')} aria-label={t('common.search')} leftSection={<IconSearch size={16} />} value={text} onChange={(e) => setText(e.currentTarget.value)} />
      <Panel flush>
        <Loaded of={models}>{list}</Loaded>
      </Panel>
      {editing ? <SetPrice key={editing.id} model={editing} onClose={() => setEditing(null)} /> : null}
    </>
  );
}

function SetPrice({ model, onClose }: { model: PricedModel; onClose: () => void }) {
  const { t } = useTranslation();
  const [prices, setPrices] = useState<Record<string, string>>(() => (Object.keys(model.prices).length > 0 ? model.prices : { input: '', output: '' }));
  const [at, setAt] = useState<string | null>(null);
  const [tried, setTried] = useState(false);
  const save = useChange(
    () =>
      post<unknown>(`${path}/${encodeURIComponent(model.id)}/price`, {
        ...body(),
        seen: model.price_id,
        ...(at === null ? {} : { effective_at: new Date(at).toISOString() }),
      }),
    [path, '/openapi/v1/models', '/console/api/models'],
    () => t('op.priceSaved', { model: model.id }),
    [...classes.map((c) => `price.${c}`), 'effective_at'],
  );
  const body = () => ({
    price: Object.fromEntries(Object.entries(prices).map(([name, value]) => [name, value.trim()]).filter(([, value]) => value !== '')),
    free: model.free,
    tiers: model.tiers.map((tier) => ({ above_input_tokens: tier.above_input_tokens, price: tier.prices })),
  });
  const preview = useMutation({ mutationFn: () => data(operator.POST('/admin/v1/models/{model}/price-preview', { params: { path: { model: model.id } }, body: body() })) });
  const p = preview.data;
  const wrong = (value: string) => value.trim() !== '' && (!isDecimal(value.trim(), 12) || value.trim().startsWith('-'));
  const submit = (e: FormEvent) => {
    e.preventDefault();
    setTried(true);
    if (!Object.values(prices).some(wrong)) save.mutate(undefined, { onSuccess: onClose });
  };
  return (
    <Modal opened onClose={onClose} title={t('op.setPriceTitle', { model: model.id })} closeButtonProps={{ 'aria-label': t('common.close') }}>
      <form onSubmit={submit} noValidate>
        <Stack>
          <Text size="sm" c="dimmed">
            {t('op.setPriceText')}
          </Text>
          {classes
            .filter((c) => c in prices)
            .map((c) => (
              <TextInput key={c} label={t(`class.${c}` as Key)} leftSection="$" inputMode="decimal" value={prices[c] ?? ''} error={tried && wrong(prices[c] ?? '') ? t('op.badPrice') : fault(save.error, `price.${c}`)} onChange={(e) => {
                const { value } = e.currentTarget;
                setPrices((p) => ({ ...p, [c]: value }));
              }} />
            ))}
          <Group grow align="flex-start">
            <Select placeholder={t('op.addClass')} aria-label={t('op.addClass')} data={classes.filter((c) => !(c in prices) && !model.free.includes(c)).map((c) => ({ value: c, label: t(`class.${c}` as Key) }))} value={null} onChange={(c) => c && setPrices((p) => ({ ...p, [c]: '' }))} />
            <DateTimePicker placeholder={t('op.effectiveHint')} aria-label={t('op.effective')} clearable minDate={new Date()} value={at} onChange={setAt} />
          </Group>
          {model.tiers.length > 0 ? (
            <Text size="xs" c="dimmed">
              {t('op.tiersKept')}
            </Text>
          ) : null}
          {p ? (
            <Alert color={p.below_cost.length > 0 ? 'red' : 'relay'} variant="light" p="sm" role="alert" data-testid="preview">
              <Text size="sm">{t('price.preview', { calls: count(p.past?.calls ?? 0), before: p.before === null ? '–' : usd(p.before), after: usd(p.after) })}</Text>
              {p.past ? <Text size="xs">{t('price.previewCost', { cost: usd(p.past.cost) })}</Text> : null}
              {p.below_cost.length > 0 ? <Text size="sm" fw={550}>{t('price.belowCost', { what: p.below_cost.join(', ') })}</Text> : null}
            </Alert>
          ) : preview.error ? (
            <Alert color="red" variant="light" p="sm" role="alert">
              {preview.error.message}
            </Alert>
          ) : null}
          <Group justify="space-between">
            <Button variant="subtle" loading={preview.isPending} onClick={() => { setTried(true); if (!Object.values(prices).some(wrong)) preview.mutate(); }}>
              {t('price.doPreview')}
            </Button>
            <Group gap="sm">
              <Button variant="default" onClick={onClose}>
                {t('common.cancel')}
              </Button>
              <Button type="submit" loading={save.isPending}>
                {t('op.setPrice')}
              </Button>
            </Group>
          </Group>
          <History model={model.id} />
        </Stack>
      </form>
    </Modal>
  );
}

const states = { in_force: 'teal', to_come: 'orange', past: 'gray', withdrawn: 'red' } as const;

/** History is every price that a model had and will have. */
function History({ model }: { model: string }) {
  const { t } = useTranslation();
  const list = useOperator([`${path}/history`, model], (signal) => operator.GET('/admin/v1/models/{model}/prices', { signal, params: { path: { model }, query: { limit: 20 } } }));
  if (!list.data || list.data.items.length === 0) return null;
  return (
    <Stack gap={6}>
      <Text size="sm" fw={550}>
        {t('price.history')}
      </Text>
      {list.data.items.map((h) => (
        <Group key={h.price_id} justify="space-between" wrap="nowrap">
          <Stack gap={0}>
            <Text size="sm">{moment(h.effective_at)}</Text>
            <Text size="xs" c="dimmed" style={{ overflowWrap: 'anywhere' }}>
              {h.actor}
            </Text>
          </Stack>
          <Group gap="xs" wrap="nowrap">
            <span className="number">{two(h.prices) || '–'}</span>
            <Badge size="xs" tt="none" color={states[h.state]}>
              {t(`price.${h.state}`)}
            </Badge>
          </Group>
        </Group>
      ))}
    </Stack>
  );
}
