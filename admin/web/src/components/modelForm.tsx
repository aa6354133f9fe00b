import { Button, Group, MultiSelect, NumberInput, Select, SimpleGrid, Stack, TagsInput, Text, TextInput } from '@mantine/core';
import { useState, type FormEvent } from 'react';
import { useTranslation } from 'react-i18next';
import { data, operator, useOperator, type Schemas } from '../client';
import { isDecimal } from '../decimal';
import { at, useChange } from '../hooks';

type Model = Schemas['OperatorModel'];
type Strategy = Schemas['AutoModel']['strategy'];

const path = '/admin/v1/models';
const strategies: Strategy[] = ['balanced', 'cheapest', 'fastest', 'best'];

interface Draft {
  id: string;
  aliases: string[];
  tags: string[];
  context: number | '';
  output: number | '';
  multiplier: string;
  strategy: Strategy | null;
  of: string[];
  input: string;
  price: string;
}

const draftOf = (m: Model | null): Draft => ({
  id: m?.id ?? '',
  aliases: m?.aliases ?? [],
  tags: m?.tags ?? ['chat'],
  context: m?.context_tokens || '',
  output: m?.max_output_tokens || '',
  multiplier: m?.multiplier ?? '1',
  strategy: (m?.auto || null) as Strategy | null,
  of: m?.auto_models ?? [],
  input: '',
  price: '',
});

