import dayjs from 'dayjs';
import 'dayjs/locale/zh-cn';
import i18n from 'i18next';
import { initReactI18next } from 'react-i18next';
import { en } from './locales/en';
import { zh } from './locales/zh';

export type Key = keyof typeof en;

declare module 'i18next' {
  interface CustomTypeOptions {
    defaultNS: 'translation';
    keySeparator: false;
    nsSeparator: false;
    resources: { translation: typeof en };
  }
}

const stored = 'relay.language';
export const languages = [
  { value: 'en', label: 'English' },
  { value: 'zh', label: '中文' },
];

function first(): string {
  const kept = localStorage.getItem(stored);
  if (kept === 'en' || kept === 'zh') return kept;
  return navigator.languages.some((l) => l.toLowerCase().startsWith('zh')) && !navigator.language.toLowerCase().startsWith('en') ? 'zh' : 'en';
}

function apply(language: string): void {
  document.documentElement.lang = language === 'zh' ? 'zh-CN' : 'en';
  dayjs.locale(language === 'zh' ? 'zh-cn' : 'en');
}

export async function startLanguage(): Promise<void> {
  const lng = first();
  apply(lng);
  await i18n.use(initReactI18next).init({
    lng,
    fallbackLng: 'en',
    resources: { en: { translation: en }, zh: { translation: zh } },
    keySeparator: false,
    nsSeparator: false,
    // React writes text nodes, never HTML.
    interpolation: { escapeValue: false },
  });
}

export function setLanguage(language: string): void {
  localStorage.setItem(stored, language);
  apply(language);
  void i18n.changeLanguage(language);
}
