import { ActionIcon, Alert, Anchor, Box, Button, Checkbox, Collapse, Group, NumberInput, SegmentedControl, Select, Stack, Text, Textarea, Tooltip } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { useMutation } from '@tanstack/react-query';
import { useEffect, useMemo, useRef, useState, type KeyboardEvent } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import type { Call, Model } from '../api';
import { begin, cap, end, holding, run, settled, type Ask, type Message, type Progress } from '../chat';
import { Copy, Money, PageTitle, Panel } from '../components/bits';
import { Broken, Empty, Waiting } from '../components/states';
import { count, duration } from '../format';
import { useGet } from '../hooks';
import { IconBan, IconBolt, IconPlus, IconTrash } from '../icons';
import { useVisitor } from '../session';
import { languages, snippet, type Language } from '../snippets';

interface Turn {
  prompt: string;
  answer: Progress | null;
  booked: Call | null;
  error: string;
}

interface Column {
  id: number;
  model: string;
  turns: Turn[];
}

const most = 3;

export default function Playground() {
  const { t } = useTranslation();
  const { user } = useVisitor();
  const owner = user?.email ?? '';
  const [ready, setReady] = useState(holding(owner));
  const start = useMutation({ mutationFn: () => begin(owner, t('play.keyName')), onSuccess: () => setReady(true) });
  useEffect(() => {
    // A page that is closed or left for another site takes its key with it.
    const leave = () => void end();
    window.addEventListener('pagehide', leave);
    return () => window.removeEventListener('pagehide', leave);
  }, []);
  return (
    <>
      <PageTitle title={t('play.title')} text={t('play.subtitle')}>
        {ready ? (
          <Button
            variant="default"
            leftSection={<IconBan size={16} />}
            onClick={() => {
              void end();
              setReady(false);
            }}
          >
            {t('play.end')}
          </Button>
        ) : null}
      </PageTitle>
      {ready ? (
        <Desk onLost={() => setReady(false)} />
      ) : (
        <Panel>
          <Empty title={t('play.consentTitle')} text={t('play.consent', { amount: cap })} icon={IconBolt}>
            {start.error ? <Broken error={start.error} /> : null}
            <Button mt="sm" loading={start.isPending} onClick={() => start.mutate()}>
              {t('play.start')}
            </Button>
          </Empty>
        </Panel>
      )}
    </>
  );
}