/** ModelForm makes a model, or changes what is said of one. What was typed stays until it is saved. */
export function ModelForm({ existing, onDone, onGone }: { existing: Model | null; onDone: (id: string) => void; onGone?: () => void }) {
  const { t } = useTranslation();
  const models = useOperator([path], (signal) => operator.GET(path, { signal }));
  const [d, setD] = useState(() => draftOf(existing));
  const [tried, setTried] = useState(false);
  const [sure, setSure] = useState(false);
  const set = <K extends keyof Draft>(name: K, value: Draft[K]) => setD((all) => ({ ...all, [name]: value }));
  const text = (name: 'id' | 'multiplier' | 'input' | 'price') => (e: { currentTarget: { value: string } }) => set(name, e.currentTarget.value);
  const price = Object.fromEntries([['input', d.input.trim()], ['output', d.price.trim()]].filter(([, v]) => v !== ''));
  const save = useChange(
    () => {
      const members = {
        aliases: d.aliases,
        tags: d.tags,
        context_tokens: d.context || 0,
        max_output_tokens: d.output || 0,
        multiplier: d.multiplier.trim(),
        ...(d.strategy === null ? {} : { auto: { strategy: d.strategy, models: d.of } }),
      };
      return data(existing ? operator.PATCH('/admin/v1/models/{model}', { params: { path: { model: existing.id } }, body: members }) : operator.POST(path, { body: { id: d.id.trim(), ...members, ...(d.strategy === null ? { price } : {}) } }));
    },
    [path, '/openapi/v1/models', '/console/api/models'],
    () => t('settings.saved'),
    ['id', 'name', 'aliases', 'tags', 'context_tokens', 'max_output_tokens', 'multiplier', 'auto', 'strategy', 'models', 'price', 'input', 'output'],
  );
  const remove = useChange(() => data(operator.DELETE('/admin/v1/models/{model}', { params: { path: { model: existing?.id ?? '' } } })), [path, '/openapi/v1/models', '/console/api/models'], () => t('cat.removed', { name: existing?.id ?? '' }));
  const badId = d.id.trim() === '' ? t('keys.needName') : null;
  const badFactor = !isDecimal(d.multiplier.trim(), 6) || d.multiplier.trim().startsWith('-') ? t('op.badPrice') : null;
  const badOf = d.strategy !== null && d.of.length === 0 ? t('cat.needModels') : null;
  const bad = (v: string): string | null => (v.trim() !== '' && (!isDecimal(v.trim(), 12) || v.trim().startsWith('-')) ? t('op.badPrice') : null);
  const submit = (e: FormEvent) => {
    e.preventDefault();
    setTried(true);
    if (!badId && !badFactor && !badOf && !bad(d.input) && !bad(d.price)) save.mutate(undefined, { onSuccess: (m) => onDone(m.id) });
  };
  const said = (...names: string[]) => at(save.error, ...names);
  return (
    <form onSubmit={submit} noValidate>
      <Stack>
        {existing ? null : <TextInput label={t('cat.id')} description={t('cat.idText')} required data-autofocus maxLength={128} value={d.id} onChange={text('id')} error={(tried ? badId : null) ?? said('id', 'name')} />}
        <TagsInput label={t('models.aliases')} description={t('cat.aliasesText')} value={d.aliases} onChange={(v) => set('aliases', v)} maxTags={64} clearable error={said('aliases')} />
        <TagsInput label={t('models.tags')} value={d.tags} onChange={(v) => set('tags', v)} maxTags={64} error={said('tags')} />
        <SimpleGrid cols={{ base: 1, xs: 3 }}>
          <NumberInput label={t('models.context')} min={0} max={1_000_000_000} allowDecimal={false} hideControls thousandSeparator="," value={d.context} onChange={(v) => set('context', typeof v === 'number' ? v : '')} error={said('context_tokens')} />
          <NumberInput label={t('models.maxOutput')} min={0} max={1_000_000_000} allowDecimal={false} hideControls thousandSeparator="," value={d.output} onChange={(v) => set('output', typeof v === 'number' ? v : '')} error={said('max_output_tokens')} />
          <TextInput label={t('op.multiplier')} inputMode="decimal" value={d.multiplier} onChange={text('multiplier')} error={(tried ? badFactor : null) ?? said('multiplier')} />
        </SimpleGrid>
        {existing && !existing.auto ? null : (
          <SimpleGrid cols={{ base: 1, xs: 2 }}>
            <Select label={t('cat.strategy')} description={t('cat.strategyText')} clearable={existing === null} data={strategies} value={d.strategy} onChange={(v) => set('strategy', v as Strategy | null)} error={said('strategy', 'auto.strategy')} />
            {d.strategy === null ? null : <MultiSelect label={t('policy.models')} description={t('cat.ofText')} searchable maxDropdownHeight={220} data={[...new Set([...(models.data?.items.filter((m) => !m.auto).map((m) => m.id) ?? []), ...d.of])]} value={d.of} onChange={(v) => set('of', v)} error={(tried ? badOf : null) ?? said('auto', 'models')} />}
          </SimpleGrid>
        )}
        {existing || d.strategy !== null ? null : (
          <SimpleGrid cols={{ base: 1, xs: 2 }}>
            <TextInput label={t('cat.priceInput')} leftSection="$" inputMode="decimal" value={d.input} onChange={text('input')} error={(tried ? bad(d.input) : null) ?? said('price.input', 'input')} />
            <TextInput label={t('cat.priceOutput')} leftSection="$" inputMode="decimal" value={d.price} onChange={text('price')} error={(tried ? bad(d.price) : null) ?? said('price.output', 'output')} />
          </SimpleGrid>
        )}
        {existing ? null : (
          <Text size="xs" c="dimmed">
            {t('cat.addText')}
          </Text>
        )}
        <Group justify="space-between">
          {existing && onGone ? (
            <Button
              variant="subtle"
              color="red"
              loading={remove.isPending}
              onClick={() => {
                if (sure) remove.mutate(undefined, { onSuccess: onGone, onSettled: () => setSure(false) });
                else setSure(true);
              }}
              onBlur={() => setSure(false)}
            >
              {t(sure ? 'cat.sure' : 'cat.remove')}
            </Button>
          ) : (
            <span />
          )}
          <Button type="submit" loading={save.isPending}>
            {t(existing ? 'common.save' : 'cat.add')}
          </Button>
        </Group>
      </Stack>
    </form>
  );
}
