// A mail server of the tests: it keeps what it gets as files, for e2e/kit.ts to read.
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';

const [port, folder] = [Number(process.argv[2]), process.argv[3]];
mkdirSync(folder, { recursive: true });
let n = 0;

createServer((socket) => {
  let [rest, inside, to, text] = ['', false, '', ''];
  const say = (line) => socket.write(`${line}\r\n`);
  socket.on('error', () => undefined);
  say('220 sink');
  socket.setEncoding('utf8').on('data', (chunk) => {
    rest += chunk;
    for (let end; (end = rest.indexOf('\r\n')) >= 0; ) {
      const line = rest.slice(0, end);
      rest = rest.slice(end + 2);
      if (inside) {
        if (line !== '.') {
          text += `${line.replace(/^\.\./, '.')}\n`;
          continue;
        }
        const file = join(folder, `${String(n++).padStart(4, '0')}-${to}.eml`);
        writeFileSync(`${file}.part`, text);
        renameSync(`${file}.part`, file); // whole at once for who reads meanwhile
        [inside, text] = [false, ''];
        say('250 kept');
      } else if (/^data/i.test(line)) {
        inside = true;
        say('354 go on');
      } else if (/^quit/i.test(line)) {
        say('221 bye');
        socket.end();
      } else {
        const rcpt = /^rcpt to:<([^>]*)>/i.exec(line);
        if (rcpt) to = rcpt[1].replace(/[^\w.@-]/g, '_');
        say(/^ehlo/i.test(line) ? '250 sink' : '250 ok');
      }
    }
  });
}).listen(port, '127.0.0.1');
