import AxeBuilder from '@axe-core/playwright';
import type { Page } from '@playwright/test';
import { expect, shown, test, visit } from './kit';
import { doors, pages } from './pages';
import { firstPaint } from './speed';

// Its tests are long and share nothing.
test.describe.configure({ mode: 'parallel' });

/** Rows of long lists are alike: those below the first ones say nothing more. */
const more = ['tbody tr:nth-child(n+13)', '[role=list] > :nth-child(n+13)', '.doc details:nth-of-type(n+9)'];

// Only what can be serious or critical by its rules. Colors are all that a scheme changes.
async function check(page: Page, where: string, only: 'all' | 'colors' = 'all'): Promise<void> {
  // Half faded in, a text has not its contrast yet.
  await expect.poll(() => page.evaluate(() => document.getAnimations().filter((a) => a.effect?.getComputedTiming().endTime !== Infinity).length), { message: where }).toBe(0);
  // No frames of other origins are here: the whole run is one, in the page itself.
  const axe = new AxeBuilder({ page }).setLegacyMode(true);
  for (const rows of more) axe.exclude(rows);
  if (only === 'all') axe.withTags(['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']);
  else axe.withRules(['color-contrast', 'link-in-text-block']);
  const { violations } = await axe.analyze();
  const grave = violations.filter((v) => v.impact === 'serious' || v.impact === 'critical').map((v) => `${where}: ${v.id}: ${v.nodes.map((n) => n.target.join(' ')).join(', ')}`);
  expect.soft(grave, where).toEqual([]);
}

for (const scheme of ['light', 'dark'] as const) {
  const only = scheme === 'light' ? 'all' : 'colors';
  test(`no page has a serious fault for those who cannot see it, ${scheme}`, async ({ page }) => {
    test.setTimeout(400_000);
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
    for (const path of pages) {
      await visit(page, path);
      await shown(page, path);
      await check(page, path, only);
    }
    await visit(page, '/console/api-keys?new');
    await page.getByRole('dialog').getByRole('button', { name: 'More options' }).click();
    await expect(page.getByLabel('Tokens per minute')).toBeVisible();
    await check(page, 'the form of a key', only);
    await visit(page, '/console/operator/models');
    await page.getByRole('row', { name: /^gpt-5-mini / }).click();
    await expect(page.getByRole('dialog').getByRole('heading', { name: 'Routes', exact: true })).toBeVisible();
    await check(page, 'a model and its routes', only);
  });
}

test.describe('for everybody', () => {
  test.use({ storageState: { cookies: [], origins: [] } });
  test('the doors have none either, and the first page is painted within a second', async ({ page, noise }) => {
    test.setTimeout(120_000);
    for (const scheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
      for (const path of doors) {
        await visit(page, path);
        await shown(page, path);
        await check(page, `${path}, ${scheme}`, scheme === 'light' ? 'all' : 'colors');
      }
    }
    noise.length = 0; // an invitation that is none was wanted
    // The best of a few: the machine has other work.
    const paints: number[] = [];
    for (let i = 0; i < 5; i++) {
      await page.goto('/console/sign-in');
      await expect(page.getByRole('heading', { level: 1 })).toBeVisible();
      paints.push(await firstPaint(page));
    }
    expect(Math.min(...paints)).toBeLessThan(1000);
  });
});
