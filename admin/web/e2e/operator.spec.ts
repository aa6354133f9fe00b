import { chat, expect, settled, test, unique, visit } from './kit';

test('an operator makes a client, books money and makes a key', async ({ page }) => {
  const name = `Acme ${unique()}`;
  await page.goto('/console/operator/clients');
  await page.getByRole('button', { name: 'New client' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Name').fill(name);
  await dialog.getByLabel('Multiplier').fill('1.25');
  await dialog.getByLabel('Initial credit').fill('10');
  await dialog.getByRole('button', { name: 'New client' }).click();
  const row = page.getByRole('row', { name: new RegExp(name) });
  await expect(row).toContainText('× 1.25');
  await expect(row).toContainText('$10.00');
  await row.getByRole('button', { name }).focus();
  await page.keyboard.press('Enter');
  await expect(page.getByRole('heading', { name, level: 1 })).toBeVisible();

  await page.getByRole('button', { name: 'Book' }).click();
  await page.getByRole('dialog').getByLabel('Amount in USD').fill('-2.5');
  await page.getByRole('dialog').getByLabel('Note').fill('a mistake');
  await page.getByRole('dialog').getByRole('button', { name: 'Book' }).click();
  await expect(page.getByText('the balance is $7.50')).toBeVisible();
  await expect(page.getByRole('table', { name: 'Ledger' })).toContainText('−$2.50');
  await expect(page.getByRole('table', { name: 'Ledger' })).toContainText('user:');

  await page.getByRole('button', { name: 'New key' }).click();
  await page.getByRole('dialog').getByLabel('Name').fill('first');
  await page.getByRole('dialog').getByRole('button', { name: 'New key' }).click();
  const token = (await page.getByTestId('token').innerText()).trim();
  expect((await page.request.get('/openapi/v1/balance', { headers: { authorization: `Bearer ${token}` } })).status()).toBe(200);
});

test('S2-6: a price that an operator sets is the price that customers read', async ({ page }) => {
  await page.goto('/console/operator/prices');
  await page.getByRole('textbox', { name: 'Search' }).fill('gpt-5-mini');
  await page.getByRole('button', { name: 'Set price: gpt-5-mini', exact: true }).click();
  const price = `2.${Math.floor(Math.random() * 900000) + 100001}`.replace(/0+$/, '');
  await page.getByRole('dialog').getByLabel('Output', { exact: true }).fill(price);
  await page.getByRole('dialog').getByRole('button', { name: 'Set price' }).click();
  await expect(page.getByText('The price of gpt-5-mini is set')).toBeVisible();
  await page.goto('/console/models');
  await page.getByLabel('Search').fill('gpt-5-mini');
  await expect(page.getByRole('row', { name: /^gpt-5-mini / })).toContainText(`$${price}`);
});

test('C19, S0-11, S2-6, D7: a model with a route is added, its price goes live on the proxies and is charged, the route is switched off and on', async ({ page, request, who }) => {
  test.setTimeout(120_000);
  const id = `model-${unique()}`;
  await visit(page, '/console/operator/models');
  await page.getByRole('textbox', { name: 'Search' }).fill('mistral-large');
  await page.getByRole('row', { name: /^mistral-large / }).click();
  const drawer = page.getByRole('dialog');
  const upstream = await drawer.getByRole('form', { name: /\// }).first().getAttribute('aria-label');
  const [provider = '', name = ''] = (upstream ?? '').split(' ')[0]!.split(/\/(.*)/);
  await page.keyboard.press('Escape');
  await expect(drawer).toHaveCount(0);

  await page.getByRole('button', { name: 'Add a model' }).click();
  await drawer.getByRole('textbox', { name: /^Id/ }).fill(id);
  await drawer.getByRole('textbox', { name: 'Input, per million' }).fill('1');
  await drawer.getByRole('textbox', { name: 'Output, per million' }).fill('2');
  await drawer.getByRole('button', { name: 'Add a model' }).click();
  const adding = drawer.getByRole('form', { name: 'Add a route' });
  await adding.getByRole('button', { name: 'Add a route' }).click();
  await expect(adding.getByText('Choose a provider')).toBeVisible();
  await adding.getByRole('combobox', { name: 'Provider' }).fill(provider);
  await page.getByRole('option', { name: provider, exact: true }).click();
  await adding.getByRole('textbox', { name: 'Its name there' }).fill(name);
  await adding.getByRole('button', { name: 'Add a route' }).click();
  const route = drawer.getByRole('form', { name: `${provider}/${name}` });
  await expect(route).toBeVisible();
  await route.getByRole('textbox', { name: 'Weight' }).fill('7');
  await route.getByRole('button', { name: /^Save/ }).click();
  await expect(page.getByText('Saved').first()).toBeVisible();
  await expect.poll(async () => (await chat(request, who.key, id)).status).toBe(200);
  await page.keyboard.press('Escape');

  // Another price: live on every proxy, then charged.
  await visit(page, '/console/operator/prices');
  const badge = page.getByText(/Revision \d+ is live on 1 of 1/);
  const revision = async () => Number(/\d+/.exec(await badge.innerText())?.[0]);
  const before = await revision();
  await page.getByRole('textbox', { name: 'Search' }).fill(id);
  await page.getByRole('button', { name: `Set price: ${id}`, exact: true }).click();
  await page.getByRole('dialog').getByLabel('Input', { exact: true }).fill('3');
  await page.getByRole('dialog').getByLabel('Output', { exact: true }).fill('11');
  await page.getByRole('dialog').getByRole('button', { name: 'Set price' }).click();
  await expect.poll(revision).toBeGreaterThan(before);
  const call = await chat(request, who.key, id);
  const booked = await settled(request, who.key, call.id);
  expect(Math.round(Number(booked.charge) * 1e9)).toBe(booked.input_tokens * 3000 + booked.output_tokens * 11000);

  await visit(page, '/console/operator/models');
  await page.getByRole('textbox', { name: 'Search' }).fill(id);
  await page.getByRole('row', { name: new RegExp(`^${id} `) }).click();
  const on = drawer.getByRole('switch', { name: `On: ${provider}/${name}` });
  await on.press('Space');
  await expect(on).not.toBeChecked();
  await expect.poll(async () => (await chat(request, who.key, id)).status).not.toBe(200);
  await on.press('Space');
  await expect(on).toBeChecked();
  await expect(route.getByRole('textbox', { name: 'Weight' })).toHaveValue('7');
  await expect.poll(async () => (await chat(request, who.key, id)).status).toBe(200);

  await drawer.getByRole('button', { name: 'Take out of the catalogue' }).click();
  await drawer.getByRole('button', { name: 'Really take it out' }).click();
  await expect(page.getByText(`“${id}” is taken out`)).toBeVisible();
});

test('S4-17, S4-18, S4-20: providers are tested, paused and reactivated', async ({ page, request, who }) => {
  await page.goto('/console/operator/providers');
  const row = page.getByRole('row', { name: /^mistral / });
  await expect(row).toContainText('Active');
  await row.getByRole('button', { name: 'Pause: mistral' }).click();
  await expect(row).toContainText('Paused');
  await expect.poll(async () => (await chat(request, who.key, 'mistral-large')).status).toBe(429);
  await row.getByRole('button', { name: 'Reactivate: mistral' }).click();
  await expect(row).toContainText('Active');
  await expect.poll(async () => (await chat(request, who.key, 'mistral-large')).status).toBe(200);
  await row.getByRole('button', { name: 'mistral', exact: false }).first().click();
  await page.getByRole('dialog').getByRole('button', { name: /^Test: / }).first().click();
  await expect(page.getByRole('dialog').getByRole('alert')).toContainText(/answered after/);
});

test('a price is previewed before it is set, and its history kept', async ({ page }) => {
  await page.goto('/console/operator/prices');
  await page.getByRole('textbox', { name: 'Search' }).fill('gpt-4o-mini');
  await page.getByRole('button', { name: 'Set price: gpt-4o-mini', exact: true }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Output', { exact: true }).fill('0.000001');
  await dialog.getByRole('button', { name: 'Preview' }).click();
  await expect(dialog.getByTestId('preview')).toContainText('requests of the last 30 days used would cost');
  await expect(dialog.getByText('in force')).toBeVisible();
});

test('groups, codes, live traffic and the audit log', async ({ page, request, who }) => {
  const name = `tier-${unique()}`;
  await page.goto('/console/operator/groups');
  await page.getByRole('button', { name: 'New group' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Save' }).click();
  await expect(page.getByRole('dialog').getByText('A key needs a name')).toBeVisible();
  await page.getByRole('dialog').getByLabel('Name').fill(name);
  await page.getByRole('dialog').getByLabel('Multiplier').fill('0.9');
  await page.getByRole('dialog').getByRole('button', { name: 'Save' }).click();
  await expect(page.getByRole('row', { name: new RegExp(name) })).toContainText('× 0.9');

  await page.goto('/console/operator/vouchers');
  await page.getByRole('button', { name: 'Make codes' }).click();
  await page.getByRole('dialog').getByLabel('Amount in USD').fill('3');
  await page.getByRole('dialog').getByRole('button', { name: 'Make codes' }).click();
  const code = (await page.getByTestId('codes').innerText()).trim();
  await page.goto('/console/billing');
  await page.getByLabel('Code').fill(code);
  await page.getByRole('button', { name: 'Redeem', exact: true }).click();
  await expect(page.getByText('$3.00 was added')).toBeVisible();

  const call = await chat(request, who.key);
  await settled(request, who.key, call.id);
  await page.goto('/console/operator/traffic');
  await expect(page.getByRole('table', { name: 'Last requests' })).toContainText('gpt-5-mini');
  await page.goto('/console/operator/audit');
  await page.getByLabel('Changes by').fill(`user:${who.email}`);
  await expect(page.getByRole('table', { name: 'Audit' })).toContainText(name);
});

test('the overview knows the proxies', async ({ page }) => {
  await page.goto('/console/operator');
  await expect(page.getByText(/Revision \d+ is live on 1 of 1/)).toBeVisible();
  await expect(page.getByRole('table', { name: 'Top models' }).or(page.getByText('Nothing was used')).first()).toBeVisible();
});
