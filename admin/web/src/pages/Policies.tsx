import { MultiSelect, NumberInput, Select, SimpleGrid, Stack, TagsInput, Text, TextInput } from '@mantine/core';
import { useState, type FormEvent } from 'react';
import { useTranslation } from 'react-i18next';
import { patch, type Action, type AlertConfig, type Model, type RoutingPolicy, type SecurityPolicy, type Where } from '../api';
import { PageTitle, Panel } from '../components/bits';
import { Judges } from '../components/judges';
import { Rollouts, Routing } from '../components/routing';
import { Saving } from '../components/saving';
import { Broken, Waiting } from '../components/states';
import { isDecimal } from '../decimal';
import { at, useChange, useGet } from '../hooks';

const paths = { security: '/openapi/v1/security/policy', routing: '/openapi/v1/routing/policy', context: '/openapi/v1/context/config', alerts: '/openapi/v1/balance/config' };

/** Policies are what holds for all keys of a customer: S1-13 … S1-18, S1-27. */
export default function Policies() {
  const { t } = useTranslation();
  return (
    <>
      <PageTitle title={t('policy.title')} text={t('policy.subtitle')} />
      <Stack gap="lg">
        <Content />
        <Judges />
        <Kept />
        <Routing />
        <Rollouts />
        <Models />
        <Alerts />
      </Stack>
    </>
  );
}

const kinds = ['email', 'phone', 'card', 'id', 'credential'] as const;

/** Content is what is looked for in texts, and what is done about it. */
function Content() {
  const { t } = useTranslation();
  const policy = useGet<SecurityPolicy>(paths.security);
  const [masking, setMasking] = useState<Partial<SecurityPolicy['masking']>>({});
  const [words, setWords] = useState<Partial<SecurityPolicy['content_safety']['words']>>({});
  const save = useChange(() => patch<SecurityPolicy>(paths.security, { masking, content_safety: { words } }), [paths.security], () => t('settings.saved'), ['masking', 'content_safety.words']);
  const submit = (e: FormEvent) => {
    e.preventDefault();
    save.mutate(undefined, {
      onSuccess: () => {
        setMasking({});
        setWords({});
      },
    });
  };
  const p = policy.data;
  const actions = (['off', 'flag', 'mask', 'block'] as const).map((a) => ({ value: a, label: t(`policy.action.${a}`) }));
  const wheres = (['both', 'requests', 'responses'] as const).map((w) => ({ value: w, label: t(`policy.where.${w}`) }));
  return (
    <Panel title={t('policy.content')}>
      {policy.error ? (
        <Broken error={policy.error} />
      ) : p === undefined ? (
        <Waiting />
      ) : (
        <form onSubmit={submit}>
          <Text size="sm" c="dimmed" mb="md">
            {t('policy.contentText')}
          </Text>
          <SimpleGrid cols={{ base: 1, xs: 2, sm: 3 }}>
            {kinds.map((k) => (
              <Select key={k} label={t(`policy.kind.${k}`)} data={actions} value={masking[k] ?? p.masking[k]} allowDeselect={false} onChange={(v) => v && setMasking((d) => ({ ...d, [k]: v as Action }))} error={at(save.error, `masking.${k}`)} />
            ))}
            <Select label={t('policy.where')} data={wheres} value={masking.apply_to ?? p.masking.apply_to} allowDeselect={false} onChange={(v) => v && setMasking((d) => ({ ...d, apply_to: v as Where }))} error={at(save.error, 'masking.apply_to')} />
          </SimpleGrid>
          <TagsInput mt="md" label={t('policy.words')} description={t('policy.wordsText')} value={words.list ?? p.content_safety.words.list} onChange={(list) => setWords((d) => ({ ...d, list }))} clearable maxTags={500} error={at(save.error, 'content_safety.words.list')} />
          <SimpleGrid cols={{ base: 1, xs: 2 }} mt="sm">
            <Select label={t('policy.wordsAction')} data={actions} value={words.action ?? p.content_safety.words.action} allowDeselect={false} onChange={(v) => v && setWords((d) => ({ ...d, action: v as Action }))} error={at(save.error, 'content_safety.words.action')} />
            <Select label={t('policy.where')} data={wheres} value={words.apply_to ?? p.content_safety.words.apply_to} allowDeselect={false} onChange={(v) => v && setWords((d) => ({ ...d, apply_to: v as Where }))} error={at(save.error, 'content_safety.words.apply_to')} />
          </SimpleGrid>
          <Saving pending={save.isPending} changed={Object.keys(masking).length + Object.keys(words).length > 0} />
        </form>
      )}
    </Panel>
  );
}

const levels = ['standard', 'minimal'] as const;
type Level = (typeof levels)[number];

