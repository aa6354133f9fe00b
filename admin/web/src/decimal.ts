// Amounts arrive as decimal strings and are shown as such: nothing here goes through a
// binary floating point number, except for the heights of bars.

const pattern = /^(-?)(\d+)(?:\.(\d+))?$/;

interface Parts {
  negative: boolean;
  whole: string;
  fraction: string;
}

function parts(text: string): Parts {
  const m = pattern.exec(text);
  if (!m) throw new Error(`not a decimal number: ${text}`);
  return { negative: m[1] === '-', whole: m[2] ?? '0', fraction: m[3] ?? '' };
}

/** isDecimal tells whether a text is a plain decimal number with at most `places` places. */
export function isDecimal(text: string, places = 9): boolean {
  const m = pattern.exec(text);
  return m !== null && (m[3] ?? '').length <= places && (m[2] ?? '').length <= 12;
}

function scaled(text: string, places: number): bigint {
  const { negative, whole, fraction } = parts(text);
  const n = BigInt(whole + fraction.padEnd(places, '0'));
  return negative ? -n : n;
}

function unscaled(n: bigint, places: number): string {
  const negative = n < 0n;
  const digits = (negative ? -n : n).toString().padStart(places + 1, '0');
  const fraction = digits.slice(digits.length - places).replace(/0+$/, '');
  const whole = places === 0 ? digits : digits.slice(0, digits.length - places);
  return `${negative ? '-' : ''}${whole}${places > 0 && fraction !== '' ? `.${fraction}` : ''}`;
}

/** add is the exact sum. */
export function add(...list: string[]): string {
  const places = Math.max(0, ...list.map((t) => parts(t).fraction.length));
  return unscaled(list.reduce((sum, t) => sum + scaled(t, places), 0n), places);
}

export function subtract(a: string, b: string): string {
  return add(a, b.startsWith('-') ? b.slice(1) : `-${b}`);
}

/** times multiplies exactly by a whole number. */
export function times(a: string, n: number): string {
  const places = parts(a).fraction.length;
  return unscaled(scaled(a, places) * BigInt(n), places);
}

export function compare(a: string, b: string): number {
  const places = Math.max(parts(a).fraction.length, parts(b).fraction.length);
  const d = scaled(a, places) - scaled(b, places);
  return d < 0n ? -1 : d > 0n ? 1 : 0;
}

export const isZero = (a: string): boolean => /^-?0*(\.0*)?$/.test(a);

/** share is a / b in percent with one place, rounded down; for bars and hints only. */
export function share(a: string, b: string): number {
  if (isZero(b)) return 0;
  const places = Math.max(parts(a).fraction.length, parts(b).fraction.length);
  return Number((scaled(a, places) * 1000n) / scaled(b, places)) / 10;
}

/** height is a number close to the amount: for geometry, never to be read. */
export const height = (a: string): number => Number(a);

export interface Written {
  sign: string;
  whole: string;
  /** the places that everybody reads */
  cents: string;
  /** the places behind them, without trailing zeros */
  rest: string;
}

/** written splits an amount for display: nothing is rounded away. */
export function written(text: string): Written {
  const { negative, whole, fraction } = parts(text);
  const kept = fraction.replace(/0+$/, '').padEnd(2, '0');
  return {
    sign: negative && !isZero(text) ? '−' : '',
    whole: whole.replace(/^0+(?=\d)/, '').replace(/\B(?=(\d{3})+$)/g, ','),
    cents: kept.slice(0, 2),
    rest: kept.slice(2),
  };
}

/** usd is an amount in one piece: −$1,234.50 */
export function usd(text: string): string {
  const w = written(text);
  return `${w.sign}$${w.whole}.${w.cents}${w.rest}`;
}
