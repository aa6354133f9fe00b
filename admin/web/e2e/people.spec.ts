import { readFileSync } from 'node:fs';
import { change, expect, mailed, signIn, test, unique, visit } from './kit';

test.describe('a new customer', () => {
  test.use({ storageState: { cookies: [], origins: [] } });

  test('S3-2, S0-4 … S0-8, S0-18: signs up, gets credit and a key, calls from the playground, sees the charge, opens the CSV', async ({ page, browser, baseURL, state }) => {
    test.setTimeout(120_000);
    const name = `Newcomer ${unique()}`;
    const email = `new-${unique()}@example.com`;
    await page.goto('/console/sign-in');
    await page.getByRole('link', { name: 'Make an account' }).click();
    await page.getByLabel('Company or name').fill(name);
    await page.getByLabel('E-mail address').fill(email);
    await page.getByRole('textbox', { name: 'Password' }).fill('short');
    await page.getByRole('button', { name: 'Make the account' }).click();
    await expect(page.getByText('At least 10 characters').last()).toBeVisible();
    await page.getByRole('textbox', { name: 'Password' }).fill('a long pass phrase');
    await page.getByRole('button', { name: 'Make the account' }).click();
    await expect(page.getByRole('heading', { name: 'Dashboard', level: 1 })).toBeVisible();

    // A new account has no money; a code of the operator's brings some.
    const context = await browser.newContext({ baseURL, storageState: state });
    const send = await change(await context.newPage());
    const code = ((await send('POST', '/admin/v1/vouchers', { amount: '2', note: 'welcome' })).data.items as { code: string }[])[0]?.code ?? '';
    const nav = page.getByRole('navigation');
    await nav.getByRole('link', { name: 'Billing' }).click();
    await page.getByLabel('Code').fill(code);
    await page.getByRole('button', { name: 'Redeem', exact: true }).click();
    await expect(page.getByText('$2.00 was added')).toBeVisible();

    await nav.getByRole('link', { name: 'API keys' }).click();
    await page.getByRole('button', { name: 'Create API key' }).first().click();
    await page.getByRole('dialog').getByLabel('Name').fill('first');
    await page.getByRole('dialog').getByRole('button', { name: 'Create API key' }).click();
    await expect(page.getByTestId('token')).toHaveText(/^\s*tsk_/);

    await nav.getByRole('link', { name: 'Playground' }).click();
    await page.getByRole('button', { name: 'Make a key and start' }).click();
    await page.getByRole('textbox', { name: /Your message/ }).fill('Hi in one sentence');
    await page.keyboard.press('Enter');
    const facts = page.getByTestId('facts');
    await expect(facts.filter({ hasText: '$' })).toHaveCount(1);
    const charge = /\$[\d.]+/.exec(await facts.first().innerText())?.[0] ?? '';
    await facts.first().getByRole('link', { name: 'Logs' }).click();
    const row = page.getByRole('table', { name: 'Logs' }).getByRole('row').nth(1);
    await expect(row).toContainText(charge);

    const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'Export CSV' }).click()]);
    const csv = readFileSync(await download.path(), 'utf8').trim().split('\r\n');
    const columns = csv[0]?.split(',') ?? [];
    const cells = csv[1]?.split(',') ?? [];
    expect(csv.length).toBeGreaterThan(1);
    expect(`$${cells[columns.indexOf('charge_usd')]}`).toContain(charge);

    // The operator sees who came, and gives them another role.
    const operator = await context.newPage();
    await operator.goto('/console/operator/users');
    await operator.getByRole('textbox', { name: 'E-mail address' }).fill(email);
    await expect(operator.getByRole('table', { name: 'Users & roles' }).getByRole('row')).toHaveCount(2);
    await expect(operator.getByRole('row', { name: new RegExp(email) })).toContainText('Active');
    await context.close();

    // A forgotten password: the link comes by mail, and ends the session here.
    await page.getByRole('button', { name: 'Account' }).click();
    await page.getByRole('menuitem', { name: 'Sign out' }).click();
    await page.getByRole('link', { name: 'Forgot the password?' }).click();
    await page.getByLabel('E-mail address').fill(email);
    await page.getByRole('button', { name: 'Send the link' }).click();
    await expect(page.getByText('the link is on its way')).toBeVisible();
    const link = new URL(await mailed(email, '/console/reset'));
    await page.goto(link.pathname + link.search);
    await page.getByRole('textbox', { name: 'Password' }).fill('another pass phrase');
    await page.getByRole('button', { name: 'Change password' }).click();
    await expect(page.getByRole('heading', { name: 'Dashboard', level: 1 })).toBeVisible();
  });
});

