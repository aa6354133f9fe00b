import { ActionIcon, Button, Group, MultiSelect, NumberInput, Select, SimpleGrid, Stack, Switch, Text } from '@mantine/core';
import { useState, type FormEvent } from 'react';
import { useTranslation } from 'react-i18next';
import { patch, type Model, type Rollout, type RoutingPolicy } from '../api';
import { at, useChange, useGet } from '../hooks';
import { IconPlus, IconTrash } from '../icons';
import { Panel } from './bits';
import { Saving } from './saving';
import { Broken, Waiting } from './states';

const path = '/openapi/v1/routing/policy';

interface Draft {
  regions?: string[];
  fallback?: boolean;
  attempts?: number | null;
  within?: number | null;
}

/** Routing is who may serve the calls of a customer, and how many are asked. */
export function Routing() {
  const { t } = useTranslation();
  const policy = useGet<RoutingPolicy>(path);
  const [draft, setDraft] = useState<Draft>({});
  const save = useChange(
    () =>
      patch<RoutingPolicy>(path, {
        ...(draft.regions === undefined ? {} : { multi_region: { regions: draft.regions, ...(draft.regions.length === 0 ? { region: null } : {}) } }),
        ...(draft.fallback === undefined ? {} : { fallback: { enabled: draft.fallback } }),
        ...(draft.attempts === undefined && draft.within === undefined
          ? {}
          : { retry: { ...(draft.attempts === undefined ? {} : { max_attempts: draft.attempts }), ...(draft.within === undefined ? {} : { within_ms: draft.within }) } }),
      }),
    [path],
    () => t('settings.saved'),
    ['multi_region', 'retry'],
  );
  const submit = (e: FormEvent) => {
    e.preventDefault();
    save.mutate(undefined, { onSuccess: () => setDraft({}) });
  };
  const p = policy.data;
  const fallback = draft.fallback ?? p?.fallback.enabled ?? true;
  const kept = p === undefined ? [] : p.multi_region.regions.length > 0 ? p.multi_region.regions : p.multi_region.region === null ? [] : [p.multi_region.region];
  const number = (v: number | string): number | null => (typeof v === 'number' ? v : null);
  return (
    <Panel title={t('policy.routing')}>
      {policy.error ? (
        <Broken error={policy.error} retry={() => void policy.refetch()} />
      ) : p === undefined ? (
        <Waiting />
      ) : (
        <form onSubmit={submit}>
          <Stack>
            <Switch
              label={t('policy.fallback')}
              description={t('policy.fallbackText')}
              checked={fallback}
              onChange={(e) => {
                const { checked } = e.currentTarget;
                // How many are asked has no meaning any more.
                setDraft(({ attempts: _a, within: _w, ...d }) => ({ ...d, fallback: checked }));
              }}
            />
            <SimpleGrid cols={{ base: 1, sm: 2 }}>
              <NumberInput label={t('policy.attempts')} description={t('policy.attemptsText')} min={2} max={8} allowDecimal={false} disabled={!fallback} value={(draft.attempts === undefined ? p.retry.max_attempts : draft.attempts) ?? ''} onChange={(v) => setDraft(({ fallback: _f, ...d }) => ({ ...d, attempts: number(v) }))} error={at(save.error, 'retry.max_attempts')} />
              <NumberInput label={t('policy.within')} description={t('policy.withinText')} min={1} max={600_000} allowDecimal={false} suffix=" ms" disabled={!fallback} value={(draft.within === undefined ? p.retry.within_ms : draft.within) ?? ''} onChange={(v) => setDraft((d) => ({ ...d, within: number(v) }))} error={at(save.error, 'retry.within_ms')} />
            </SimpleGrid>
            <MultiSelect label={t('policy.regions')} description={t('policy.regionsText')} clearable placeholder={(draft.regions ?? kept).length === 0 ? t('policy.anywhere') : ''} data={[...new Set([...p.multi_region.available, ...kept])]} value={draft.regions ?? kept} onChange={(regions) => setDraft((d) => ({ ...d, regions }))} error={at(save.error, 'multi_region')} />
          </Stack>
          <Saving pending={save.isPending} changed={Object.keys(draft).length > 0} />
        </form>
      )}
    </Panel>
  );
}

