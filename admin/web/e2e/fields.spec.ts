import type { Locator, Page } from '@playwright/test';
import { change, expect, test, unique, visit } from './kit';

// What a customer sets for all of its calls is set, kept, and shown again; what the server
// refuses stands beside its field, and nothing that was typed is lost.

/** arrive signs a new customer in: what is set here must not be met by others' calls. */
async function arrive(page: Page): Promise<void> {
  const r = await page.request.post('/console/api/register', { data: { name: `Fields ${unique()}`, email: `fields-${unique()}@example.com`, password: 'a long pass phrase' } });
  expect(r.status(), await r.text()).toBe(200);
}

/** form is the form that has a field. */
function form(page: Page, field: string): Locator {
  return page.locator('form').filter({ has: page.getByLabel(field, { exact: true }) });
}

/** field is a field of a form by its label, whatever kind of input it is. */
function field(within: Locator, label: string, n = 0): Locator {
  return within.locator('input:visible').and(within.getByLabel(label, { exact: true })).nth(n);
}

async function save(within: Locator): Promise<void> {
  await within.getByRole('button', { name: 'Save' }).click();
}

async function saved(page: Page): Promise<void> {
  await expect(page.getByText('Saved').first()).toBeVisible();
  await expect(page.getByText('Saved')).toHaveCount(0, { timeout: 20_000 });
}

/** refused expects what the server says beside the field that it is about. */
async function refused(input: Locator, says: RegExp): Promise<void> {
  await expect(input).toHaveAccessibleDescription(says);
}

async function pick(page: Page, input: Locator, option: string): Promise<void> {
  await input.click();
  await page.getByRole('option', { name: option, exact: true }).click();
}

/** answers has the server refuse the next change of a path because of one field. */
async function answers(page: Page, path: string, param: string, message: string): Promise<void> {
  await page.route(`**${path}`, (r) =>
    r.request().method() === 'GET'
      ? r.continue()
      : r.fulfill({ status: 400, headers: { 'x-relay-param': param }, json: { request_id: 'req_01JDN3V9TQ4Z8X2M6K0RFW7YBC', success: false, data: null, code: 'invalid_request', message } }),
  );
}

const security = '/openapi/v1/security/policy';

