import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Page } from '@playwright/test';
import UPNG from 'upng-js';
import { chat, expect, settled, test } from '../e2e/kit';

const out = join('..', '..', 'docs', 'images');
mkdirSync(out, { recursive: true });

/** shoot keeps a page as a picture of 256 colors at most: a quarter of the bytes. */
async function shoot(page: Page, file: string): Promise<void> {
  const raw = await page.screenshot({ animations: 'disabled' });
  const image = UPNG.decode(raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.byteLength) as ArrayBuffer);
  writeFileSync(file, Buffer.from(UPNG.encode(UPNG.toRGBA8(image), image.width, image.height, 256)));
}

const pages: [string, string][] = [
  ['dashboard', '/console'],
  ['api-keys', '/console/api-keys'],
  ['usage', '/console/usage'],
  ['logs', '/console/logs'],
  ['billing', '/console/billing'],
  ['models', '/console/models'],
  ['conversations', '/console/conversations'],
  ['policies', '/console/policies'],
  ['settings', '/console/settings'],
  ['operator', '/console/operator'],
  ['operator-clients', '/console/operator/clients'],
  ['operator-client', '/console/operator/clients/client_1'],
  ['operator-users', '/console/operator/users'],
  ['operator-models', '/console/operator/models'],
  ['operator-prices', '/console/operator/prices'],
  ['operator-providers', '/console/operator/providers'],
  ['operator-traffic', '/console/operator/traffic'],
  ['operator-groups', '/console/operator/groups'],
  ['operator-vouchers', '/console/operator/vouchers'],
  ['operator-audit', '/console/operator/audit'],
  ['docs', '/docs'],
  ['docs-errors', '/docs/errors'],
  ['docs-reference', '/docs/api-reference'],
  ['pricing', '/docs/pricing'],
  ['status', '/status'],
];

test.use({ viewport: { width: 1200, height: 760 } });

test('pictures of every page in both schemes', async ({ page, request, who }) => {
  const models = ['gpt-5-mini', 'claude-sonnet-4.5', 'gpt-5.2', 'gpt-5-mini', 'gemini-2.5-flash', 'no-such-model'];
  let id = '';
  for (const model of [...models, ...models]) id = (await chat(request, who.key, model)).id || id;
  await chat(request, who.key).then((r) => settled(request, who.key, r.id));
  const guard = ((await (await page.request.get('/console/api/session')).json()) as { data: { guard: string } }).data.guard;
  for (const name of ['laptop', 'production', 'nightly job']) {
    await page.request.post('/openapi/v1/api-keys', { headers: { 'x-relay-guard': guard }, data: { name, monthly_cap: name === 'laptop' ? '5' : '50' } });
  }
  await page.request.post('/openapi/v1/conversations', { headers: { 'x-relay-guard': guard }, data: { title: 'Trip to Lisbon', model: 'gpt-5-mini', metadata: { ticket: '4711' } } });
  for (const scheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
    for (const [name, path] of pages) {
      await page.goto(path);
      await expect(page.locator('h1').first(), path).toBeVisible();
      await expect(page.getByRole('status'), path).toHaveCount(0);
      await page.waitForTimeout(500); // charts draw themselves
      await shoot(page, join(out, `${name}-${scheme}.png`));
    }
    await page.goto('/console/playground');
    await page.getByRole('button', { name: 'Make a key and start' }).click();
    await page.getByRole('button', { name: 'Compare a model' }).click();
    await page.getByRole('textbox', { name: /Your message/ }).fill('What is a relay, in one sentence?');
    await page.getByRole('button', { name: 'Send' }).click();
    await expect(page.getByTestId('facts').getByText('$')).toHaveCount(2);
    await shoot(page, join(out, `playground-${scheme}.png`));
    await page.getByRole('button', { name: 'End and revoke the key' }).click();
  }
  // S4-9: the picture in the documentation itself.
  await page.emulateMedia({ colorScheme: 'light' });
  await page.goto('/console/api-keys?new');
  await page.getByRole('dialog').getByLabel('Name').fill('my first key');
  await page.getByRole('dialog').getByRole('button', { name: 'Create API key' }).click();
  // A picture of a token is a token: this one is covered.
  await page.getByTestId('token').evaluate((e) => (e.textContent = `${(e.textContent ?? '').slice(0, 8)}${'•'.repeat(40)}`));
  mkdirSync(join('public', 'images'), { recursive: true });
  await shoot(page, join('public', 'images', 'api-key.png'));
});
