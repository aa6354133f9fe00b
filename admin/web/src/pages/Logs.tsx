import '@mantine/dates/styles.css';

import { Button, Group, Select, Switch, TextInput } from '@mantine/core';
import { DatePickerInput } from '@mantine/dates';
import { IconCalendar, IconDownload, IconSearch } from '../icons';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useSearchParams } from 'react-router';
import { withQuery, type ApiKey, type Call, type Model } from '../api';
import { PageTitle, Panel } from '../components/bits';
import { useCallColumns } from '../components/calls';
import { Empty, Loaded, More } from '../components/states';
import { DataTable } from '../components/table';
import { TraceDrawer } from '../components/trace';
import { useGet, usePages } from '../hooks';

const statuses = ['success', 'failed', 'timeout', 'cancelled', 'interrupted', 'refused'] as const;

/** nextDay makes the last day of a range belong to it. */
export function nextDay(date: string | null): string | null {
  if (date === null) return null;
  const d = new Date(`${date}T00:00:00Z`);
  d.setUTCDate(d.getUTCDate() + 1);
  return d.toISOString().slice(0, 10);
}

const requestId = /^req_[0-9A-HJKMNP-TV-Z]{26}$/;

export default function Logs() {
  const { t } = useTranslation();
  const [params, setParams] = useSearchParams();
  const [live, setLive] = useState(true);
  const [days, setDays] = useState<[string | null, string | null]>([params.get('from'), params.get('to')]);
  const set = (name: string, value: string | null) =>
    setParams(
      (before) => {
        if (value) before.set(name, value);
        else before.delete(name);
        return before;
      },
      { replace: true },
    );
  const id = params.get('request_id') ?? '';
  const query = {
    model: params.get('model'),
    status: params.get('status'),
    key_id: params.get('key_id'),
    conversation_id: params.get('conversation_id'),
    request_id: requestId.test(id) ? id : null,
    from: params.get('from'),
    to: nextDay(params.get('to')),
  };
  const calls = usePages<Call>('/openapi/v1/billing/detail', { ...query, limit: 50 }, { every: live ? 4000 : 0 });
  const models = useGet<{ items: Model[] }>('/openapi/v1/models');
  const keys = useGet<{ items: ApiKey[] }>('/openapi/v1/api-keys', { limit: 200 });
  const columns = useCallColumns();
  const open = params.get('open');

  return (
    <>
      <PageTitle title={t('logs.title')} text={t('logs.subtitle')}>
        <Switch label={t('logs.live')} checked={live} onChange={(e) => setLive(e.currentTarget.checked)} />
        <Button component="a" href={withQuery('/openapi/v1/billing/detail.csv', query)} download variant="default" leftSection={<IconDownload size={16} />}>
          {t('common.exportCsv')}
        </Button>
      </PageTitle>
      <Group mb="md" gap="sm">
        <Select aria-label={t('logs.model')} placeholder={t('logs.allModels')} data={models.data?.items.map((m) => m.id) ?? []} value={params.get('model')} onChange={(v) => set('model', v)} searchable clearable style={{ flex: '1 1 170px' }} />
        <Select aria-label={t('logs.key')} placeholder={t('logs.allKeys')} data={keys.data?.items.map((k) => ({ value: k.id, label: `${k.name} (…${k.last4})` })) ?? []} value={params.get('key_id')} onChange={(v) => set('key_id', v)} searchable clearable style={{ flex: '1 1 170px' }} />
        <Select aria-label={t('logs.status')} placeholder={t('logs.allStatus')} data={statuses.map((s) => ({ value: s, label: t(`logs.status.${s}`) }))} value={params.get('status')} onChange={(v) => set('status', v)} clearable style={{ flex: '1 1 140px' }} />
        <DatePickerInput
          type="range"
          aria-label={t('common.period')}
          placeholder={t('common.period')}
          leftSection={<IconCalendar size={16} />}
          clearable
          allowSingleDateInRange
          value={days}
          onChange={(v) => {
            setDays(v);
            if (v[0] === null || v[1] !== null) {
              set('from', v[0]);
              set('to', v[1]);
            }
          }}
          style={{ flex: '1 1 200px' }}
        />
        <TextInput aria-label={t('common.requestId')} placeholder="req_…" leftSection={<IconSearch size={16} />} value={id} onChange={(e) => set('request_id', e.currentTarget.value.trim())} style={{ flex: '1 1 180px' }} />
        <TextInput aria-label={t('logs.conversation')} placeholder={t('logs.conversation')} maxLength={128} value={params.get('conversation_id') ?? ''} onChange={(e) => set('conversation_id', e.currentTarget.value.trim())} style={{ flex: '1 1 140px' }} />
      </Group>
      <Panel flush>
        <Loaded of={calls}>
          <DataTable rows={calls.rows} columns={columns} id={(c) => c.request_id} label={t('logs.title')} onOpen={(c) => set('open', c.request_id)} empty={<Empty title={t('logs.empty')} text={t('logs.emptyText')} />} />
        </Loaded>
        <More of={calls} />
      </Panel>
      <TraceDrawer id={open !== null && requestId.test(open) ? open : null} onClose={() => set('open', null)} />
    </>
  );
}
