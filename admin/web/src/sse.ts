// Server-sent events as they come from a stream of bytes, cut anywhere.

export interface Event {
  event: string;
  data: string;
}

/** events gives each event of a body; it ends with the body. */
export async function* events(body: ReadableStream<Uint8Array>): AsyncGenerator<Event> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  try {
    for (;;) {
      const { done, value } = await reader.read();
      rest += done ? decoder.decode() : decoder.decode(value, { stream: true });
      // A line may end with CR, LF or both; a CR at the end of a piece may be half of both.
      let text = rest;
      if (!done && text.endsWith('\r')) text = text.slice(0, -1);
      const blocks = text.replace(/\r\n?/g, '\n').split('\n\n');
      const last = blocks.pop() ?? '';
      rest = last + (text.length < rest.length ? '\r' : '');
      for (const block of done && last !== '' ? [...blocks, last] : blocks) {
        const e = parse(block);
        if (e !== null) yield e;
      }
      if (done) return;
    }
  } finally {
    reader.releaseLock();
  }
}

function parse(block: string): Event | null {
  let event = 'message';
  const data: string[] = [];
  for (const line of block.split('\n')) {
    const colon = line.indexOf(':');
    if (colon === 0) continue; // a comment: the relay's heartbeat
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (name === 'data') data.push(value);
    if (name === 'event') event = value;
  }
  return data.length === 0 ? null : { event, data: data.join('\n') };
}
