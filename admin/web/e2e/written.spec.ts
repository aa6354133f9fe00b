import type { Page } from '@playwright/test';
import { change, chat, expect, shown, test, unique, visit } from './kit';
import { pages } from './pages';

// H1: what people write is text, wherever it is shown.
const payloads = [
  '<script>window.fired=1</script>', '<img src=x onerror=window.fired=1>', '<svg onload=window.fired=1>', '"><img src=x onerror=window.fired=1>', "'-window.fired=1-'",
  'javascript:window.fired=1', '<iframe srcdoc="<script>parent.fired=1</script>">', '<a href="javascript:window.fired=1">x</a>', '{{constructor.constructor("window.fired=1")()}}', '${window.fired=1}',
  '<details open ontoggle=window.fired=1>', '<math><mi xlink:href="javascript:window.fired=1">', '<body onload=window.fired=1>', '</title><script>window.fired=1</script>', '<style>@import"javascript:window.fired=1"</style>',
  '<input autofocus onfocus=window.fired=1>', '<video><source onerror=window.fired=1>', '<object data="javascript:window.fired=1">', '<embed src="javascript:window.fired=1">', '<form action="javascript:window.fired=1"><button>',
  '&lt;script&gt;window.fired=1&lt;/script&gt;', '\\u003cscript\\u003ewindow.fired=1', '%3Cscript%3Ewindow.fired=1', '<scr<script>ipt>window.fired=1</script>', '<ScRiPt>window.fired=1</sCrIpT>',
  '<img src="x" onerror="&#119;indow.fired=1">', '<template><script>window.fired=1</script></template>', '<noscript><img src=x onerror=window.fired=1></noscript>', '<marquee onstart=window.fired=1>', '<base href="https://evil.example/">',
  '<link rel=stylesheet href="https://evil.example/x.css">', '<meta http-equiv=refresh content="0;url=https://evil.example/">', '<img src="https://evil.example/x.png">', '`${window.fired=1}`', '__proto__', 'constructor', '=HYPERLINK("https://evil.example")', '<xmp><script>window.fired=1</script>', '--><script>window.fired=1</script>', ']]><script>window.fired=1</script>',
];

/** clean fails where something that was written ran, or tried to. */
async function clean(page: Page, where: string): Promise<void> {
  const seen = await page.evaluate(() => [(window as unknown as { fired?: number }).fired, (window as unknown as { refusals: string[] }).refusals]);
  expect(seen, where).toEqual([undefined, []]);
}

