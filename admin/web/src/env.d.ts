/// <reference types="vite/client" />

declare module '@tabler/icons-react/dist/esm/icons/*.mjs' {
  import type { Icon } from '@tabler/icons-react';
  const icon: Icon;
  export default icon;
}

declare module 'virtual:docs' {
  export interface Meta {
    slug: string;
    title: string;
    section: string;
    summary: string;
    order: number;
  }
  export interface Heading {
    id: string;
    text: string;
    level: number;
  }
  export interface Article {
    html: string;
    headings: Heading[];
    updated: string;
  }
  export interface Section {
    page: string;
    pageTitle: string;
    id: string;
    title: string;
    text: string;
  }
  export const index: Record<'en' | 'zh', Meta[]>;
  export const pages: Record<string, () => Promise<{ default: Article }>>;
  export const search: Record<'en' | 'zh', () => Promise<{ default: Section[] }>>;
}
