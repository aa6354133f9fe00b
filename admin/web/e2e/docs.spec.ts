import { chat, expect, settled, test, visit } from './kit';

const slugs = [
  'getting-started', 'authentication', 'endpoints', 'models', 'streaming', 'errors', 'rate-limits', 'policies', 'billing', 'sdk-openai-python', 'sdk-openai-node', 'sdk-openai-go', 'sdk-anthropic', 'sdk-gemini', 'sdk-dashscope',
  'sdk-langchain', 'migrate', 'api-reference', 'translation', 'help', 'operate', 'operate-settings', 'operate-commands', 'operate-money',
];

test.describe('for everybody', () => {
  test.use({ storageState: { cookies: [], origins: [] } });

  test('S0-20, S2-17, S3-19: the documentation, by its navigation', async ({ page, baseURL }) => {
    await page.goto('/docs');
    await expect(page.getByRole('heading', { name: 'Getting started', level: 1 })).toBeVisible();
    const nav = page.getByRole('navigation');
    for (const section of ['User guide', 'API reference', 'Help & support', 'For operators']) await expect(nav.getByText(section, { exact: true })).toBeVisible();
    for (const heading of ['Get a key', 'Endpoints', 'Pick a model', 'Common errors', 'Tips']) await expect(page.getByRole('heading', { name: heading, level: 2 })).toBeVisible();
    await expect(page.getByText(/Last updated on \w+ \d+, 20\d\d/)).toBeVisible();
    await page.getByRole('navigation', { name: 'On this page' }).getByText('Pick a model').click();
    await expect(page).toHaveURL(/#pick-a-model$/);

    // The snippets have this relay's own address, and are copied as they are shown.
    const snippet = page.locator('.snippet').filter({ hasText: 'curl' }).first();
    await expect(snippet).toContainText(`${baseURL}/v1/chat/completions`);
    await snippet.getByRole('button', { name: 'Python' }).click();
    await expect(snippet.locator('pre:visible')).toContainText('from openai import OpenAI');
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
    await snippet.getByRole('button', { name: 'Copy' }).click();
    expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(await snippet.locator('pre:visible').innerText());

    for (const slug of slugs) {
      await visit(page, `/docs/${slug}`);
      await expect(page.locator('h1'), slug).toBeVisible();
      // No link of a page leads nowhere.
      for (const href of await page.locator('.doc a[href^="/"]').evaluateAll((all) => all.map((a) => a.getAttribute('href') ?? ''))) {
        if (href.startsWith('/docs/')) expect([...slugs, 'pricing'], `${slug} links to ${href}`).toContain(href.slice(6).split('#')[0]);
      }
    }
  });

  test('the documentation is searched', async ({ page }) => {
    await page.goto('/docs');
    await page.getByRole('textbox', { name: 'Search the docs' }).fill('retry-after');
    await page.getByRole('option', { name: /Rate limits/ }).first().click();
    await expect(page).toHaveURL(/\/docs\/rate-limits/);
    await page.getByRole('textbox', { name: 'Search the docs' }).fill('monthly_cap_reached');
    await page.keyboard.press('Enter');
    await expect(page.getByRole('heading', { name: 'Errors', level: 1 })).toBeVisible();
  });

  test('errors are the catalogue, settings the list, the reference what the relay says', async ({ page }) => {
    await page.goto('/docs/errors');
    await expect(page.getByText('insufficient_balance').first()).toBeVisible();
    await page.goto('/docs/operate-settings');
    await expect(page.getByText('RELAY_PUBLIC_URL').first()).toBeVisible();
    await page.goto('/docs/api-reference');
    const op = page.locator('details', { hasText: '/openapi/v1/api-keys/{api_key_id}/rotate' });
    await op.locator('summary').click();
    await expect(op.getByText('curl -X POST')).toBeVisible();
    await expect(op.getByText('invalid_api_key').first()).toBeVisible();
  });

  test('S3-10, S4-8: the pricing page is public and has list prices', async ({ page, request }) => {
    await page.goto('/docs/pricing');
    await expect(page.getByRole('heading', { name: 'Pricing', level: 1 })).toBeVisible();
    const list = ((await (await request.get('/console/api/models')).json()) as { data: { items: { id: string; price: { prices: Record<string, string> } | null }[] } }).data.items;
    const one = list.find((m) => m.id === 'gpt-4o');
    await page.getByLabel('Search').fill('gpt-4o');
    await expect(page.getByRole('row', { name: /^gpt-4o / })).toContainText(`$${one?.price?.prices.input}`);
  });

  test('S0-17: the status page says what /status.json says', async ({ page, request, who }) => {
    await chat(request, who.key).then((r) => settled(request, who.key, r.id));
    const told = (await (await request.get('/status.json')).json()) as { state: string; models: { id: string; state: string }[] };
    await page.goto('/status');
    await expect(page.getByRole('heading', { name: 'Status', level: 1 })).toBeVisible();
    await expect(page.getByText({ operational: 'Operational', degraded: 'Degraded', down: 'Down' }[told.state] ?? '?', { exact: true }).first()).toBeVisible();
    expect(told.models.length).toBeGreaterThan(100);
    await expect(page.getByText('the last 24 hours, of real calls')).toBeVisible();
  });

  test('Chinese: navigation and getting started', async ({ page }) => {
    await page.addInitScript(() => localStorage.setItem('relay.language', 'zh'));
    await page.goto('/docs');
    await expect(page.getByRole('heading', { name: '快速开始', level: 1 })).toBeVisible();
    await page.getByRole('link', { name: '速率限制' }).first().click();
    await expect(page.getByRole('heading', { name: '速率限制', level: 1 })).toBeVisible();
    await expect(page.getByText('本页目前只有英文版')).toBeVisible();
  });
});

test('who is signed in sees which key the snippets mean', async ({ page }) => {
  await page.goto('/docs/authentication');
  await expect(page.getByTestId('own-key')).toContainText('$TOKEN_RELAY_KEY');
});