function Kept() {
  const { t } = useTranslation();
  const policy = useGet<SecurityPolicy>(paths.security);
  const [draft, setDraft] = useState<{ replay_hours?: number; response_days?: number; detail_days?: number | null }>({});
  const [level, setLevel] = useState<Level | null>(null);
  const save = useChange(() => patch<SecurityPolicy>(paths.security, { data_retention: draft, ...(level ? { logging: { level } } : {}) }), [paths.security, paths.context], () => t('settings.saved'), ['data_retention', 'logging']);
  const submit = (e: FormEvent) => {
    e.preventDefault();
    save.mutate(undefined, {
      onSuccess: () => {
        setDraft({});
        setLevel(null);
      },
    });
  };
  const p = policy.data;
  const days = draft.detail_days === undefined ? p?.data_retention.detail_days : draft.detail_days;
  const number = (name: 'replay_hours' | 'response_days', max: number) => (
    <NumberInput label={t(`policy.${name}`)} description={t(`policy.${name}.text`)} min={0} max={max} clampBehavior="strict" allowDecimal={false} allowNegative={false} value={draft[name] ?? p?.data_retention[name] ?? 0} onChange={(v) => typeof v === 'number' && setDraft((d) => ({ ...d, [name]: v }))} error={at(save.error, `data_retention.${name}`)} />
  );
  return (
    <Panel title={t('policy.kept')}>
      {policy.error ? (
        <Broken error={policy.error} />
      ) : p === undefined ? (
        <Waiting />
      ) : (
        <form onSubmit={submit}>
          <Text size="sm" c="dimmed" mb="md">
            {t('policy.keptText')}
          </Text>
          <SimpleGrid cols={{ base: 1, sm: 2 }}>
            {number('replay_hours', 24)}
            {number('response_days', 30)}
            <Select
              label={t('policy.level')}
              description={t('policy.level.text')}
              data={levels.map((l) => ({ value: l, label: t(`policy.level.${l}`) }))}
              allowDeselect={false}
              value={level ?? p.logging.level}
              onChange={(v) => setLevel(levels.find((l) => l === v) ?? null)}
              error={at(save.error, 'logging.level')}
            />
            <NumberInput label={t('policy.detail_days')} description={t('policy.detail_days.text')} min={1} max={3650} clampBehavior="strict" allowDecimal={false} allowNegative={false} value={days ?? ''} onChange={(v) => setDraft((d) => ({ ...d, detail_days: typeof v === 'number' ? v : null }))} error={at(save.error, 'data_retention.detail_days')} />
          </SimpleGrid>
          <Saving pending={save.isPending} changed={level !== null || Object.keys(draft).length > 0} />
        </form>
      )}
    </Panel>
  );
}

function Models() {
  const { t } = useTranslation();
  const policy = useGet<RoutingPolicy>(paths.routing);
  const models = useGet<{ items: Model[] }>('/openapi/v1/models');
  const [draft, setDraft] = useState<string[] | null>(null);
  const save = useChange(() => patch<RoutingPolicy>(paths.routing, { models: { allowed_model_ids: draft ?? [] } }), [paths.routing, paths.security, '/openapi/v1/models'], () => t('settings.saved'), ['models']);
  const submit = (e: FormEvent) => {
    e.preventDefault();
    save.mutate(undefined, { onSuccess: () => setDraft(null) });
  };
  const value = draft ?? policy.data?.models.allowed_model_ids ?? [];
  return (
    <Panel title={t('policy.models')}>
      {policy.error ? (
        <Broken error={policy.error} />
      ) : policy.data === undefined ? (
        <Waiting />
      ) : (
        <form onSubmit={submit}>
          <MultiSelect label={t('keys.modelsLabel')} description={t('policy.modelsText')} data={[...new Set([...(models.data?.items.map((m) => m.id) ?? []), ...value])]} value={value} onChange={setDraft} searchable clearable maxDropdownHeight={240} error={at(save.error, 'models')} />
          <Saving pending={save.isPending} changed={draft !== null} />
        </form>
      )}
    </Panel>
  );
}

function Alerts() {
  const { t } = useTranslation();
  const config = useGet<AlertConfig>(paths.alerts);
  const [draft, setDraft] = useState<{ low?: string; percent?: number | null }>({});
  const save = useChange(
    () =>
      patch<AlertConfig>(paths.alerts, {
        ...(draft.low === undefined ? {} : { low_balance: draft.low.trim() === '' ? null : draft.low.trim() }),
        ...(draft.percent === undefined ? {} : { quota_alert_percent: draft.percent }),
      }),
    [paths.alerts],
    () => t('settings.saved'),
    ['low_balance', 'quota_alert_percent'],
  );
  const c = config.data;
  const low = draft.low ?? c?.low_balance ?? '';
  const wrong = low.trim() !== '' && (!isDecimal(low.trim()) || low.trim().startsWith('-')) ? t('keys.badAmount') : null;
  const submit = (e: FormEvent) => {
    e.preventDefault();
    if (wrong === null) save.mutate(undefined, { onSuccess: () => setDraft({}) });
  };
  return (
    <Panel title={t('policy.alerts')}>
      {config.error ? (
        <Broken error={config.error} />
      ) : c === undefined ? (
        <Waiting />
      ) : (
        <form onSubmit={submit} noValidate>
          <SimpleGrid cols={{ base: 1, sm: 2 }}>
            <TextInput label={t('policy.low')} description={t('policy.lowText')} leftSection="$" inputMode="decimal" value={low} error={wrong ?? at(save.error, 'low_balance')} onChange={(e) => { const { value } = e.currentTarget; setDraft((d) => ({ ...d, low: value })); }} />
            <NumberInput label={t('policy.quota')} description={t('policy.quotaText')} min={1} max={100} suffix="%" allowDecimal={false} value={(draft.percent === undefined ? c.quota_alert_percent : draft.percent) ?? ''} onChange={(v) => setDraft((d) => ({ ...d, percent: typeof v === 'number' ? v : null }))} error={at(save.error, 'quota_alert_percent')} />
          </SimpleGrid>
          <Saving pending={save.isPending} changed={Object.keys(draft).length > 0} />
        </form>
      )}
    </Panel>
  );
}
