import { Badge, Drawer, SimpleGrid, Stack, Text, TextInput } from '@mantine/core';
import { keepPreviousData, useInfiniteQuery } from '@tanstack/react-query';
import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { data, operator, useOperator, type Schemas } from '../../client';
import { PageTitle, Panel, Stat } from '../../components/bits';
import { Broken, Empty, Loaded, More } from '../../components/states';
import { DataTable, type Columns } from '../../components/table';
import { count, moment } from '../../format';
import { IconHistory, IconSearch } from '../../icons';

type Entry = Schemas['AuditEntry'];

/** Audit is who changed what, and what the relay found when it proved its books. */
export default function Audit() {
  const { t } = useTranslation();
  const self = useOperator(['/admin/v1/self-audit'], (signal) => operator.GET('/admin/v1/self-audit', { signal }), 30_000);
  const [actor, setActor] = useState('');
  const [open, setOpen] = useState<Entry | null>(null);
  const log = useInfiniteQuery({
    queryKey: ['/admin/v1/audit-log', actor.trim()],
    queryFn: ({ pageParam, signal }) => data(operator.GET('/admin/v1/audit-log', { signal, params: { query: { limit: 50, ...(pageParam ? { cursor: pageParam } : {}), ...(actor.trim() ? { actor: actor.trim() } : {}) } } })),
    initialPageParam: '',
    getNextPageParam: (last) => last.next_cursor ?? undefined,
    placeholderData: keepPreviousData,
  });
  const columns = useMemo<Columns<Entry>>(
    () => [
      { accessorKey: 'time', header: t('logs.time'), cell: ({ row }) => <span className="number">{moment(row.original.time)}</span> },
      { id: 'what', header: t('audit.what'), meta: { lead: true }, cell: ({ row: { original: e } }) => <Text size="sm" fw={550} style={{ overflowWrap: 'anywhere' }}>{e.action} {e.object} {e.object_id}</Text> },
      { accessorKey: 'actor', header: t('op.actor'), cell: ({ row }) => <Text size="sm" style={{ overflowWrap: 'anywhere' }}>{row.original.actor}</Text> },
      { accessorKey: 'ip', header: t('audit.from'), cell: ({ row }) => row.original.ip || '–' },
      { accessorKey: 'revision', header: t('op.revision'), meta: { right: true }, cell: ({ row }) => count(row.original.revision) },
    ],
    [t],
  );
  const s = self.data;
  const rows = log.data?.pages.flatMap((p) => p.items) ?? [];
  return (
    <>
      <PageTitle title={t('audit.title')} text={t('audit.text')} />
      <Stack gap="lg">
        {self.error ? <Broken error={self.error} retry={() => void self.refetch()} /> : null}
        <SimpleGrid cols={{ base: 1, sm: 3 }}>
          <Stat label={t('audit.books')} loading={self.isPending} value={s ? <Text span inherit className={s.clean ? 'good' : 'bad'}>{t(s.clean ? 'audit.clean' : 'audit.broken')}</Text> : null} hint={s ? t('audit.proven', { n: s.proven, all: s.slices }) : ''} />
          <Stat label={t('audit.wallets')} loading={self.isPending} value={s ? count(s.wallets) : null} hint={s?.newest ? moment(s.newest) : ''} />
          <Stat label={t('audit.found')} loading={self.isPending} value={s ? count(s.broken) : null} hint={s?.oldest ? t('audit.oldest', { time: moment(s.oldest) }) : t('audit.soon')} />
        </SimpleGrid>
        <TextInput maw={360} placeholder={t('audit.actor')} aria-label={t('audit.actor')} leftSection={<IconSearch size={16} />} value={actor} onChange={(e) => setActor(e.currentTarget.value)} />
        <Panel flush>
          <Loaded of={log}>
            <DataTable rows={rows} columns={columns} id={(e) => String(e.id)} label={t('audit.title')} onOpen={setOpen} empty={<Empty title={t('audit.none')} icon={IconHistory} />} />
          </Loaded>
          <More of={log} />
        </Panel>
      </Stack>
      <Drawer opened={open !== null} onClose={() => setOpen(null)} position="right" size="lg" title={open ? `${open.action} ${open.object}` : ''} closeButtonProps={{ 'aria-label': t('common.close') }}>
        {open ? (
          <Stack>
            <Text size="sm">{typeof open.detail === 'string' ? open.detail : JSON.stringify(open.detail)}</Text>
            {open.request_id ? <code>{open.request_id}</code> : null}
            {open.changes.map((c, i) => (
              <Stack key={i} gap={4}>
                <Badge tt="none" color="gray">
                  {c.object} {c.object_id}
                </Badge>
                <Text size="xs" c="dimmed">
                  {t('audit.before')}
                </Text>
                <pre className="code-block" tabIndex={0}>{JSON.stringify(c.before, null, 2)}</pre>
                <Text size="xs" c="dimmed">
                  {t('audit.after')}
                </Text>
                <pre className="code-block" tabIndex={0}>{JSON.stringify(c.after, null, 2)}</pre>
              </Stack>
            ))}
          </Stack>
        ) : null}
      </Drawer>
    </>
  );
}
