import { expect, test } from './kit';

test.use({ storageState: { cookies: [], origins: [] } });

test('S0-4: a page asks for a sign-in and comes back to where it was', async ({ page, who }) => {
  await page.goto('/console/usage?days=7');
  await expect(page).toHaveURL(/\/console\/sign-in\?next=/);
  await page.getByLabel('E-mail address').fill(who.email);
  await page.getByRole('textbox', { name: 'Password' }).fill('not the password');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await expect(page.getByRole('alert')).toContainText('wrong');
  await expect(page.getByRole('textbox', { name: 'Password' })).toHaveValue('');
  await page.getByRole('textbox', { name: 'Password' }).fill(who.password);
  await page.keyboard.press('Enter');
  await expect(page).toHaveURL(/\/console\/usage\?days=7$/);
  await expect(page.getByRole('heading', { name: 'Usage', level: 1 })).toBeVisible();

  // G11: signed out is signed out on the server.
  const cookies = await page.context().cookies();
  expect(cookies.map((c) => [c.name, c.httpOnly, c.sameSite])).toEqual([['relay_session', true, 'Lax']]);
  await page.getByRole('button', { name: 'Account' }).click();
  await page.getByRole('menuitem', { name: 'Sign out' }).click();
  await expect(page).toHaveURL(/sign-in/);
  await page.context().addCookies(cookies);
  expect((await page.request.get('/openapi/v1/balance')).status()).toBe(401);
  await page.goto('/console');
  await expect(page).toHaveURL(/sign-in/);
});

test('H8: the way back stays in the console', async ({ page, who }) => {
  for (const next of ['https://evil.example/', '//evil.example', '/console//evil.example', '/\\evil.example', 'javascript:alert(1)']) {
    await page.context().clearCookies();
    await page.goto(`/console/sign-in?next=${encodeURIComponent(next)}`);
    await page.getByLabel('E-mail address').fill(who.email);
    await page.getByRole('textbox', { name: 'Password' }).fill(who.password);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await expect(page, next).toHaveURL(/\/console$/);
  }
});

test('S4-8, S3-10, C21: prices are public, under every name', async ({ page }) => {
  for (const name of ['/docs/pricing', '/pricing', '/console/pricing']) {
    await page.goto(name);
    await expect(page, name).toHaveURL(/\/docs\/pricing$/);
  }
  await expect(page.getByRole('heading', { name: 'Pricing', level: 1 })).toBeVisible();
  await page.goto('/dashboard/models');
  await expect(page).toHaveURL(/\/console\/models$/);
  await expect(page.getByRole('row', { name: /^gpt-5-mini / })).toContainText('$0.25');
  await page.goto('/');
  await expect(page).toHaveURL(/sign-in/);
});

test('the tab order of the sign-in is that of the eye', async ({ page, who }) => {
  await page.goto('/console/sign-in');
  await expect(page.getByLabel('E-mail address')).toBeFocused();
  await page.keyboard.type(who.email);
  await page.keyboard.press('Tab');
  await page.keyboard.type(who.password);
  await page.keyboard.press('Enter');
  await expect(page.getByRole('heading', { name: 'Dashboard', level: 1 })).toBeVisible();
});
