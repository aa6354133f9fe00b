import { Anchor, Box, Button, Grid, Group, SimpleGrid, Stack, Text } from '@mantine/core';
import { IconBolt, IconPlus } from '../icons';
import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import type { Balance, Call, Page, SpendOverview } from '../api';
import { period, useCharges } from '../charges';
import { Copy, Money, PageTitle, Panel, Share, Stat } from '../components/bits';
import { useCallColumns } from '../components/calls';
import { byParts, SpendChart } from '../components/spendChart';
import { Broken, Empty, Waiting } from '../components/states';
import { DataTable } from '../components/table';
import { TraceDrawer } from '../components/trace';
import { share, usd } from '../decimal';
import { percent, short } from '../format';
import { useGet } from '../hooks';
import { useVisitor } from '../session';

export default function Dashboard() {
  const { t } = useTranslation();
  const { user } = useVisitor();
  const balance = useGet<Balance>('/openapi/v1/balance', {}, { every: 5000 });
  const overview = useGet<SpendOverview>('/openapi/v1/cost/overview', {}, { every: 15_000 });
  const recent = useGet<Page<Call>>('/openapi/v1/billing/detail', { limit: 8 }, { every: 5000 });
  const range = useMemo(() => period(30), []);
  const charges = useCharges({ from: range.from, to: range.to });
  const chart = useMemo(() => byParts(charges.rows.map((r) => ({ date: r.date, part: r.model, amount: r.charge })), range.dates, t('dash.other')), [charges.rows, range.dates, t]);
  const columns = useCallColumns();
  const [open, setOpen] = useState<string | null>(null);
  const o = overview.data;
  const none = recent.data !== undefined && recent.data.items.length === 0;

  return (
    <>
      <PageTitle title={t('dash.title')} text={t('dash.hello', { client: user?.client_name ?? '' })}>
        <Button component={Link} to="/console/billing" variant="default">
          {t('dash.addCredit')}
        </Button>
        <Button component={Link} to="/console/api-keys?new" leftSection={<IconPlus size={16} />}>
          {t('dash.createKey')}
        </Button>
      </PageTitle>
      <Stack gap="lg">
        {overview.error ? <Broken error={overview.error} retry={() => void overview.refetch()} /> : null}
        <SimpleGrid cols={{ base: 1, xs: 2, md: 4 }} spacing="md">
          <Stat label={t('dash.available')} loading={balance.isPending} value={balance.data ? <Money value={balance.data.available} /> : null} hint={balance.data ? t('dash.reserved', { amount: usd(balance.data.reserved) }) : ''} />
          <Stat label={t('dash.today')} loading={overview.isPending} value={o ? <Money value={o.today.charge} /> : null} hint={o ? t('dash.yesterday', { amount: usd(o.yesterday.charge) }) : ''} />
          <Stat label={t('dash.month')} loading={overview.isPending} value={o ? <Money value={o.this_month.charge} /> : null} hint={o ? t('dash.lastMonth', { amount: usd(o.last_month.charge) }) : ''} />
          <Stat label={t('dash.requests')} loading={overview.isPending} value={o ? short(o.last_30_days.calls) : null} hint={o ? t('dash.successRate', { rate: percent(o.last_30_days.success, o.last_30_days.calls) }) : ''} />
        </SimpleGrid>
        {none ? (
          <QuickStart />
        ) : (
          <>
            <Panel title={t('dash.spend')} aside={<Text size="xs" c="dimmed">{t('common.utc')}</Text>}>
              {charges.error ? <Broken error={charges.error} retry={() => void charges.refetch()} /> : charges.complete ? <SpendChart days={chart.days} parts={chart.parts} label={t('dash.spend')} /> : <Waiting />}
            </Panel>
            <Grid gap="lg">
              <Grid.Col span={{ base: 12, md: 6 }}>
                <Top title={t('dash.topModels')} to="/console/usage" loading={overview.isPending} rows={o?.top_models.map((m) => ({ name: m.model, charge: m.charge, calls: m.calls })) ?? []} total={o?.this_month.charge ?? '0'} />
              </Grid.Col>
              <Grid.Col span={{ base: 12, md: 6 }}>
                <Top title={t('dash.topKeys')} to="/console/api-keys" loading={overview.isPending} rows={o?.top_keys.map((k) => ({ name: k.key_name, charge: k.charge, calls: k.calls })) ?? []} total={o?.this_month.charge ?? '0'} />
              </Grid.Col>
            </Grid>
            <Panel
              flush
              title={t('dash.recent')}
              aside={
                <Anchor component={Link} to="/console/logs" size="sm">
                  {t('common.viewAll')}
                </Anchor>
              }
            >
              {recent.error ? <Broken error={recent.error} /> : recent.data ? <DataTable rows={recent.data.items} columns={columns} id={(c) => c.request_id} label={t('dash.recent')} onOpen={(c) => setOpen(c.request_id)} /> : <Waiting />}
            </Panel>
          </>
        )}
      </Stack>
      <TraceDrawer id={open} onClose={() => setOpen(null)} />
    </>
  );
}

export function Top({ title, to, rows, total, loading }: { title: string; to: string; rows: { name: string; charge: string; calls: number }[]; total: string; loading: boolean }) {
  const { t } = useTranslation();
  return (
    <Panel
      h="100%"
      title={title}
      aside={
        <Anchor component={Link} to={to} size="sm">
          {t('common.viewAll')}
        </Anchor>
      }
    >
      {loading ? (
        <Waiting />
      ) : rows.length === 0 ? (
        <Text size="sm" c="dimmed">
          {t('usage.empty')}
        </Text>
      ) : (
        rows.map((r) => (
          <Box key={r.name}>
            <Group justify="space-between" wrap="nowrap" gap="sm" mb={5}>
              <Text size="sm" fw={500} style={{ overflowWrap: 'anywhere' }}>
                {r.name}
              </Text>
              <Text size="sm">
                <Money value={r.charge} />
              </Text>
            </Group>
            <Share percent={share(r.charge, total)} />
          </Box>
        ))
      )}
    </Panel>
  );
}

function QuickStart() {
  const { t } = useTranslation();
  const { site } = useVisitor();
  const curl = `export TOKEN_RELAY_KEY=…\n\ncurl ${site.public_url}/v1/chat/completions \\\n  -H "Authorization: Bearer $TOKEN_RELAY_KEY" \\\n  -H "Content-Type: application/json" \\\n  -d '{"model": "gpt-5-mini",\n       "messages": [{"role": "user", "content": "Hi"}]}'`;
  return (
    <Grid gap="lg">
      <Grid.Col span={{ base: 12, md: 5 }}>
        <Panel h="100%">
          <Empty title={t('dash.noCalls')} text={t('dash.noCallsText')} icon={IconBolt}>
            <Button component={Link} to="/console/api-keys?new" mt="sm">
              {t('dash.createKey')}
            </Button>
          </Empty>
        </Panel>
      </Grid.Col>
      <Grid.Col span={{ base: 12, md: 7 }}>
        <Panel h="100%" title={t('dash.quickstart')} aside={<Copy value={curl} />}>
          <Text size="sm" c="dimmed">
            {t('dash.quickstartText')}
          </Text>
          <pre className="code-block">{curl}</pre>
        </Panel>
      </Grid.Col>
    </Grid>
  );
}
