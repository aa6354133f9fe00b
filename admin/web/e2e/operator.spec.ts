import { expect, test, unique } from './kit';

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
  await page.getByLabel('Search').fill('gpt-5-mini');
  await page.getByRole('button', { name: 'Set price: gpt-5-mini', exact: true }).click();
  const price = `2.${Math.floor(Math.random() * 900000) + 100001}`.replace(/0+$/, '');
  await page.getByRole('dialog').getByLabel('Output', { exact: true }).fill(price);
  await page.getByRole('dialog').getByRole('button', { name: 'Set price' }).click();
  await expect(page.getByText('The price of gpt-5-mini is set')).toBeVisible();
  await page.goto('/console/models');
  await page.getByLabel('Search').fill('gpt-5-mini');
  await expect(page.getByRole('row', { name: /^gpt-5-mini / })).toContainText(`$${price}`);
});

test('the overview knows the proxies', async ({ page }) => {
  await page.goto('/console/operator');
  await expect(page.getByText(/Revision \d+ is live on 1 of 1/)).toBeVisible();
  await expect(page.getByRole('table', { name: 'Top models' }).or(page.getByText('Nothing was used')).first()).toBeVisible();
});
