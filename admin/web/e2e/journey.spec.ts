import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { expect, signIn, test, unique } from './kit';

test.describe('a new day', () => {
  test.use({ storageState: { cookies: [], origins: [] } });

  test('S0-4 … S0-8, S0-18, S3-17: sign in, first key, first call from the playground, its charge in the logs, CSV', async ({ page, who }) => {
    await signIn(page, who);
    await page.getByRole('navigation').getByRole('link', { name: 'API keys' }).click();
    await page.getByRole('button', { name: 'Create API key' }).first().click();
    const name = `journey ${unique()}`;
    await page.getByRole('dialog').getByLabel('Name').fill(name);
    await page.getByRole('dialog').getByRole('button', { name: 'Create API key' }).click();
    const token = (await page.getByTestId('token').innerText()).trim();

    await page.getByRole('link', { name: 'Playground' }).click();
    await page.getByRole('button', { name: 'Make a key and start' }).click();
    await page.getByRole('button', { name: 'Compare a model' }).click();
    await page.getByRole('textbox', { name: /Your message/ }).fill('Hi in one sentence');
    await page.keyboard.press('Enter');
    const facts = page.getByTestId('facts');
    await expect(facts.filter({ hasText: '$' })).toHaveCount(2);
    await expect(facts.first()).toContainText('first token after');
    const charge = /\$[\d.]+/.exec(await facts.first().innerText())?.[0] ?? '';

    // The code beside it is the same call, and runs.
    const code = await page.getByTestId('code').innerText();
    const { stdout } = await promisify(execFile)('bash', ['-c', code], { env: { ...process.env, TOKEN_RELAY_KEY: token } });
    expect(stdout).toContain('data: [DONE]');

    await facts.first().getByRole('link', { name: 'Logs' }).click();
    const row = page.getByRole('table', { name: 'Logs' }).getByRole('row').nth(1);
    await expect(row).toContainText(charge);
    await expect(row).toContainText('Playground');
    await page.getByRole('link', { name: 'API keys' }).click();
    await expect(page.getByRole('row', { name: new RegExp(name) })).toContainText(/20\d\d/);

    await page.getByRole('link', { name: 'Usage' }).click();
    const download = page.waitForEvent('download');
    await page.getByRole('link', { name: 'Export CSV' }).or(page.getByRole('button', { name: 'Export CSV' })).first().click();
    const csv = readFileSync(await (await download).path(), 'utf8').trim().split('\r\n');
    const columns = csv[0]?.split(',') ?? [];
    expect(columns).toContain('charge_usd');
    expect(csv.length).toBeGreaterThan(1);
    for (const line of csv) expect(line.split(',').length, line).toBeGreaterThanOrEqual(columns.length);
  });
});

test('the key of the playground is revoked when the session ends, and lives in memory only', async ({ page }) => {
  await page.goto('/console/playground');
  const made = page.waitForResponse((r) => r.url().endsWith('/openapi/v1/api-keys') && r.request().method() === 'POST');
  await page.getByRole('button', { name: 'Make a key and start' }).click();
  const { id, token } = ((await (await made).json()) as { data: { id: string; token: string } }).data;
  await expect(page.getByRole('textbox', { name: /Your message/ })).toBeVisible();
  expect(await page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }) + document.cookie)).not.toContain(token);
  await page.getByRole('button', { name: 'End and revoke the key' }).click();
  await expect.poll(async () => ((await (await page.request.get(`/openapi/v1/api-keys/${id}`)).json()) as { data: { status: string } }).data.status).toBe('revoked');

  // A page that is left takes its key with it.
  const again = page.waitForResponse((r) => r.url().endsWith('/openapi/v1/api-keys') && r.request().method() === 'POST');
  await page.getByRole('button', { name: 'Make a key and start' }).click();
  const second = ((await (await again).json()) as { data: { id: string } }).data.id;
  await page.goto('/docs');
  await expect.poll(async () => ((await (await page.request.get(`/openapi/v1/api-keys/${second}`)).json()) as { data: { status: string } }).data.status).toBe('revoked');
});