test('H1: 40 payloads in every field that can be written: none fires, nothing breaks the content policy', async ({ page, request, browser, baseURL, who }) => {
  test.setTimeout(400_000);
  expect(payloads).toHaveLength(40);
  await page.addInitScript(() => {
    const refusals: string[] = [];
    Object.assign(window, { refusals });
    document.addEventListener('securitypolicyviolation', (e) => refusals.push(`${e.effectiveDirective} ${e.blockedURI}`));
  });
  const send = await change(page);
  const run = unique();
  const kept = new Map<string, number>();
  // What may be refused is refused as a bad value, never as a fault of the server.
  const write = async (field: string, method: string, path: string, body: unknown): Promise<Record<string, unknown>> => {
    const r = await send(method, path, body);
    expect([200, 201, 400, 404], `${field}: ${r.status} ${r.text}`).toContain(r.status);
    kept.set(field, (kept.get(field) ?? 0) + (r.status < 300 ? 1 : 0));
    return r.data;
  };
  const all = async (field: string, method: string, path: string, body: (p: string, i: number) => unknown): Promise<void> => {
    for (let i = 0; i < payloads.length; i += 8) await Promise.all(payloads.slice(i, i + 8).map((p, j) => write(field, method, path, body(p, i + j))));
  };

  // Customers.
  await all('key', 'POST', '/openapi/v1/api-keys', (p) => ({ name: `${p} ${run}` }));
  for (const name of ['display_name', 'company', 'contact_email', 'billing_email', 'phone', 'country', 'timezone']) {
    await all(name, 'PATCH', '/openapi/v1/client/profile', (p) => ({ [name]: p }));
  }
  await all('conversation', 'POST', '/openapi/v1/conversations', (p, i) => ({ title: p, metadata: { [`note${i % 3}`]: p } }));
  await all('metadata name', 'POST', '/openapi/v1/conversations', (p) => ({ title: 'x', metadata: { [p]: p } }));
  await write('words', 'PATCH', '/openapi/v1/security/policy', { content_safety: { words: { list: payloads, action: 'flag' } } });
  await all('rollout', 'PATCH', '/openapi/v1/routing/policy', (p) => ({ rollout: { rules: [{ model: p, to: 'gpt-5-mini', percent: 1 }] } }));
  await all('region', 'PATCH', '/openapi/v1/routing/policy', (p) => ({ multi_region: { regions: [p] } }));
  await all('recipients', 'PATCH', '/openapi/v1/balance/config', (p) => ({ recipients: [`${p}@example.com`] }));
  for (let i = 0; i < payloads.length; i += 8) await Promise.all(payloads.slice(i, i + 8).map((p) => chat(request, who.key, p)));

  // Operators. Files of the catalogue are written whole: there all payloads go at once.
  await all('client', 'POST', '/admin/v1/clients', (p) => ({ name: `${p} ${run}` }));
  await all('note', 'POST', '/admin/v1/clients/client_1/credit', (p) => ({ amount: '1', note: p }));
  await all('voucher', 'POST', '/admin/v1/vouchers', (p) => ({ amount: '1', note: p }));
  const model = `hostile ${run}`;
  const provider = ((await send('GET', '/admin/v1/providers')).data.items as { name: string }[])[0]?.name;
  await write('model', 'POST', '/admin/v1/models', { id: model, tags: payloads, aliases: payloads.map((p) => `${p} ${run}`), routes: payloads.map((p, i) => ({ provider, upstream_model: p, region: payloads[39 - i] })), price: { input: '1', output: '1' } });
  await write('plain model', 'POST', '/admin/v1/models', { id: `m-${run}`, routes: payloads.map((p, i) => ({ provider, upstream_model: p, region: `r${i}` })), price: { input: '1', output: '1' } });
  await write('tags', 'PATCH', `/admin/v1/models/m-${run}`, { tags: payloads });
  await write('aliases', 'PATCH', `/admin/v1/models/m-${run}`, { aliases: payloads.map((p) => p + run) });
  await all('tag', 'PATCH', `/admin/v1/models/m-${run}`, (p) => ({ tags: [p] }));
  // Each is a change of the whole catalogue: the names have a test of their own.
  for (const p of payloads.filter((_, i) => i % 8 === 0)) await write('provider', 'POST', '/admin/v1/providers', { name: p, protocol: 'openai', base_url: p });
  // Only so many of an address are let in a while.
  await write('invitation', 'POST', '/admin/v1/invitations', { email: `${payloads[1]}@example.com`, role: 'support' });
  // A browser may call itself anything.
  for (const agent of [payloads.slice(0, 6).join(' '), payloads.slice(26, 31).join(' ')]) {
    const context = await browser.newContext({ baseURL, userAgent: agent, storageState: { cookies: [], origins: [] } });
    expect((await context.request.post('/console/api/session', { data: { email: who.email, password: who.password } })).status()).toBe(200);
    await context.close();
  }
  for (const field of ['key', 'display_name', 'company', 'conversation', 'words', 'client', 'note', 'voucher']) expect(kept.get(field), field).toBeGreaterThan(0);
  expect([kept.get('key'), kept.get('client'), kept.get('note'), kept.get('voucher')]).toEqual([40, 40, 40, 40]);

  for (const path of [...pages, '/console/logs?status=refused']) {
    await visit(page, path);
    await shown(page, path);
    if (path === '/console/api-keys') for (const p of payloads) await expect(page.getByText(`${p} ${run}`, { exact: true })).toBeVisible();
    await clean(page, path);
  }
  // What is behind a press, too.
  for (const [path, list] of [['/console/logs?status=refused', 'Logs'], ['/console/conversations', 'Conversations'], ['/console/operator/audit', 'Audit'], ['/console/operator/groups', 'Groups']] as const) {
    await visit(page, path);
    await page.getByRole('table', { name: list }).getByRole('row').nth(1).getByRole('button').first().click();
    await expect(page.getByRole('dialog')).toBeVisible();
    await clean(page, `${path}, opened`);
    await page.keyboard.press('Escape');
    await expect(page.getByRole('dialog')).toHaveCount(0);
  }
  await visit(page, '/console/operator/models');
  await page.getByRole('textbox', { name: 'Search' }).fill(run);
  await page.getByRole('table', { name: 'Models & routes' }).getByRole('row').nth(1).getByRole('button').first().click();
  await expect(page.getByRole('dialog').getByText(payloads[1]!, { exact: true }).first()).toBeVisible();
  await clean(page, 'a model and its routes');
  test.info().annotations.push({ type: 'kept', description: JSON.stringify([...kept]) });
  console.log(JSON.stringify([...kept]));

  // What others look at is as it was.
  for (const name of ['display_name', 'company', 'phone']) await send('PATCH', '/openapi/v1/client/profile', { [name]: '' });
  await send('PATCH', '/openapi/v1/security/policy', { content_safety: { words: { list: [] } } });
  await send('PATCH', '/openapi/v1/balance/config', { recipients: [] });
  for (const m of [model, `m-${run}`]) await send('DELETE', `/admin/v1/models/${encodeURIComponent(m)}`);
});

