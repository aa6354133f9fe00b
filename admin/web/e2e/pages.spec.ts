import { expect, shown, test, visit } from './kit';
import { pages } from './pages';

// Its tests are long and share nothing.
test.describe.configure({ mode: 'parallel' });

for (const [language, looks] of [['en', [['light', 360], ['dark', 768]]], ['zh', [['dark', 360], ['light', 1280]]]] as const) {
  test(`every page fits ${looks.map(([scheme, width]) => `${width} px ${scheme}`).join(' and ')}, ${language}`, async ({ page }) => {
    test.setTimeout(300_000);
    await page.addInitScript((l) => localStorage.setItem('relay.language', l), language);
    for (const path of pages) {
      await visit(page, path);
      for (const [scheme, width] of looks) {
        await page.setViewportSize({ width, height: 780 });
        await page.emulateMedia({ colorScheme: scheme });
        await shown(page, path);
        await expect.poll(() => page.evaluate(() => document.documentElement.scrollWidth), { message: `${path}, ${width}` }).toBeLessThanOrEqual(width);
        await expect(page.locator('html')).toHaveAttribute('data-mantine-color-scheme', scheme);
      }
      // A key without a text would be shown as it is.
      expect(await page.locator('body').innerText(), path).not.toMatch(/(?<![\w./])(nav|common|dash|keys|usage|logs|bill|models|settings|op|class|play|conv|policy|docs|public|prov|live|group|vouch|audit|price|members|entrance|status|sessions|again|users|cat)\.[a-z]+[A-Za-z.]*\b(?!@)/);
    }
    await expect(page.locator('html')).toHaveAttribute('lang', language === 'zh' ? 'zh-CN' : 'en');
  });
}

test('language and scheme are chosen and kept', async ({ page }) => {
  await page.goto('/console/settings');
  await page.getByText('中文', { exact: true }).click();
  await expect(page.getByRole('heading', { name: '设置', level: 1 })).toBeVisible();
  await page.getByText('深色', { exact: true }).click();
  await page.reload();
  await expect(page.getByRole('heading', { name: '设置', level: 1 })).toBeVisible();
  await expect(page.locator('html')).toHaveAttribute('data-mantine-color-scheme', 'dark');
});

test('an inline script is refused by the page itself', async ({ page, noise }) => {
  await page.goto('/console');
  await page.evaluate(() => {
    const s = document.createElement('script');
    s.textContent = 'window.fired = 1';
    document.body.append(s);
  });
  expect(await page.evaluate(() => (window as unknown as { fired?: number }).fired)).toBeUndefined();
  expect(noise.some((line) => line.includes('Content Security Policy'))).toBe(true);
  noise.length = 0; // it was wanted
});
