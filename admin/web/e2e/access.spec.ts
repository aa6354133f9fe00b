import AxeBuilder from '@axe-core/playwright';
import type { Page } from '@playwright/test';
import { expect, test } from './kit';
import { pages } from './pages';

async function check(page: Page, where: string): Promise<void> {
  // Only what can be serious or critical by its rules: half the work.
  const { violations } = await new AxeBuilder({ page }).withTags(['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']).analyze();
  const grave = violations.filter((v) => v.impact === 'serious' || v.impact === 'critical').map((v) => `${where}: ${v.id}: ${v.nodes.map((n) => n.target.join(' ')).join(', ')}`);
  expect.soft(grave, where).toEqual([]);
}

// The browser tells of a paint some frames after it; what is visible is not yet told of.
function firstPaint(page: Page): Promise<number> {
  return page.evaluate(
    () =>
      new Promise<number>((told) => {
        new PerformanceObserver((list) => {
          for (const entry of list.getEntriesByName('first-contentful-paint')) told(entry.startTime);
        }).observe({ type: 'paint', buffered: true });
      }),
  );
}

for (const scheme of ['light', 'dark'] as const) {
  test(`no page has a serious fault for those who cannot see it, ${scheme}`, async ({ page }) => {
    test.setTimeout(400_000);
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
    for (const path of pages) {
      await page.goto(path);
      await expect(page.locator('h1, h3').first(), path).toBeVisible();
      await expect(page.getByRole('status'), path).toHaveCount(0);
      await check(page, path);
    }
    await page.goto('/console/api-keys?new');
    await page.getByRole('dialog').getByRole('button', { name: 'More options' }).click();
    await expect(page.getByLabel('Tokens per minute')).toBeVisible();
    await check(page, 'the form of a key');
  });
}

test.describe('for everybody', () => {
  test.use({ storageState: { cookies: [], origins: [] } });
  test('sign-in has none either, and the first page is painted within a second', async ({ page }) => {
    await page.goto('/console/sign-in');
    await expect(page.getByRole('heading', { level: 1 })).toBeVisible();
    await check(page, 'sign-in');
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
