// The end of a run: a short text, the numbers as JSON, and a page to look at. The folder
// is OUT (default: the current one).

const escape = (s) => String(s).replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c]);

function show(v) {
  if (typeof v !== 'number') return String(v);
  return Number.isInteger(v) ? String(v) : v.toFixed(Math.abs(v) < 10 ? 3 : 1);
}

function rows(data) {
  const list = [];
  for (const name of Object.keys(data.metrics).sort()) {
    const m = data.metrics[name];
    const limits = Object.entries(m.thresholds || {}).map(([text, t]) => ({ text, ok: t.ok }));
    if (!limits.length && !/^(http_reqs|http_req_duration|http_req_failed|checks|iterations|dropped_iterations|sse_\w+|relay_\w+)$/.test(name)) continue;
    list.push({ name, type: m.type, values: m.values, limits });
  }
  return list;
}

function checks(group, out = []) {
  for (const c of group.checks || []) out.push({ name: c.name, passes: c.passes, fails: c.fails });
  for (const g of group.groups || []) checks(g, out);
  return out;
}

function text(name, data) {
  let s = `\n${name}\n`;
  for (const r of rows(data)) {
    const v = Object.entries(r.values).map(([k, x]) => `${k} ${show(x)}`).join('  ');
    s += `  ${r.name}: ${v}\n`;
    for (const l of r.limits) s += `    ${l.ok ? 'ok  ' : 'MISSED'} ${l.text}\n`;
  }
  for (const c of checks(data.root_group)) s += `  ${c.fails ? 'FAILED' : 'ok    '} ${c.name}: ${c.passes} of ${c.passes + c.fails}\n`;
  return s;
}

function page(name, data) {
  const metric = (r) => `<tr><td>${escape(r.name)}<td>${Object.entries(r.values).map(([k, x]) => `<b>${escape(k)}</b> ${show(x)}`).join(' &nbsp; ')}<td>` +
    r.limits.map((l) => `<span class=${l.ok ? 'ok' : 'no'}>${escape(l.text)}</span>`).join('<br>');
  const check = (c) => `<tr><td>${escape(c.name)}<td>${c.passes} of ${c.passes + c.fails}<td><span class=${c.fails ? 'no' : 'ok'}>${c.fails ? 'failed' : 'ok'}</span>`;
  return `<!doctype html><html lang=en><meta charset=utf-8><title>${escape(name)}</title><style>body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}` +
    `table{border-collapse:collapse;width:100%;margin:1rem 0}td,th{border-bottom:1px solid #ddd;padding:.3rem .6rem;text-align:left;vertical-align:top}.ok{color:#17692f}.no{color:#b3261e;font-weight:600}</style>` +
    `<h1>${escape(name)}</h1><p>${(data.state.testRunDurationMs / 1000).toFixed(1)} s against ${escape(__ENV.BASE_URL || 'http://127.0.0.1:8000')}. Times in milliseconds.</p>` +
    `<table><tr><th>metric<th>values<th>thresholds${rows(data).map(metric).join('')}</table><table><tr><th>check<th>passed<th>${checks(data.root_group).map(check).join('')}</table></html>\n`;
}

// summary is handleSummary of a script of that name.
export function summary(name) {
  return (data) => {
    const at = `${__ENV.OUT || '.'}/${name}`;
    return { stdout: text(name, data), [`${at}.json`]: JSON.stringify(data, null, 1) + '\n', [`${at}.html`]: page(name, data) };
  };
}

export const trendStats = ['med', 'p(95)', 'p(99)', 'max'];
