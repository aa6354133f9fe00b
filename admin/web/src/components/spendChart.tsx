import '@mantine/charts/styles.css';

import { BarChart } from '@mantine/charts';
import { Group, Paper, Stack, Text } from '@mantine/core';
import { useMediaQuery } from '@mantine/hooks';
import { useTranslation } from 'react-i18next';
import { add, compare, height, isZero } from '../decimal';
import { utcDay } from '../format';
import { series } from '../theme';
import { Money } from './bits';

export interface Amounts {
  date: string;
  /** exact amounts by the name of the part */
  parts: Record<string, string>;
}

interface TooltipEntry {
  dataKey?: unknown;
  color?: string;
  payload?: { date?: string; exact?: Record<string, string> };
}

/** The amounts of a bar to their last digit: its height is only close to them. */
function Exact({ active, payload, parts, total }: { active?: boolean; payload?: readonly TooltipEntry[]; parts: string[]; total: boolean }) {
  const exact = payload?.[0]?.payload?.exact;
  const date = payload?.[0]?.payload?.date;
  if (!active || !exact || !date) return null;
  const named = payload.map((p) => ({ name: parts[Number(String(p.dataKey).slice(1))] ?? '', color: p.color }));
  const shown = named.filter((p) => !isZero(exact[p.name] ?? '0')).reverse();
  return (
    <Paper px="md" py="sm" withBorder shadow="md" radius="md" bg="var(--panel)">
      <Group justify="space-between" gap="xl" mb={shown.length > 0 ? 4 : 0}>
        <Text size="sm" fw={600}>
          {utcDay(date)}
        </Text>
        <Text size="sm" fw={600}>
          {total ? <Money value={add(...Object.values(exact), '0')} /> : null}
        </Text>
      </Group>
      <Stack gap={2}>
        {shown.map((p) => (
          <Group key={p.name} justify="space-between" gap="xl" wrap="nowrap">
            <Group gap={6} wrap="nowrap">
              <span style={{ width: 8, height: 8, borderRadius: 2, background: p.color, flexShrink: 0 }} />
              <Text size="xs">{p.name}</Text>
            </Group>
            <Text size="xs">
              <Money value={exact[p.name] ?? '0'} />
            </Text>
          </Group>
        ))}
      </Stack>
    </Paper>
  );
}

/** byParts keeps the largest parts and adds the others up. */
export function byParts(rows: { date: string; part: string; amount: string }[], dates: string[], others: string, most = 5): { parts: string[]; days: Amounts[] } {
  const totals = new Map<string, string>();
  for (const r of rows) totals.set(r.part, add(totals.get(r.part) ?? '0', r.amount));
  const ranked = [...totals].filter(([, total]) => !isZero(total)).sort((a, b) => compare(b[1], a[1]));
  const own = ranked.slice(0, ranked.length > most + 1 ? most : most + 1).map(([name]) => name);
  const parts = ranked.length > own.length ? [...own, others] : own;
  const days = new Map(dates.map((date) => [date, { date, parts: {} as Record<string, string> }]));
  for (const r of rows) {
    const day = days.get(r.date);
    if (!day || isZero(r.amount)) continue;
    const part = own.includes(r.part) ? r.part : others;
    day.parts[part] = add(day.parts[part] ?? '0', r.amount);
  }
  return { parts, days: [...days.values()] };
}

const axis = new Intl.NumberFormat('en', { style: 'currency', currency: 'USD', maximumSignificantDigits: 3, notation: 'compact' });

export function SpendChart({ days, parts, h = 240, label, stacked = true }: { days: Amounts[]; parts: string[]; h?: number; label: string; stacked?: boolean }) {
  const { i18n } = useTranslation();
  const narrow = useMediaQuery('(max-width: 48em)', false, { getInitialValueInEffect: false });
  // Keys of their own: a dot in a model's name would be read as a path.
  const data = days.map((d) => ({ date: d.date, exact: d.parts, ...Object.fromEntries(parts.map((p, i) => [`p${i}`, height(d.parts[p] ?? '0')])) }));
  return (
    <figure style={{ margin: 0 }} aria-label={label} key={i18n.resolvedLanguage}>
      <BarChart
        h={h}
        data={data}
        dataKey="date"
        type={stacked ? 'stacked' : 'default'}
        withLegend={parts.length > 1 && !narrow}
        legendProps={{ verticalAlign: 'bottom', height: 40 }}
        series={parts.map((label, i) => ({ name: `p${i}`, label, color: series[i % series.length] ?? 'gray' }))}
        tickLine="none"
        maxBarWidth={28}
        xAxisProps={{ tickFormatter: (v: string) => utcDay(v), minTickGap: 28, interval: 'preserveStartEnd' }}
        yAxisProps={{ tickFormatter: (v: number) => axis.format(v), width: 56 }}
        tooltipProps={{ content: (props) => <Exact active={props.active} payload={props.payload as readonly TooltipEntry[]} parts={parts} total={stacked} />, cursor: { fill: 'var(--line)', opacity: 0.5 } }}
        tooltipAnimationDuration={0}
        barProps={{ isAnimationActive: false, radius: stacked ? 0 : 3 }}
      />
    </figure>
  );
}
