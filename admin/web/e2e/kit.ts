import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test as base, expect, type APIRequestContext, type BrowserContext, type Page } from '@playwright/test';

/** kept is what the launcher keeps of a run. */
export function kept(): Record<string, string> {
  const text = readFileSync(join(process.env.RELAY_TEST_DATA ?? '', 'run.env'), 'utf8');
  return Object.fromEntries([...text.matchAll(/^([A-Z_]+)=(.*)$/gm)].map((m) => [m[1], (m[2] ?? '').replace(/^(['"])(.*)\1$/, '$2')]));
}

export interface Account {
  email: string;
  password: string;
  key: string;
}

/** account waits until the launcher has made the operator's account and the demo key. */
export async function account(): Promise<Account> {
  for (let i = 0; i < 240; i++) {
    const env = kept();
    const [email, password, key] = [env.RELAY_OPERATOR_EMAIL, env.RELAY_OPERATOR_PASSWORD, env.RELAY_DEMO_KEY];
    if (email && password && key) return { email, password, key };
    await new Promise((done) => setTimeout(done, 250));
  }
  throw new Error('the launcher has made no account');
}

export async function signIn(page: Page, who: { email: string; password: string }): Promise<void> {
  await page.goto('/console/sign-in');
  await page.getByLabel('E-mail address').fill(who.email);
  await page.getByRole('textbox', { name: 'Password' }).fill(who.password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await expect(page.getByRole('heading', { name: 'Dashboard', level: 1 })).toBeVisible();
}

/** visit goes to a page as its links do, without loading the application again. */
export async function visit(page: Page, path: string): Promise<void> {
  if (!(await page.evaluate(() => document.documentElement.dataset.at !== undefined))) {
    await page.goto(path);
    return;
  }
  await page.evaluate((to) => {
    history.pushState(null, '', to);
    dispatchEvent(new PopStateEvent('popstate', { state: null }));
  }, path);
  // Not while the next page is still being fetched: what is seen meanwhile is the one before.
  await expect(page.locator('html')).toHaveAttribute('data-at', path);
}

/** shown waits until a page has all that it shows. */
export async function shown(page: Page, path: string): Promise<void> {
  await expect(page.locator('h1, h3').first(), path).toBeVisible();
  await expect(page.getByRole('status'), path).toHaveCount(0);
}

/** mailed waits for a mail to an address and returns the link in it. */
export async function mailed(to: string, page: string): Promise<string> {
  const folder = join(process.env.RELAY_TEST_DATA ?? '', 'mails');
  let link = '';
  await expect
    .poll(
      () => {
        const files = existsSync(folder) ? readdirSync(folder).filter((f) => f.endsWith(`-${to}.eml`)) : [];
        const text = files.map((f) => readFileSync(join(folder, f), 'utf8').replace(/=\n/g, '').replace(/=3D/g, '=')).join('\n');
        link = new RegExp(`http[^\\s"<>]*${page}\\?token=[\\w-]+`).exec(text)?.[0] ?? '';
        return link;
      },
      { timeout: 40_000 },
    )
    .not.toBe('');
  return link;
}

/** change sends a change as the console's pages do. */
export async function change(page: Page): Promise<(method: string, path: string, body?: unknown) => Promise<{ status: number; data: Record<string, unknown>; text: string }>> {
  const guard = ((await (await page.request.get('/console/api/session')).json()) as { data: { guard: string } }).data.guard;
  return async (method, path, body) => {
    const r = await page.request.fetch(path, { method, headers: { 'x-relay-guard': guard }, ...(body === undefined ? {} : { data: body }) });
    const text = await r.text();
    return { status: r.status(), data: ((JSON.parse(text) as { data: Record<string, unknown> | null }).data ?? {}), text };
  };
}

type StorageState = Awaited<ReturnType<BrowserContext['storageState']>>;

/** test opens pages that are signed in, and fails when one of them does what none may. */
export const test = base.extend<{ noise: string[] }, { who: Account; state: StorageState }>({
  who: [async ({}, use) => use(await account()), { scope: 'worker' }],
  state: [
    async ({ browser, who }, use) => {
      const context = await browser.newContext({ baseURL: `http://127.0.0.1:${process.env.RELAY_TEST_PORT}` });
      const page = await context.newPage();
      await signIn(page, who);
      const state = await context.storageState();
      await context.close();
      await use(state);
    },
    { scope: 'worker' },
  ],
  storageState: ({ state }, use) => use(state),
  // Nothing is asked of another host, no script fails, nothing breaks the content policy.
  noise: [
    async ({ page, baseURL }, use) => {
      const noise: string[] = [];
      page.on('request', (r) => {
        if (!r.url().startsWith(`${baseURL}/`) && !r.url().startsWith('data:')) noise.push(`asks ${r.url()}`);
      });
      page.on('pageerror', (e) => noise.push(`throws ${e.message}`));
      page.on('console', (m) => {
        if (m.type() === 'error' && !/Failed to load resource.*40[0139]/.test(m.text())) noise.push(`says ${m.text()}`);
      });
      await use(noise);
      expect(noise).toEqual([]);
    },
    { auto: true },
  ],
});

export { expect };

/** chat sends one request as a customer's program would. */
export async function chat(request: APIRequestContext, key: string, model = 'gpt-5-mini'): Promise<{ status: number; id: string }> {
  const response = await request.post('/v1/chat/completions', {
    headers: { authorization: `Bearer ${key}` },
    data: { model, max_tokens: 60, messages: [{ role: 'user', content: 'Hi in one sentence' }] },
  });
  await response.body();
  return { status: response.status(), id: response.headers()['x-request-id'] ?? '' };
}

/** data reads the customer API with a key. */
export async function data<T>(request: APIRequestContext, key: string, path: string): Promise<T> {
  const response = await request.get(path, { headers: { authorization: `Bearer ${key}` } });
  expect(response.status(), path).toBe(200);
  return ((await response.json()) as { data: T }).data;
}

/** settled waits until a request is in the books. */
export async function settled(request: APIRequestContext, key: string, id: string): Promise<{ charge: string; input_tokens: number; output_tokens: number; key_name: string }> {
  let found: { charge: string; input_tokens: number; output_tokens: number; key_name: string } | undefined;
  await expect
    .poll(
      async () => {
        const page = await data<{ items: (typeof found)[] }>(request, key, `/openapi/v1/billing/detail?request_id=${id}`);
        found = page.items[0];
        return found !== undefined;
      },
      { timeout: 20_000 },
    )
    .toBe(true);
  if (found === undefined) throw new Error('not settled');
  return found;
}

export const unique = (): string => Math.random().toString(36).slice(2, 8);
