import i18n from 'i18next';

const locale = (): string => i18n.resolvedLanguage ?? 'en';

export const count = (n: number): string => new Intl.NumberFormat(locale()).format(n);

/** short is a count with a unit: 12.3K */
export const short = (n: number): string => new Intl.NumberFormat(locale(), { notation: 'compact', maximumFractionDigits: 1 }).format(n);

/** tokens is a context length: 128K, 1M. */
export function tokens(n: number): string {
  if (n <= 0) return '–';
  if (n >= 1_000_000) return `${Math.round(n / 100_000) / 10}M`;
  if (n >= 1_000) return `${Math.round(n / 1000)}K`;
  return String(n);
}

export function moment(text: string): string {
  return new Intl.DateTimeFormat(locale(), { year: 'numeric', month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false }).format(new Date(text));
}

export function day(text: string): string {
  return new Intl.DateTimeFormat(locale(), { year: 'numeric', month: 'short', day: 'numeric' }).format(new Date(text));
}

/** utcDay is the label of a day of the books, which are kept in UTC. */
export function utcDay(text: string): string {
  return new Intl.DateTimeFormat(locale(), { month: 'short', day: 'numeric', timeZone: 'UTC' }).format(new Date(text));
}

export function month(text: string): string {
  return new Intl.DateTimeFormat(locale(), { year: 'numeric', month: 'long', timeZone: 'UTC' }).format(new Date(`${text}-01T00:00:00Z`));
}

export function duration(ms: number): string {
  if (ms < 1000) return `${ms} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
  return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
}

export function percent(part: number, whole: number): string {
  if (whole === 0) return '–';
  const p = (part / whole) * 100;
  return `${p === 100 ? '100' : Math.min(p, 99.99).toFixed(p >= 99 ? 2 : 1)}%`;
}
