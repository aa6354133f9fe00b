import { chat, data, expect, settled, test, unique } from './kit';

test('S0-5 … S0-8, S3-4: a key is made, shown once, used, disabled', async ({ page, request, who }) => {
  const name = `laptop ${unique()}`;
  await page.goto('/console/api-keys');
  await page.getByRole('button', { name: 'Create API key' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByRole('button', { name: 'Create API key' }).click();
  await expect(dialog.getByText('A key needs a name')).toBeVisible();
  await dialog.getByLabel('Name').fill(name);
  await dialog.getByLabel('Monthly spend cap').fill('1e3');
  await dialog.getByRole('button', { name: 'Create API key' }).click();
  await expect(dialog.getByText('An amount such as')).toBeVisible();
  await dialog.getByLabel('Monthly spend cap').fill('12.50');
  await dialog.getByRole('button', { name: 'Create API key' }).click();
  const token = (await page.getByTestId('token').innerText()).trim();
  expect(token).toMatch(/^tsk_[0-9A-Za-z]{55}$/);

  await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
  await page.getByTestId('reveal').getByRole('button', { name: 'Copy' }).click();
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(token);

  const row = page.getByRole('row', { name: new RegExp(name) });
  await expect(row).toContainText('Active');
  await expect(row).toContainText('of $12.5');
  const first = await chat(request, token);
  expect(first.status).toBe(200);
  const booked = await settled(request, token, first.id);
  expect(booked.key_name).toBe(name);

  // Never again, neither on the page nor in anything that the server sends.
  const answers: string[] = [];
  page.on('response', (r) => void r.text().then((t) => answers.push(t), () => undefined));
  await page.reload();
  await expect(row).toBeVisible();
  expect(await page.content()).not.toContain(token);
  expect(answers.join('\n')).not.toContain(token);

  await row.getByRole('button', { name: /^Actions/ }).click();
  await page.getByRole('menuitem', { name: 'Disable' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Disable' }).click();
  const badge = row.getByText('Disabled', { exact: true });
  await expect(badge).toBeVisible();
  const [r = 0, g = 0] = await badge.evaluate((e) => {
    // The color of the text, whatever way the theme writes it.
    const canvas = document.createElement('canvas').getContext('2d')!;
    canvas.fillStyle = getComputedStyle(e).color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  });
  expect(r).toBeGreaterThan(2 * g);
  await expect.poll(async () => (await chat(request, token)).status).toBe(401);
  expect((await chat(request, who.key)).status).toBe(200);
});

test('C18, S0-15: a key is edited: cap, models and limits', async ({ page, request, who }) => {
  const name = `edited ${unique()}`;
  await page.goto('/console/api-keys?new');
  await page.getByRole('dialog').getByLabel('Name').fill(name);
  await page.getByRole('dialog').getByRole('button', { name: 'Create API key' }).click();
  const token = (await page.getByTestId('token').innerText()).trim();
  await page.getByRole('row', { name: new RegExp(name) }).getByRole('button', { name: /^Actions/ }).click();
  await page.getByRole('menuitem', { name: 'Edit' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Monthly spend cap').fill('0.000000001');
  await dialog.getByRole('button', { name: 'More options' }).click();
  await dialog.getByLabel('Requests per minute').fill('7');
  await dialog.getByRole('combobox', { name: 'Allowed models' }).click();
  await page.getByRole('option', { name: 'gpt-5-mini', exact: true }).click();
  await page.keyboard.press('Escape');
  await dialog.getByRole('button', { name: 'Save' }).click();
  const row = page.getByRole('row', { name: new RegExp(name) });
  await expect(row).toContainText('of $0.000000001');
  await expect(row).toContainText('gpt-5-mini');
  await expect(row).toContainText('7 rpm');
  expect((await chat(request, token, 'gpt-5.2')).status).toBe(403);
  expect((await data<{ items: { name: string; monthly_cap: string }[] }>(request, who.key, '/openapi/v1/api-keys?limit=200')).items.find((k) => k.name === name)?.monthly_cap).toBe('0.000000001');
});

test('S3-17: the log shows a request with its exact charge, by keyboard', async ({ page, request, who }) => {
  const { id } = await chat(request, who.key, 'claude-haiku-4.5');
  const booked = await settled(request, who.key, id);
  await page.goto(`/console/logs?request_id=${id}`);
  const row = page.getByRole('row', { name: /claude-haiku-4-5/ });
  await expect(row).toContainText(String(booked.input_tokens));
  await expect(row).toContainText(String(booked.output_tokens));
  await expect(row).toContainText(`$${booked.charge}`);
  await expect(row).toContainText(booked.key_name);
  await expect(row).toContainText('Success');
  await row.getByRole('button').focus();
  await page.keyboard.press('Enter');
  const drawer = page.getByRole('dialog');
  await expect(drawer).toContainText(id);
  await expect(drawer).toContainText('claude-haiku-4.5');
  await expect(drawer).toContainText('Attempt 1');
  await page.keyboard.press('Escape');
  await expect(drawer).toBeHidden();

  const failed = await chat(request, who.key, 'no-such-model');
  expect(failed.status).toBe(400);
  await page.goto('/console/logs?status=refused');
  await expect(page.getByRole('row', { name: /unknown_model_pricing/ }).first()).toBeVisible();

  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'Export CSV' }).click()]);
  expect(download.suggestedFilename()).toMatch(/billing-detail\.csv$/);
});

test('S0-18, S3-18: usage and dashboard add up to what the API says', async ({ page, request, who }) => {
  const { id } = await chat(request, who.key, 'gpt-5.2');
  await settled(request, who.key, id);
  const text = (usd: string) => {
    const [whole = '0', fraction = ''] = usd.split('.');
    return `$${whole}.${fraction.padEnd(2, '0')}`;
  };
  // Roll-ups follow the rows; nobody else uses this relay.
  await expect(async () => {
    const overview = await data<{ last_30_days: { charge: string }; available: string }>(request, who.key, '/openapi/v1/cost/overview');
    await page.goto('/console/usage');
    const total = page.locator('section, div').filter({ hasText: /^Total spend/ }).last();
    await expect(total).toContainText(text(overview.last_30_days.charge), { timeout: 5000 });
  }).toPass();
  await expect(page.getByRole('table', { name: 'Spend by model' })).toContainText('gpt-5.2');
  await expect(page.getByRole('table', { name: 'Spend by key' })).toContainText('make run');
  await expect(page.locator('.recharts-bar-rectangle path').last()).toBeVisible();
  await page.goto('/console');
  const balance = await data<{ available: string }>(request, who.key, '/openapi/v1/balance');
  await expect(page.getByRole('main')).toContainText(text(balance.available));
  await expect(page.getByRole('main')).toContainText('gpt-5.2');
});

test('F10, S0-14: a code is redeemed once, and the statement has it', async ({ page, request }) => {
  await page.goto('/console/billing');
  const guard = ((await (await page.request.get('/console/api/session')).json()) as { data: { guard: string } }).data.guard;
  const made = await page.request.post('/admin/v1/vouchers', { headers: { 'x-relay-guard': guard }, data: { amount: '3.000000007', note: 'for a test' } });
  expect(made.status()).toBe(201);
  const code = ((await made.json()) as { data: { items: { code: string }[] } }).data.items[0]?.code ?? '';
  await page.getByLabel('Code').fill(code);
  await page.getByRole('button', { name: 'Redeem' }).click();
  await expect(page.getByText('$3.000000007 was added')).toBeVisible();
  await expect(page.getByRole('table', { name: 'Payments and corrections' })).toContainText('+$3.000000007');
  await page.getByLabel('Code').fill(code);
  await page.getByRole('button', { name: 'Redeem' }).click();
  await expect(page.getByText('nothing was added')).toBeVisible();
  await page.getByRole('tab', { name: 'Ledger' }).click();
  await expect(page.getByRole('table', { name: 'Balance movements' })).toContainText('Charge');
  expect((await request.get('/admin/v1/vouchers')).status()).toBe(200); // the same browser
});

test('S2-6, S0-9: the prices of the account are in the list, and in the detail', async ({ page, request, who }) => {
  const models = await data<{ items: { id: string; price: { prices: Record<string, string> } | null }[] }>(request, who.key, '/openapi/v1/models');
  await page.goto('/console/models');
  await page.getByLabel('Search').fill('gpt-5.2');
  const one = models.items.find((m) => m.id === 'gpt-5.2');
  const row = page.getByRole('row', { name: /^gpt-5\.2 / });
  await expect(row).toContainText(`$${Number(one?.price?.prices.output).toFixed(2)}`);
  await row.click();
  await expect(page.getByRole('dialog')).toContainText('"model": "gpt-5.2"');
});
