import { expect, test } from 'vitest';
import { events, type Event } from '../src/sse';

async function read(pieces: Uint8Array[]): Promise<Event[]> {
  const body = new ReadableStream<Uint8Array>({
    start(c) {
      for (const p of pieces) c.enqueue(p);
      c.close();
    },
  });
  const out: Event[] = [];
  for await (const e of events(body)) out.push(e);
  return out;
}

const text = ': heartbeat\n\nevent: delta\ndata: {"a":"é😀"}\n\ndata: one\ndata: two\r\n\r\nid: 7\n\ndata\n\rdata: [DONE]\r\rdata: last';
const want = [
  { event: 'delta', data: '{"a":"é😀"}' },
  { event: 'message', data: 'one\ntwo' },
  { event: 'message', data: '' },
  { event: 'message', data: '[DONE]' },
  { event: 'message', data: 'last' },
];

test('events come out the same wherever the bytes are cut', async () => {
  const bytes = new TextEncoder().encode(text);
  expect(await read([bytes])).toEqual(want);
  for (let cut = 1; cut < bytes.length; cut++) expect(await read([bytes.slice(0, cut), bytes.slice(cut)]), `cut at ${cut}`).toEqual(want);
  expect(await read([...bytes].map((b) => Uint8Array.of(b)))).toEqual(want);
});