test('H1: 40 payloads as names of groups, providers and their keys: refused by the name, or shown as text', async ({ page }) => {
  test.setTimeout(200_000);
  await page.addInitScript(() => {
    const refusals: string[] = [];
    Object.assign(window, { refusals });
    document.addEventListener('securitypolicyviolation', (e) => refusals.push(`${e.effectiveDirective} ${e.blockedURI}`));
  });
  const send = await change(page);
  const key = `keys-${unique()}`;
  expect((await send('POST', '/admin/v1/providers', { name: key, protocol: 'openai', base_url: 'http://127.0.0.1:9/v1' })).status).toBe(201);
  const taken: Record<'group' | 'provider' | 'key', string[]> = { group: [], provider: [], key: [] };
  let said = 0;
  for (const p of payloads) {
    for (const [what, path, body] of [
      ['group', '/admin/v1/groups', { name: p }],
      ['provider', '/admin/v1/providers', { name: p, protocol: 'openai', base_url: 'http://127.0.0.1:9/v1' }],
      ['key', `/admin/v1/providers/${key}/keys`, { name: p, secret: 'sk-of-a-payload' }],
    ] as const) {
      const r = await send('POST', path, body);
      if (r.status === 201) taken[what].push(p);
      else {
        expect([r.status, r.text], `${what} ${p}`).toEqual([400, expect.stringMatching(/name/)]);
        said++;
      }
    }
  }
  console.log(JSON.stringify({ refused: said, ...taken }));
  // A name is a part of addresses: no payload with a sign of markup is one.
  for (const names of [taken.group, taken.provider]) expect(names.filter((n) => !/^[a-z0-9_-]+$/.test(n))).toEqual([]);
  expect(said + taken.group.length + taken.provider.length + taken.key.length).toBe(120);
  for (const [path, list, names] of [['/console/operator/groups', 'Groups', taken.group], ['/console/operator/providers', '', [...taken.provider, ...taken.key]]] as const) {
    await visit(page, path);
    await shown(page, path);
    for (const n of names) await expect(page.getByText(n, { exact: true }).first(), `${list} ${n}`).toBeVisible();
    await clean(page, path);
  }
  for (const n of taken.group) expect((await send('DELETE', `/admin/v1/groups/${encodeURIComponent(n)}`)).status).toBe(200);
});
