import { existsSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineConfig } from '@playwright/test';

// Ports below those that the system gives to clients, so that none is taken by chance.
// The whole product, as `make run` starts it, on ports and in a folder of its own. Workers
// read this file too and must come to the same answers.
const port = Number((process.env.RELAY_TEST_PORT ??= String(10_000 + Math.floor(Math.random() * 4_000) * 5)));
const data = (process.env.RELAY_TEST_DATA ??= mkdtempSync(join(tmpdir(), 'relay-console-')));

const browser = process.env.CHROMIUM ?? ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
if (browser === undefined) throw new Error('no Chromium: install one, or name it in CHROMIUM');

export default defineConfig({
  testDir: 'e2e',
  outputDir: 'test-results',
  timeout: 60_000,
  expect: { timeout: 15_000 },
  // Two at a time: they wait for the relay and for the browser as often as they work.
  workers: 2,
  forbidOnly: true,
  retries: 0,
  reporter: 'list',
  use: {
    baseURL: `http://127.0.0.1:${port}`,
    launchOptions: { executablePath: browser, args: ['--no-sandbox'] },
    viewport: { width: 1280, height: 900 },
    locale: 'en-US',
    screenshot: 'only-on-failure',
  },
  webServer: [
    { command: `exec node e2e/sink.mjs ${port + 4} ${data}/mails`, port: port + 4 },
    {
      command: 'exec bin/relay-run',
      cwd: '../..',
      url: `http://127.0.0.1:${port}/console`,
      timeout: 180_000,
      gracefulShutdown: { signal: 'SIGTERM', timeout: 30_000 },
      env: {
        RELAY_DATA_DIR: data,
        RELAY_LISTEN: `127.0.0.1:${port}`,
        RELAY_ADMIN_LISTEN: `127.0.0.1:${port + 1}`,
        RELAY_INTERNAL_LISTEN: `127.0.0.1:${port + 2}`,
        RELAY_ADMIN_INTERNAL_LISTEN: `127.0.0.1:${port + 3}`,
        RELAY_IP_RPM: '0',
        RELAY_SMTP_URL: `smtp://127.0.0.1:${port + 4}`,
      },
    },
  ],
});