function Desk({ onLost }: { onLost: () => void }) {
  const { t } = useTranslation();
  const { site, user } = useVisitor();
  const models = useGet<{ items: Model[] }>('/openapi/v1/models');
  const names = useMemo(() => (models.data?.items ?? []).filter((m) => m.callable && (m.auto !== undefined || m.tags.includes('chat'))).map((m) => m.id), [models.data]);
  const [columns, setColumns] = useState<Column[]>([]);
  const [system, setSystem] = useState('');
  const [prompt, setPrompt] = useState('');
  const [temperature, setTemperature] = useState<number | ''>('');
  const [maxTokens, setMaxTokens] = useState<number | ''>(512);
  const [busy, setBusy] = useState(0);
  const [stream, setStream] = useState(true);
  const [language, setLanguage] = useState<Language>('curl');
  const [more, { toggle }] = useDisclosure(false);
  const stop = useRef<AbortController | null>(null);
  const next = useRef(1);
  useEffect(() => () => stop.current?.abort(), []);
  useEffect(() => {
    if (columns.length === 0 && names.length > 0) setColumns([{ id: 0, model: ['gpt-5-mini', 'gpt-4o-mini'].find((n) => names.includes(n)) ?? names[0]!, turns: [] }]);
  }, [names, columns.length]);

  const history = (c: Column): Message[] => [
    ...(system.trim() === '' ? [] : [{ role: 'system' as const, content: system.trim() }]),
    ...c.turns.flatMap((turn) => (turn.answer && turn.error === '' ? [{ role: 'user' as const, content: turn.prompt }, { role: 'assistant' as const, content: turn.answer.text }] : [])),
  ];
  const ask = (c: Column, text: string): Ask => ({
    model: c.model,
    messages: [...history(c), { role: 'user', content: text }],
    ...(temperature === '' ? {} : { temperature }),
    ...(maxTokens === '' ? {} : { maxTokens }),
  });

  const change = (id: number, f: (c: Column) => Column) => setColumns((all) => all.map((c) => (c.id === id ? f(c) : c)));
  const last = (id: number, f: (turn: Turn) => Turn) => change(id, (c) => ({ ...c, turns: c.turns.map((turn, i) => (i === c.turns.length - 1 ? f(turn) : turn)) }));

  const send = () => {
    const text = prompt.trim();
    if (text === '' || busy > 0) return;
    if (!holding(user?.email ?? '')) return onLost();
    setPrompt('');
    const abort = new AbortController();
    stop.current = abort;
    setBusy(columns.length);
    for (const c of columns) {
      const question = ask(c, text);
      change(c.id, (col) => ({ ...col, turns: [...col.turns, { prompt: text, answer: null, booked: null, error: '' }] }));
      run(question, (p) => last(c.id, (turn) => ({ ...turn, answer: p })), abort.signal)
        .then(async (p) => {
          setBusy((n) => n - 1);
          const booked = p.requestId === '' ? null : await settled(p.requestId);
          change(c.id, (col) => ({ ...col, turns: col.turns.map((turn) => (turn.answer?.requestId === p.requestId ? { ...turn, booked } : turn)) }));
        })
        .catch((e: unknown) => {
          setBusy((n) => n - 1);
          last(c.id, (turn) => ({ ...turn, error: abort.signal.aborted ? t('play.stopped') : e instanceof Error ? e.message : String(e) }));
        });
    }
  };
  const keys = (e: KeyboardEvent) => {
    if (e.key === 'Enter' && !e.shiftKey && !e.nativeEvent.isComposing) {
      e.preventDefault();
      send();
    }
  };
  const first = columns[0];
  const code = first ? snippet(language, site.public_url, ask(first, prompt.trim() || first.turns.at(-1)?.prompt || t('play.hello')), stream) : '';

  if (models.error) return <Broken error={models.error} retry={() => void models.refetch()} />;
  if (models.isPending) return <Waiting />;
  if (names.length === 0) return <Empty title={t('models.empty')} />;
  return (
    <Stack gap="lg">
      <div className="play-columns">
        {columns.map((c) => (
          <Panel key={c.id} className="panel play-column">
            <Group wrap="nowrap" gap="xs">
              <Select aria-label={t('models.model')} data={names} value={c.model} onChange={(v) => v !== null && change(c.id, (col) => ({ ...col, model: v }))} searchable allowDeselect={false} flex={1} disabled={busy > 0} />
              {columns.length > 1 ? (
                <Tooltip label={t('play.remove')}>
                  <ActionIcon variant="subtle" color="gray" aria-label={`${t('play.remove')}: ${c.model}`} disabled={busy > 0} onClick={() => setColumns((all) => all.filter((x) => x.id !== c.id))}>
                    <IconTrash size={16} />
                  </ActionIcon>
                </Tooltip>
              ) : null}
            </Group>
            <Stack gap="md" className="play-log" role="log" aria-label={c.model} tabIndex={0}>
              {c.turns.length === 0 ? (
                <Text size="sm" c="dimmed" ta="center" py="xl">
                  {t('play.empty')}
                </Text>
              ) : null}
              {c.turns.map((turn, i) => (
                <TurnView key={i} turn={turn} />
              ))}
            </Stack>
          </Panel>
        ))}
      </div>
      <Panel>
        <Textarea aria-label={t('play.message')} placeholder={t('play.message')} autosize minRows={2} maxRows={8} value={prompt} onChange={(e) => setPrompt(e.currentTarget.value)} onKeyDown={keys} maxLength={100_000} />
        <Group justify="space-between">
          <Group gap="xs">
            <Button variant="default" size="compact-sm" leftSection={<IconPlus size={14} />} disabled={columns.length >= most || busy > 0} onClick={() => setColumns((all) => [...all, { id: next.current++, model: names.find((n) => !all.some((c) => c.model === n)) ?? names[0]!, turns: [] }])}>
              {t('play.compare')}
            </Button>
            <Button variant="subtle" color="gray" size="compact-sm" onClick={toggle} aria-expanded={more}>
              {t('play.options')}
            </Button>
            {columns.some((c) => c.turns.length > 0) ? (
              <Button variant="subtle" color="gray" size="compact-sm" disabled={busy > 0} onClick={() => setColumns((all) => all.map((c) => ({ ...c, turns: [] })))}>
                {t('play.clear')}
              </Button>
            ) : null}
          </Group>
          {busy > 0 ? (
            <Button color="red" variant="light" onClick={() => stop.current?.abort()}>
              {t('play.stop')}
            </Button>
          ) : (
            <Button onClick={send} disabled={prompt.trim() === ''}>
              {t('play.send')}
            </Button>
          )}
        </Group>
        <Collapse expanded={more}>
          <Stack gap="sm">
            <Textarea label={t('play.system')} autosize minRows={1} maxRows={6} value={system} onChange={(e) => setSystem(e.currentTarget.value)} maxLength={100_000} />
            <Group grow maw={420}>
              <NumberInput label={t('play.temperature')} min={0} max={2} step={0.1} decimalScale={2} placeholder={t('play.asModel')} value={temperature} onChange={(v) => setTemperature(typeof v === 'number' ? v : '')} />
              <NumberInput label={t('play.maxTokens')} min={1} max={1_000_000} allowDecimal={false} placeholder={t('play.asModel')} value={maxTokens} onChange={(v) => setMaxTokens(typeof v === 'number' ? v : '')} />
            </Group>
          </Stack>
        </Collapse>
      </Panel>
      <Panel title={t('play.code')} aside={<Copy value={code} />}>
        <Group gap="md">
          <SegmentedControl aria-label={t('play.code')} size="xs" value={language} onChange={(v) => setLanguage(v as Language)} data={[...languages]} />
          <Checkbox size="sm" label={t('play.stream')} checked={stream} onChange={(e) => setStream(e.currentTarget.checked)} />
        </Group>
        <pre className="code-block" tabIndex={0} data-testid="code">
          {code}
        </pre>
        <Text size="xs" c="dimmed">
          {t('play.codeText')} <Anchor component={Link} to="/console/api-keys?new" size="xs">{t('keys.create')}</Anchor>
        </Text>
      </Panel>
    </Stack>
  );
}