/** Rollouts give a part of a model's calls to another one. */
export function Rollouts() {
  const { t } = useTranslation();
  const policy = useGet<RoutingPolicy>(path);
  const models = useGet<{ items: Model[] }>('/openapi/v1/models');
  const [draft, setDraft] = useState<Rollout[] | null>(null);
  const [tried, setTried] = useState(false);
  const save = useChange(() => patch<RoutingPolicy>(path, { rollout: { rules: draft ?? [] } }), [path], () => t('settings.saved'), ['rollout']);
  const rules = draft ?? policy.data?.rollout.rules ?? [];
  const set = (i: number, change: Partial<Rollout>) => setDraft(rules.map((r, j) => (i === j ? { ...r, ...change } : r)));
  const ids = [...new Set([...(models.data?.items.map((m) => m.id) ?? []), ...rules.flatMap((r) => [r.model, r.to])])].filter((id) => id !== '');
  const wrong = (r: Rollout, i: number): string | null =>
    r.model === '' || r.to === '' ? t('policy.rolloutModels') : r.model === r.to ? t('policy.rolloutSame') : rules.findIndex((o) => o.model === r.model) < i ? t('policy.rolloutTwice') : null;
  const submit = (e: FormEvent) => {
    e.preventDefault();
    setTried(true);
    if (rules.every((r, i) => wrong(r, i) === null)) {
      save.mutate(undefined, {
        onSuccess: () => {
          setDraft(null);
          setTried(false);
        },
      });
    }
  };
  return (
    <Panel title={t('policy.rollout')}>
      {policy.error ? (
        <Broken error={policy.error} retry={() => void policy.refetch()} />
      ) : policy.data === undefined ? (
        <Waiting />
      ) : (
        <form onSubmit={submit} noValidate>
          <Text size="sm" c="dimmed" mb="md">
            {t('policy.rolloutText')}
          </Text>
          <Stack>
            {rules.map((r, i) => (
              <SimpleGrid key={i} cols={{ base: 1, sm: 3 }} role="group" aria-label={`${t('policy.rollout')} ${i + 1}`}>
                <Select label={t('policy.rolloutFrom')} searchable data={ids} value={r.model || null} onChange={(v) => set(i, { model: v ?? '' })} error={(tried ? wrong(r, i) : null) ?? at(save.error, `rollout.rules[${i}]`)} />
                <Select label={t('policy.rolloutTo')} searchable data={ids} value={r.to || null} onChange={(v) => set(i, { to: v ?? '' })} />
                <Group wrap="nowrap" align="flex-end" gap="xs">
                  <NumberInput flex={1} label={t('policy.rolloutPart')} min={0} max={100} clampBehavior="strict" suffix="%" allowDecimal={false} allowNegative={false} value={r.percent} onChange={(v) => set(i, { percent: typeof v === 'number' ? v : 0 })} />
                  <ActionIcon size="lg" variant="subtle" color="red" aria-label={`${t('policy.rolloutRemove')} ${i + 1}`} onClick={() => setDraft(rules.filter((_, j) => j !== i))}>
                    <IconTrash size={18} stroke={1.7} />
                  </ActionIcon>
                </Group>
              </SimpleGrid>
            ))}
            {at(save.error, 'rollout') && rules.every((_, i) => at(save.error, `rollout.rules[${i}]`) === null) ? (
              <Text size="sm" className="bad" role="alert">
                {at(save.error, 'rollout')}
              </Text>
            ) : null}
            <Button variant="subtle" size="compact-sm" leftSection={<IconPlus size={14} />} style={{ alignSelf: 'flex-start' }} disabled={rules.length >= 32} onClick={() => setDraft([...rules, { model: '', to: '', percent: 10 }])}>
              {t('policy.rolloutAdd')}
            </Button>
          </Stack>
          <Saving pending={save.isPending} changed={draft !== null} />
        </form>
      )}
    </Panel>
  );
}
