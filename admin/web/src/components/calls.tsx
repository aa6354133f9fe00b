import { Stack, Text } from '@mantine/core';
import { useMemo } from 'react';
import { useTranslation } from 'react-i18next';
import type { Call } from '../api';
import { count, duration, moment } from '../format';
import { CallBadge, Money } from './bits';
import type { Columns } from './table';

/** useCallColumns are the columns of a list of requests (S3-17). */
export function useCallColumns(): Columns<Call> {
  const { t } = useTranslation();
  return useMemo<Columns<Call>>(
    () => [
      { accessorKey: 'time', header: t('logs.time'), cell: ({ row }) => <span className="number">{moment(row.original.time)}</span> },
      {
        accessorKey: 'model',
        header: t('logs.model'),
        meta: { lead: true },
        cell: ({ row: { original: c } }) => (
          <Text size="sm" fw={550} style={{ overflowWrap: 'anywhere' }}>
            {c.model || c.requested_model}
          </Text>
        ),
      },
      {
        accessorKey: 'key_name',
        header: t('logs.key'),
        cell: ({ row }) => (
          <Text span size="sm" style={{ overflowWrap: 'anywhere' }}>
            {row.original.key_name}
          </Text>
        ),
      },
      { accessorKey: 'input_tokens', header: t('logs.input'), meta: { right: true }, cell: ({ row }) => count(row.original.input_tokens) },
      { accessorKey: 'output_tokens', header: t('logs.output'), meta: { right: true }, cell: ({ row }) => count(row.original.output_tokens) },
      { accessorKey: 'charge', header: t('logs.charge'), meta: { right: true }, cell: ({ row }) => <Money value={row.original.charge} /> },
      { accessorKey: 'latency_ms', header: t('logs.latency'), meta: { right: true }, cell: ({ row }) => duration(row.original.latency_ms) },
      {
        accessorKey: 'status',
        header: t('logs.status'),
        meta: { trail: true },
        cell: ({ row: { original: c } }) => (
          <Stack gap={0} align="flex-start">
            <CallBadge status={c.status} />
            {c.code ? (
              <Text size="xs" c="dimmed">
                {c.http_status} {c.code}
              </Text>
            ) : null}
          </Stack>
        ),
      },
    ],
    [t],
  );
}