function TurnView({ turn }: { turn: Turn }) {
  const { t } = useTranslation();
  const { answer: a, booked } = turn;
  return (
    <Stack gap={6}>
      <Box className="play-prompt">{turn.prompt}</Box>
      {a?.thought ? (
        <details className="play-thought">
          <summary>{t('play.thought')}</summary>
          {a.thought}
        </details>
      ) : null}
      {a ? <Box className="play-answer">{a.text}</Box> : turn.error === '' ? <Waiting /> : null}
      {turn.error ? (
        <Alert color="red" variant="light" p="xs" role="alert">
          {turn.error}
        </Alert>
      ) : null}
      {a?.totalMs != null ? (
        <Text size="xs" c="dimmed" component="div" data-testid="facts">
          {a.firstMs === null ? null : <>{t('play.first', { time: duration(Math.round(a.firstMs)) })} · </>}
          {duration(Math.round(a.totalMs))}
          {booked ? (
            <>
              {' · '}
              {t('play.tokens', { input: count(booked.input_tokens), output: count(booked.output_tokens) })} · <Money value={booked.charge} /> ·{' '}
              <Anchor component={Link} to={`/console/logs?request_id=${booked.request_id}`} size="xs">
                {t('nav.logs')}
              </Anchor>
            </>
          ) : null}
        </Text>
      ) : null}
    </Stack>
  );
}
