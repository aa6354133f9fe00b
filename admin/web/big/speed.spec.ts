import { execFileSync } from 'node:child_process';
import { expect, kept, shown, test, visit } from '../e2e/kit';
import { firstPaint, presses } from '../e2e/speed';

const rows = Number(process.env.ROWS ?? 200_000);
// With ROWS it is a measurement, on a machine that does nothing else; else others work beside it.
const limit = process.env.ROWS === undefined ? 200 : 100;

// The customer of the account that is signed in has a third of the calls.
test.beforeAll(() => {
  test.setTimeout(3_600_000);
  const models = ['gpt-5-mini', 'gpt-5', 'claude-sonnet-4-5', 'claude-haiku-4-5', 'gemini-2.5-pro', 'gemini-2.5-flash'];
  const told = execFileSync('go', ['run', './scripts/manyrows', '-rows', String(rows), '-models', models.join(',')], { cwd: '../..', env: { ...process.env, RELAY_DATABASE_URL: kept().RELAY_DATABASE_URL } });
  console.log(told.toString());
});

/** Pages that show what the calls add up to, or the calls. */
const pages = ['/console', '/console/usage', '/console/logs', '/console/billing', '/console/billing?tab=ledger', '/console/api-keys', '/console/operator', '/console/operator/clients', '/console/operator/clients/client_1', '/console/operator/providers', '/console/operator/traffic', '/status'];

// D13: over many calls a page is painted within a second, and a press is answered within
// 100 ms. Both are the best of a few: the machine has other work.
test(`pages over ${rows} calls are painted within a second and have what they show`, async ({ page }) => {
  test.setTimeout(600_000);
  const figures: Record<string, { paint: number; shown: number }> = {};
  for (const path of pages) {
    const paints: number[] = [];
    const all: number[] = [];
    for (let i = 0; i < 4; i++) {
      await page.goto(path);
      await shown(page, path);
      all.push(await page.evaluate(() => Math.round(performance.now())));
      paints.push(Math.round(await firstPaint(page)));
    }
    figures[path] = { paint: Math.min(...paints), shown: Math.min(...all) };
  }
  console.log(JSON.stringify(figures, null, 1));
  for (const [path, f] of Object.entries(figures)) expect.soft(f.paint, `${path}: ${JSON.stringify(f)}`).toBeLessThan(1000);
  await visit(page, '/console');
  await expect(page.getByRole('main')).toContainText('gpt-5-mini'); // the rows are what is shown
});

test(`a press is answered at once over ${rows} calls`, async ({ page }) => {
  test.setTimeout(600_000);
  const measure = await presses(page);
  const figures: Record<string, number> = {};
  for (const path of ['/console/models', '/console/operator/models', '/console/operator/prices']) {
    await visit(page, path);
    await shown(page, path);
    const search = page.getByRole('textbox', { name: 'Search' });
    await search.focus();
    figures[`a letter in the search of ${path}`] = await measure(() => page.keyboard.press('g'), () => page.keyboard.press('Backspace'));
  }
  await visit(page, '/console/api-keys');
  await shown(page, '/console/api-keys');
  const create = page.getByRole('button', { name: 'Create API key' }).first();
  await create.focus();
  figures['the form of a key'] = await measure(() => page.keyboard.press('Enter'), async () => {
    await expect(page.getByRole('dialog')).toBeVisible();
    await page.keyboard.press('Escape');
    await expect(page.getByRole('dialog')).toHaveCount(0);
    await create.focus();
  });
  await page.getByRole('navigation').getByRole('link', { name: 'Usage' }).focus();
  figures['from page to page'] = await measure(() => page.keyboard.press('Enter'), async () => {
    await visit(page, '/console/settings');
    await page.getByRole('navigation').getByRole('link', { name: 'Usage' }).focus();
  });
  for (const path of ['/console/logs', '/console/billing', '/console/operator', '/console/operator/clients', '/console/operator/traffic']) {
    const link = page.getByRole('navigation').locator(`a[href="${path}"]`);
    const back = async () => {
      await visit(page, '/console/settings');
      await shown(page, '/console/settings');
      await link.focus();
    };
    await back();
    figures[`to ${path}`] = await measure(
      () => page.keyboard.press('Enter'),
      async () => {
        await shown(page, path);
        await back();
      },
    );
  }
  console.log(JSON.stringify(figures, null, 1));
  // Long lists follow the letter, in work that the next press interrupts.
  for (const [what, ms] of Object.entries(figures)) expect.soft(ms, `${what}: ${JSON.stringify(figures)}`).toBeLessThan(what.startsWith('a letter') ? 1.5 * limit : limit);
});
