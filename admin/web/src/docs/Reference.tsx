import { Badge, Box, Code, Group, Stack, Table, Text, TextInput, Title } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { ApiError } from '../api';
import { Copy } from '../components/bits';
import { Broken, Empty, Waiting } from '../components/states';
import { IconSearch } from '../icons';
import { useVisitor } from '../session';

interface Schema {
  $ref?: string;
  type?: string | string[];
  format?: string;
  description?: string;
  enum?: unknown[];
  const?: unknown;
  anyOf?: Schema[];
  allOf?: Schema[];
  items?: Schema;
  properties?: Record<string, Schema>;
  required?: string[];
  additionalProperties?: Schema | boolean;
  default?: unknown;
}

interface Operation {
  operationId: string;
  summary: string;
  tags: string[];
  parameters?: { name: string; in: string; required: boolean; description?: string; schema: Schema }[];
  requestBody?: { content: Record<string, { schema: Schema; example?: unknown }> };
  responses: Record<string, { $ref?: string; description?: string; content?: Record<string, { schema: Schema; example?: unknown }> }>;
}

interface Document {
  info: { description: string };
  tags: { name: string }[];
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, Schema>; responses: Record<string, { description: string }> };
}

const colors: Record<string, string> = { get: 'teal', post: 'blue', patch: 'orange', put: 'orange', delete: 'red' };

/** kind is the type of a value in a few words. */
function kind(s: Schema | undefined): string {
  if (s === undefined) return '';
  if (s.$ref) return s.$ref.slice(s.$ref.lastIndexOf('/') + 1);
  if (s.enum) return s.enum.map((v) => JSON.stringify(v)).join(' | ');
  if (s.const !== undefined) return JSON.stringify(s.const);
  const parts = s.anyOf ?? s.allOf;
  if (parts) return [...new Set(parts.map(kind))].join(' | ');
  if (s.items) return `${kind(s.items)}[]`;
  const type = Array.isArray(s.type) ? s.type.join(' | ') : (s.type ?? 'any');
  return s.format ? `${type} (${s.format})` : type;
}

function members(doc: Document, s: Schema | undefined): [string, Schema, boolean][] {
  const schema = s?.$ref ? doc.components.schemas[s.$ref.slice(s.$ref.lastIndexOf('/') + 1)] : s;
  return Object.entries(schema?.properties ?? {}).map(([name, p]) => [name, p, schema?.required?.includes(name) ?? false]);
}