test.describe('fields', () => {
  test.use({ storageState: { cookies: [], origins: [] } });

  test('S1-15, S1-16: who judges is refused beside the field, set, and shown again', async ({ page, noise }) => {
    test.setTimeout(120_000);
    await arrive(page);
    await page.goto('/console/policies');
    const judges = form(page, 'Moderation model');
    const [url, secret, categories, model] = [field(judges, 'Address of your server'), field(judges, 'Secret that signs what it gets'), field(judges, 'Categories'), field(judges, 'Moderation model')];

    // One after another, as the server finds them; all that was typed stays.
    await url.fill('ftp://guard.example.com');
    await secret.fill('short');
    await categories.fill('No!');
    await page.keyboard.press('Enter');
    await field(judges, 'Time limit, ms').fill('700');
    await save(judges);
    await refused(secret, /secret/);
    await secret.fill('a-secret-of-a-guard');
    await save(judges);
    await refused(categories, /No!/);
    await expect(judges.getByText('No!', { exact: true })).toBeVisible();
    await categories.focus();
    await page.keyboard.press('Backspace');
    await categories.fill('violence');
    await page.keyboard.press('Enter');
    await save(judges);
    await refused(url, /http or https/);
    await expect(url).toHaveValue('ftp://guard.example.com');
    await expect(secret).toHaveValue('a-secret-of-a-guard');
    await expect(field(judges, 'Time limit, ms')).toHaveValue('700');
    await url.fill('https://guard.example.com/relay');

    // Only those that serve moderations can be chosen; who sends another is told so here.
    await model.click();
    await expect(page.getByRole('option', { name: 'omni-moderation-latest', exact: true })).toBeVisible();
    await expect(page.getByRole('option', { name: 'gpt-5-mini', exact: true })).toHaveCount(0);
    await page.getByRole('option', { name: 'omni-moderation-latest', exact: true }).click();
    await pick(page, field(judges, 'What is done about what it finds'), 'Refuse');
    await pick(page, field(judges, 'When it cannot be asked', 1), 'Let it pass, and note it');
    await page.route(`**${security}`, (r) => (r.request().method() === 'GET' ? r.continue() : r.continue({ postData: r.request().postData()?.replace('omni-moderation-latest', 'gpt-5-mini') ?? '' })));
    await save(judges);
    await refused(model, /"gpt-5-mini" does not serve moderations/);
    await expect(model).toHaveValue('omni-moderation-latest');
    await page.unroute(`**${security}`);
    noise.length = 0; // the refusals were wanted
    await save(judges);
    await saved(page);

    await page.reload();
    await expect(model).toHaveValue('omni-moderation-latest');
    await expect(field(judges, 'What is done about what it finds')).toHaveValue('Refuse');
    await expect(judges.getByText('violence', { exact: true })).toBeVisible();
    await expect(field(judges, 'Time limit, ms')).toHaveValue('700');
    await expect(field(judges, 'When it cannot be asked')).toHaveValue('Refuse the request');
    await expect(url).toHaveValue('https://guard.example.com/relay');
    await expect(secret).toHaveValue('');
    await expect(secret).toHaveAccessibleDescription(/One is set/);
    await expect(field(judges, 'When it cannot be asked', 1)).toHaveValue('Let it pass, and note it');
    const stored = async () => ((await (await page.request.get(security)).json()) as { data: { content_safety: { moderation: Record<string, unknown>; webhook: Record<string, unknown> } } }).data.content_safety;
    expect(await stored()).toMatchObject({
      moderation: { model: 'omni-moderation-latest', action: 'block', categories: ['violence'], timeout_ms: 700, on_failure: 'refuse' },
      webhook: { url: 'https://guard.example.com/relay', secret_set: true, on_failure: 'allow' },
    });

    // And taken back: without its address the secret is forgotten.
    await url.fill('');
    await model.hover();
    await judges.getByRole('button', { name: /clear/i }).or(judges.locator('.mantine-Select-section button').first()).first().click();
    await save(judges);
    await saved(page);
    expect(await stored()).toMatchObject({ moderation: { model: null, action: 'off' }, webhook: { url: null, secret_set: false } });
  });

  test('content, what is kept, models, alerts and a code: the server says no beside the field', async ({ page, noise }) => {
    test.setTimeout(120_000);
    await arrive(page);
    await page.goto('/console/policies');

    const content = form(page, 'Words of your own');
    const words = field(content, 'Words of your own');
    const long = 'w'.repeat(65);
    await words.fill(long);
    await page.keyboard.press('Enter');
    await pick(page, field(content, 'What is done about them'), 'Note');
    await save(content);
    await refused(words, /1 to 64 bytes/);
    await expect(content.getByText(long)).toBeVisible();
    await expect(field(content, 'What is done about them')).toHaveValue('Note');
    await words.focus();
    await page.keyboard.press('Backspace');
    await words.fill('zebra');
    await page.keyboard.press('Enter');
    await save(content);
    await saved(page);

    // Bounds that the fields themselves keep: the server's word still finds its place.
    for (const [label, path, param, value] of [
      ['Answers to repeated requests, hours', security, 'data_retention.replay_hours', '5'],
      ['Stored responses, days', security, 'data_retention.response_days', '7'],
      ['When a key has used this part of its cap', '/openapi/v1/balance/config', 'quota_alert_percent', '80'],
      ['When the balance falls below', '/openapi/v1/balance/config', 'low_balance', '12.5'],
    ] as const) {
      const within = form(page, label);
      const input = field(within, label);
      await input.fill(value);
      await answers(page, path, param, `${param} is not to be ${value}`);
      await save(within);
      await refused(input, new RegExp(`${param} is not to be`));
      await expect(input).toHaveValue(new RegExp(`^${value}`));
      await page.unroute(`**${path}`);
      await save(within);
      await saved(page);
    }
    const models = form(page, 'Allowed models');
    await pick(page, field(models, 'Allowed models'), 'gpt-5-mini');
    await page.keyboard.press('Escape');
    await answers(page, '/openapi/v1/routing/policy', 'models.allowed_model_ids', 'there is no model "gpt-5-mini"');
    await save(models);
    await refused(field(models, 'Allowed models'), /there is no model/);
    await expect(models.getByText('gpt-5-mini', { exact: true }).first()).toBeVisible();
    await page.unroute('**/openapi/v1/routing/policy');

    // A code that nobody made, and one that was used.
    const send = await change(page);
    await visit(page, '/console/billing');
    const code = page.getByLabel('Code', { exact: true });
    await code.fill('AAAAA-BBBBB-CCCCC-DDDDD-EEEEE');
    await page.getByRole('button', { name: 'Redeem', exact: true }).click();
    await refused(code, /no such code/);
    await expect(code).toHaveValue('AAAAA-BBBBB-CCCCC-DDDDD-EEEEE');
    expect((await send('POST', '/openapi/v1/redeem', { code: 'AAAAA-BBBBB-CCCCC-DDDDD-EEEEE' })).status).toBe(404);
    noise.length = 0; // the refusals were wanted
  });
});