test('S1-40, S1-41: a key is copied and rotated', async ({ page, request }) => {
  const name = `turning ${unique()}`;
  await page.goto('/console/api-keys?new');
  await page.getByRole('dialog').getByLabel('Name').fill(name);
  await page.getByRole('dialog').getByLabel('Monthly spend cap').fill('3');
  await page.getByRole('dialog').getByRole('button', { name: 'Create API key' }).click();
  const first = (await page.getByTestId('token').innerText()).trim();
  const status = async (token: string) => (await request.get('/openapi/v1/client', { headers: { authorization: `Bearer ${token}` } })).status();
  const turn = async (what: string): Promise<string> => {
    const before = (await page.getByTestId('token').innerText()).trim();
    await page.getByRole('row', { name: new RegExp(name) }).filter({ hasText: 'Active' }).first().getByRole('button', { name: /^Actions/ }).click();
    await page.getByRole('menuitem', { name: what, exact: true }).click();
    await page.getByRole('dialog').getByRole('button', { name: what, exact: true }).click();
    await expect(page.getByTestId('token')).not.toHaveText(before);
    return (await page.getByTestId('token').innerText()).trim();
  };
  const second = await turn('Rotate');
  expect(await status(second)).toBe(200);
  await expect.poll(() => status(first)).toBe(401);
  const third = await turn('Copy');
  expect([await status(second), await status(third)]).toEqual([200, 200]);
  await expect(page.getByRole('row', { name: new RegExp(name) }).filter({ hasText: 'of $3' })).toHaveCount(3);
});