test('S0-4, S3-2: an operator invites, changes a role, hands a reset link over, switches an account off', async ({ page, browser, baseURL, noise }) => {
  const email = `ops-${unique()}@example.com`;
  await visit(page, '/console/operator/users');
  await page.getByRole('button', { name: 'Invite' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('E-mail address').fill(email);
  await dialog.getByLabel('Client').fill('client_999999');
  await dialog.getByRole('button', { name: 'Invite' }).click();
  await expect(page.getByText('Not found.').first()).toBeVisible();
  // Nothing that was typed is lost by a refusal.
  await expect(dialog.getByLabel('E-mail address')).toHaveValue(email);
  noise.length = 0; // the refusal was wanted
  await dialog.getByLabel('Client').fill('');
  await dialog.getByRole('button', { name: 'Invite' }).click();
  const shown = new URL((await page.getByTestId('link').locator('code').innerText()).trim());
  expect(await mailed(email, '/console/invitation')).toContain(shown.search);

  const context = await browser.newContext({ baseURL, storageState: { cookies: [], origins: [] } });
  const other = await context.newPage();
  await other.goto(shown.pathname + shown.search);
  await other.getByRole('textbox', { name: 'Password' }).fill('a long pass phrase');
  await other.getByRole('button', { name: 'Accept the invitation' }).click();
  await expect(other.getByRole('heading', { name: 'Overview', level: 1 })).toBeVisible();
  // A supporter reads who there is, and changes nobody.
  await visit(other, '/console/operator/users');
  await expect(other.getByRole('row', { name: new RegExp(email) })).toContainText('support');
  await expect(other.getByRole('button', { name: 'Invite' })).toHaveCount(0);

  await page.getByRole('textbox', { name: 'E-mail address' }).fill(email);
  const row = page.getByRole('row', { name: new RegExp(email) });
  await row.getByRole('combobox').click();
  await page.getByRole('option', { name: 'finance' }).click();
  await expect(page.getByText('Saved')).toBeVisible();
  await row.getByRole('button', { name: `Reset link: ${email}` }).click();
  await expect(page.getByTestId('link').locator('code')).toContainText('/console/reset?token=');
  await row.getByRole('button', { name: `Disable: ${email}` }).click();
  await expect(row).toContainText('Disabled');
  await other.reload();
  await expect(other).toHaveURL(/sign-in/);
  await context.close();
});

test.describe('sessions', () => {
  test.use({ storageState: { cookies: [], origins: [] } });

  test('G11: a person sees where the account is signed in and ends a session; a page that loses its own keeps what was typed', async ({ page, browser, baseURL, who, noise }) => {
    const agent = 'Mozilla/5.0 (iPhone) Safari/605';
    const context = await browser.newContext({ baseURL, userAgent: agent });
    const phone = await context.newPage();
    await signIn(phone, who);
    await signIn(page, who);
    await visit(page, '/console/settings');
    const list = page.getByRole('list', { name: 'Sessions' });
    const mine = list.getByRole('listitem').filter({ hasText: 'This one' });
    await expect(mine).toHaveCount(1);
    await expect(mine.getByRole('button')).toHaveCount(0);

    // The phone is in the middle of a form.
    await visit(phone, '/console/api-keys?new');
    await phone.getByRole('dialog').getByLabel('Name').fill('typed before the end');
    const theirs = list.getByRole('listitem').filter({ hasText: 'Safari · iPhone' });
    const before = await theirs.count();
    await theirs.first().getByRole('button', { name: /^End: / }).click();
    await expect(theirs).toHaveCount(before - 1);

    // A question that the page asks by itself may meet the end first; then the press is not needed.
    await phone.getByRole('dialog').getByRole('button', { name: 'Create API key' }).click({ timeout: 3_000 }).catch(() => undefined);
    const again = phone.getByRole('dialog', { name: 'Your session has ended' });
    await expect(again).toBeVisible();
    await again.getByRole('textbox', { name: 'Password' }).fill(who.password);
    await again.getByRole('button', { name: 'Sign in' }).click();
    await expect(again).toHaveCount(0);
    await expect(phone.getByRole('dialog').getByLabel('Name')).toHaveValue('typed before the end');
    await phone.getByRole('dialog').getByRole('button', { name: 'Create API key' }).click();
    await expect(phone.getByTestId('token')).toHaveText(/^\s*tsk_/);
    await context.close();
    noise.length = 0; // the refusal was wanted
  });
});

test('a lost network and a busy server keep a form as it is, and a refusal stands beside its field', async ({ page, noise }) => {
  await visit(page, '/console/operator/models');
  await page.getByRole('button', { name: 'Add a model' }).click();
  const form = page.getByRole('dialog');
  const id = `m-${unique()}`;
  await form.getByRole('textbox', { name: /^Id/ }).fill(id);
  await form.getByRole('textbox', { name: 'Multiplier' }).fill('x');
  await form.getByRole('button', { name: 'Add a model' }).click();
  await expect(form.getByText('A price such as 1.75')).toBeVisible();
  await form.getByRole('textbox', { name: 'Multiplier' }).fill('1');
  const answer = (status: number) => ({ status, headers: { 'retry-after': '3' }, json: { request_id: 'req_01JDN3V9TQ4Z8X2M6K0RFW7YBC', success: false, data: null, code: 'overloaded', message: `It is ${status}.` } });
  for (const status of [0, 429, 503]) {
    await page.route('**/admin/v1/models', (r) => (r.request().method() === 'GET' ? r.continue() : status === 0 ? r.abort() : r.fulfill(answer(status))));
    await form.getByRole('button', { name: 'Add a model' }).click();
    await expect(page.getByText(status === 0 ? 'The server cannot be reached.' : `It is ${status}.`).first()).toBeVisible();
    await expect(form.getByRole('textbox', { name: /^Id/ })).toHaveValue(id);
    await page.unroute('**/admin/v1/models');
  }
  // An alias that is another model's: the server says so, beside the aliases.
  await form.getByRole('combobox', { name: 'Also called' }).or(form.getByRole('textbox', { name: 'Also called' })).first().fill('gpt-5-mini');
  await page.keyboard.press('Enter');
  await form.getByRole('button', { name: 'Add a model' }).click();
  await expect(form.getByText(/gpt-5-mini.*(alias|name|model|taken|twice)|(alias|name|taken|twice).*gpt-5-mini/i).first()).toBeVisible();
  noise.length = 0; // the refusals were wanted
});
