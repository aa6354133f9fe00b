import { PasswordInput, Select, SimpleGrid, NumberInput, TagsInput, Text, TextInput } from '@mantine/core';
import { useState, type FormEvent } from 'react';
import { useTranslation } from 'react-i18next';
import { patch, type Judgement, type Model, type SecurityPolicy } from '../api';
import { at, useChange, useGet } from '../hooks';
import { Panel } from './bits';
import { Saving } from './saving';
import { Broken, Waiting } from './states';

const path = '/openapi/v1/security/policy';

/** The members of the policy that this form shows, whose refusals stand beside them. */
const judge = (name: string) => `content_safety.${name}`;
const fields = ['moderation.model', 'moderation.action', 'moderation.categories', 'moderation.timeout_ms', 'moderation.on_failure', 'webhook.url', 'webhook.secret', 'webhook.timeout_ms', 'webhook.on_failure'].map(judge);

/** What else than moderations a model is for, by its tags. One without tags may serve anything. */
const otherwise = ['chat', 'responses', 'embedding', 'image', 'speech', 'transcription', 'rerank'];
const judges = (m: Model) => !m.auto && (m.tags.includes('moderation') || !m.tags.some((tag) => otherwise.includes(tag)));

/** Judges are those who are asked about requests before they go on: a moderation model, and a server of the customer's own. */
export function Judges() {
  const { t } = useTranslation();
  const policy = useGet<SecurityPolicy>(path);
  const models = useGet<{ items: Model[] }>('/openapi/v1/models');
  const [moderation, setModeration] = useState<Partial<SecurityPolicy['content_safety']['moderation']>>({});
  const [webhook, setWebhook] = useState<{ url?: string; secret?: string; timeout_ms?: number; on_failure?: Judgement }>({});
  const save = useChange(
    () => patch<SecurityPolicy>(path, { content_safety: { moderation, webhook: { ...webhook, ...(webhook.url === undefined ? {} : { url: webhook.url.trim() === '' ? null : webhook.url.trim() }) } } }),
    [path],
    () => t('settings.saved'),
    fields,
  );
  const said = (name: string) => at(save.error, judge(name));
  const submit = (e: FormEvent) => {
    e.preventDefault();
    save.mutate(undefined, {
      onSuccess: () => {
        setModeration({});
        setWebhook({});
      },
    });
  };
  const p = policy.data?.content_safety;
  const actions = (['off', 'flag', 'block'] as const).map((a) => ({ value: a, label: t(`policy.action.${a}`) }));
  const failures = (['refuse', 'allow'] as const).map((f) => ({ value: f, label: t(`policy.failure.${f}`) }));
  return (
    <Panel title={t('policy.judges')}>
      {policy.error ? (
        <Broken error={policy.error} />
      ) : p === undefined ? (
        <Waiting />
      ) : (
        <form onSubmit={submit} noValidate>
          <Text size="sm" c="dimmed" mb="md">
            {t('policy.judgesText')}
          </Text>
          <SimpleGrid cols={{ base: 1, xs: 2 }}>
            <Select label={t('policy.moderation')} description={t('policy.moderationText')} searchable clearable data={[...new Set([...(models.data?.items.filter(judges).map((m) => m.id) ?? []), ...(p.moderation.model === null ? [] : [p.moderation.model])])]} value={moderation.model === undefined ? p.moderation.model : moderation.model} onChange={(v) => setModeration((d) => ({ ...d, model: v, ...(v === null ? { action: 'off' as const } : {}) }))} error={said('moderation.model')} />
            <Select label={t('policy.moderationAction')} description={t('policy.moderationActionText')} data={actions} value={moderation.action ?? p.moderation.action} allowDeselect={false} onChange={(v) => v && setModeration((d) => ({ ...d, action: v as 'off' | 'flag' | 'block' }))} error={said('moderation.action')} />
          </SimpleGrid>
          <TagsInput mt="sm" label={t('policy.categories')} description={t('policy.categoriesText')} value={moderation.categories ?? p.moderation.categories} onChange={(categories) => setModeration((d) => ({ ...d, categories }))} clearable maxTags={64} error={said('moderation.categories')} />
          <SimpleGrid cols={{ base: 1, xs: 2 }} mt="sm">
            <NumberInput label={t('policy.patience')} min={50} max={10_000} allowDecimal={false} value={moderation.timeout_ms ?? p.moderation.timeout_ms} onChange={(v) => typeof v === 'number' && setModeration((d) => ({ ...d, timeout_ms: v }))} error={said('moderation.timeout_ms')} />
            <Select label={t('policy.failure')} data={failures} value={moderation.on_failure ?? p.moderation.on_failure} allowDeselect={false} onChange={(v) => v && setModeration((d) => ({ ...d, on_failure: v as Judgement }))} error={said('moderation.on_failure')} />
          </SimpleGrid>
          <SimpleGrid cols={{ base: 1, xs: 2 }} mt="lg">
            <TextInput label={t('policy.webhook')} description={t('policy.webhookText')} placeholder="https://" value={webhook.url ?? p.webhook.url ?? ''} onChange={(e) => { const { value } = e.currentTarget; setWebhook((d) => ({ ...d, url: value })); }} error={said('webhook.url')} />
            <PasswordInput label={t('policy.secret')} description={t(p.webhook.secret_set ? 'policy.secretSet' : 'policy.secretText')} autoComplete="new-password" value={webhook.secret ?? ''} onChange={(e) => { const { value } = e.currentTarget; setWebhook((d) => { const { secret: _, ...rest } = d; return value === '' ? rest : { ...rest, secret: value }; }); }} error={said('webhook.secret')} />
            <NumberInput label={t('policy.patience')} min={50} max={10_000} allowDecimal={false} value={webhook.timeout_ms ?? p.webhook.timeout_ms} onChange={(v) => typeof v === 'number' && setWebhook((d) => ({ ...d, timeout_ms: v }))} error={said('webhook.timeout_ms')} />
            <Select label={t('policy.failure')} data={failures} value={webhook.on_failure ?? p.webhook.on_failure} allowDeselect={false} onChange={(v) => v && setWebhook((d) => ({ ...d, on_failure: v as Judgement }))} error={said('webhook.on_failure')} />
          </SimpleGrid>
          <Saving pending={save.isPending} changed={Object.keys(moderation).length + Object.keys(webhook).length > 0} />
        </form>
      )}
    </Panel>
  );
}