function Fields({ rows, label }: { rows: { name: string; type: string; required: boolean; text: string }[]; label: string }) {
  const { t } = useTranslation();
  if (rows.length === 0) return null;
  return (
    <Box>
      <Text size="sm" fw={550} mb={4}>
        {label}
      </Text>
      <div className="doc-table" tabIndex={0}>
        <Table verticalSpacing={6} aria-label={label}>
          <Table.Tbody>
            {rows.map((r) => (
              <Table.Tr key={r.name}>
                <Table.Td>
                  <code>{r.name}</code>
                  {r.required ? (
                    <Text span size="xs" c="dimmed">
                      {' '}
                      {t('docs.required')}
                    </Text>
                  ) : null}
                </Table.Td>
                <Table.Td>
                  <Text size="xs" c="dimmed" ff="monospace">
                    {r.type}
                  </Text>
                </Table.Td>
                <Table.Td>
                  <Text size="sm">{r.text}</Text>
                </Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </div>
    </Box>
  );
}

function Detail({ doc, method, path, op }: { doc: Document; method: string; path: string; op: Operation }) {
  const { t } = useTranslation();
  const { site } = useVisitor();
  const body = op.requestBody?.content['application/json'];
  const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => String((op.parameters?.find((p) => p.name === name) as { example?: string } | undefined)?.example ?? `{${name}}`));
  const example = body?.example === undefined ? '' : JSON.stringify(body.example);
  const curl = `curl ${method === 'get' ? '' : `-X ${method.toUpperCase()} `}"${site.public_url}${filled}" \\\n  -H "Authorization: Bearer $TOKEN_RELAY_KEY"${example ? ` \\\n  -H "Content-Type: application/json" \\\n  -d '${example.replaceAll("'", "'\\''")}'` : ''}`;
  const success = Object.entries(op.responses).find(([status]) => status.startsWith('2'));
  const answer = success?.[1].content?.['application/json']?.example;
  const refusals = Object.entries(op.responses).filter(([status]) => !status.startsWith('2'));
  return (
    <Stack gap="md" p="md" pt="xs">
      <Fields label={t('docs.parameters')} rows={(op.parameters ?? []).map((p) => ({ name: p.name, type: kind(p.schema), required: p.required, text: p.description ?? p.schema.description ?? '' }))} />
      <Fields label={t('docs.body')} rows={members(doc, body?.schema).map(([name, s, required]) => ({ name, type: kind(s), required, text: s.description ?? '' }))} />
      <Box>
        <Group justify="space-between">
          <Text size="sm" fw={550}>
            curl
          </Text>
          <Copy value={curl} />
        </Group>
        <pre className="code-block" tabIndex={0}>{curl}</pre>
      </Box>
      {answer === undefined ? null : (
        <Box>
          <Text size="sm" fw={550} mb={4}>
            {t('docs.answer')} {success?.[0]}
          </Text>
          <pre className="code-block doc-answer" tabIndex={0}>{JSON.stringify(answer, null, 2)}</pre>
        </Box>
      )}
      <Fields
        label={t('docs.refusals')}
        rows={refusals.map(([status, r]) => ({ name: status, type: '', required: false, text: (r.$ref ? (doc.components.responses[r.$ref.slice(r.$ref.lastIndexOf('/') + 1)]?.description ?? '') : (r.description ?? '')).replaceAll('`', '') }))}
      />
    </Stack>
  );
}

/** Reference is the customer API, as the relay itself describes it. */
export default function Reference({ title, summary }: { title: string; summary: string }) {
  const { t } = useTranslation();
  const [text, setText] = useState('');
  const document = useQuery({
    queryKey: ['openapi.json'],
    staleTime: 300_000,
    queryFn: async ({ signal }) => {
      const r = await fetch('/openapi.json', { signal });
      if (!r.ok) throw new ApiError(r.status, 'openapi', r.statusText, r.headers.get('x-request-id') ?? '');
      return (await r.json()) as Document;
    },
  });
  const doc = document.data;
  const needle = text.trim().toLowerCase();
  const operations = Object.entries(doc?.paths ?? {}).flatMap(([path, item]) => Object.entries(item).map(([method, op]) => ({ path, method, op })));
  const shown = operations.filter((o) => needle === '' || `${o.method} ${o.path} ${o.op.summary}`.toLowerCase().includes(needle));
  const tags = [...new Set(shown.map((o) => o.op.tags[0] ?? ''))].sort();
  return (
    <div className="doc-main">
      <Title order={1}>{title}</Title>
      <Text c="dimmed" mb="md">
        {summary}
      </Text>
      {document.error ? (
        <Broken error={document.error} retry={() => void document.refetch()} />
      ) : doc === undefined ? (
        <Waiting />
      ) : (
        <>
          <Text size="sm" mb="md">
            {doc.info.description} <Code>GET /openapi.json</Code>
          </Text>
          <TextInput aria-label={t('common.search')} placeholder={t('common.search')} leftSection={<IconSearch size={16} />} value={text} onChange={(e) => setText(e.currentTarget.value)} maw={360} mb="lg" />
          {shown.length === 0 ? <Empty title={t('docs.nothing')} /> : null}
          <Stack gap="xl">
            {tags.map((tag) => (
              <Box key={tag}>
                <Title order={2} mb="xs" id={tag}>
                  {tag}
                </Title>
                {shown
                  .filter((o) => o.op.tags[0] === tag)
                  .map((o) => (
                    <details key={o.op.operationId} className="operation" id={o.op.operationId}>
                      <summary>
                        <Badge color={colors[o.method] ?? 'gray'} w={72} tt="uppercase">
                          {o.method}
                        </Badge>
                        <code>{o.path}</code>
                        <Text size="sm" c="dimmed" component="span">
                          {o.op.summary}
                        </Text>
                      </summary>
                      <Detail doc={doc} method={o.method} path={o.path} op={o.op} />
                    </details>
                  ))}
              </Box>
            ))}
          </Stack>
        </>
      )}
    </div>
  );
}