test('S1-08 … S1-12: conversations are named and archived', async ({ page }) => {
  const name = `Lisbon ${unique()}`;
  await page.goto('/console/conversations');
  await page.getByRole('button', { name: 'New conversation' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Title').fill(name);
  await dialog.getByLabel('Metadata').fill('no name');
  await dialog.getByRole('button', { name: 'Save' }).click();
  await expect(dialog.getByText('Each line is name=text')).toBeVisible();
  await dialog.getByLabel('Metadata').fill('ticket=4711');
  await dialog.getByRole('button', { name: 'Save' }).click();
  await expect(page.getByRole('row', { name: new RegExp(name) })).toContainText('ticket=4711');
  await page.getByRole('button', { name: new RegExp(name) }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Archive' }).click();
  await expect(page.getByRole('row', { name: new RegExp(name) })).toHaveCount(0);
  await page.getByText('Archived', { exact: true }).click();
  await expect(page.getByRole('row', { name: new RegExp(name) })).toBeVisible();
});

test('S1-13 … S1-18: policies are changed and read back', async ({ page }) => {
  await page.goto('/console/policies');
  await page.getByLabel('Answers to repeated requests, hours').fill('12');
  await page.locator('form', { has: page.getByLabel('Answers to repeated requests, hours') }).getByRole('button', { name: 'Save' }).click();
  await expect(page.getByText('Saved')).toBeVisible();
  const hours = async () => ((await (await page.request.get('/openapi/v1/security/policy')).json()) as { data: { data_retention: { replay_hours: number } } }).data.data_retention.replay_hours;
  expect(await hours()).toBe(12);
  await page.getByLabel('Answers to repeated requests, hours').fill('24');
  await page.locator('form', { has: page.getByLabel('Answers to repeated requests, hours') }).getByRole('button', { name: 'Save' }).click();
  await expect.poll(hours).toBe(24);
  const kept = page.locator('form', { has: page.getByLabel('Answers to repeated requests, hours') });
  const written = async () => {
    const { logging, data_retention } = ((await (await page.request.get('/openapi/v1/security/policy')).json()) as { data: { logging: { level: string }; data_retention: { detail_days: number | null } } }).data;
    return `${logging.level} ${data_retention.detail_days}`;
  };
  for (const [level, days, want] of [['Minimal: the charge alone', '30', 'minimal 30'], ['Standard', '', 'standard null']] as const) {
    await kept.getByRole('combobox', { name: 'Level of the log' }).click();
    await page.getByRole('option', { name: level }).click();
    await kept.getByLabel('Details of calls, days').fill(days);
    await kept.getByRole('button', { name: 'Save' }).click();
    await expect.poll(written).toBe(want);
  }
});

test('S1-17, S1-18: routing and rollouts are changed and read back', async ({ page }) => {
  await page.goto('/console/policies');
  await page.getByRole('button', { name: 'Another rule' }).click();
  const rule = page.getByRole('group', { name: 'Rollout 1' });
  await rule.getByRole('combobox', { name: 'Calls of' }).fill('gpt-4o-mini');
  await page.getByRole('option', { name: 'gpt-4o-mini', exact: true }).click();
  const form = page.locator('form', { has: rule });
  await form.getByRole('button', { name: 'Save' }).click();
  await expect(rule.getByText('A rule needs two models')).toBeVisible();
  await rule.getByRole('combobox', { name: 'go to' }).fill('gpt-4o');
  await page.getByRole('option', { name: 'gpt-4o', exact: true }).click();
  await rule.getByRole('textbox', { name: 'Part' }).fill('25');
  await form.getByRole('button', { name: 'Save' }).click();
  const policy = async () => ((await (await page.request.get('/openapi/v1/routing/policy')).json()) as { data: { rollout: { rules: unknown[] }; retry: { within_ms: number | null } } }).data;
  await expect.poll(async () => (await policy()).rollout.rules).toEqual([{ model: 'gpt-4o-mini', to: 'gpt-4o', percent: 25 }]);
  await page.getByRole('button', { name: 'Remove rule 1' }).click();
  await page.locator('form', { has: page.getByRole('button', { name: 'Another rule' }) }).getByRole('button', { name: 'Save' }).click();
  await expect.poll(async () => (await policy()).rollout.rules).toEqual([]);
  for (const [text, ms] of [['30000', 30_000], ['', null]] as const) {
    await page.getByLabel('No other one is asked after').fill(text);
    await page.locator('form', { has: page.getByLabel('No other one is asked after') }).getByRole('button', { name: 'Save' }).click();
    await expect.poll(async () => (await policy()).retry.within_ms).toBe(ms);
  }
});

test('what a page shows when the server refuses: 429, 503, a session that has ended', async ({ page, noise }) => {
  const answer = (status: number, code: string, message: string) => ({ status, headers: { 'retry-after': '3' }, json: { request_id: 'req_01JDN3V9TQ4Z8X2M6K0RFW7YBC', success: false, data: null, code, message } });
  for (const [status, code] of [[429, 'rate_limited_ip'], [503, 'overloaded']] as const) {
    await page.route('**/openapi/v1/api-keys?*', (r) => r.fulfill(answer(status, code, `It is ${status}.`)));
    await page.goto('/console/api-keys');
    await expect(page.getByText(`It is ${status}.`)).toBeVisible();
    await expect(page.getByText('req_01JDN3V9TQ4Z8X2M6K0RFW7YBC')).toBeVisible();
    await page.unroute('**/openapi/v1/api-keys?*');
    await page.getByRole('button', { name: 'Try again' }).click();
    await expect(page.getByRole('table', { name: 'API keys' })).toBeVisible();
  }
  await page.route('**/openapi/v1/api-keys?*', (r) => r.fulfill(answer(401, 'invalid_api_key', 'You are not signed in.')));
  await page.route('**/console/api/session', (r) => r.fulfill({ json: { request_id: 'x', success: true, code: null, message: null, data: { site: { brand: 'Token Relay', contact: '', public_url: '', credits_per_usd: 0 }, user: null, guard: '' } } }));
  await page.goto('/console/settings');
  await expect(page).toHaveURL(/sign-in\?next=%2Fconsole%2Fsettings/);
  noise.length = 0; // the browser notes the refusals that were wanted
});

test('S3-2: an owner invites; the invited chooses a password and is in', async ({ page, browser, baseURL }) => {
  const email = `ann-${unique()}@example.com`;
  await page.goto('/console/settings');
  await page.getByRole('button', { name: 'Invite' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('E-mail address').fill('no address');
  await dialog.getByRole('button', { name: 'Invite' }).click();
  await expect(dialog.getByText('An address such as')).toBeVisible();
  await dialog.getByLabel('E-mail address').fill(email);
  await dialog.getByRole('button', { name: 'Invite' }).click();
  const link = new URL((await page.getByTestId('invitation').locator('code').innerText()).trim());
  const context = await browser.newContext({ baseURL, storageState: { cookies: [], origins: [] } });
  const other = await context.newPage();
  await other.goto(link.pathname + link.search);
  await expect(other.getByText(email)).toBeVisible();
  await other.getByRole('textbox', { name: 'Password' }).fill('a long pass phrase');
  await other.getByRole('button', { name: 'Accept the invitation' }).click();
  await expect(other.getByRole('heading', { name: 'Dashboard', level: 1 })).toBeVisible();
  await context.close();
  await page.reload();
  await expect(page.getByRole('table', { name: 'Members' })).toContainText(email);
});
