import { defineConfig } from '@playwright/test';
import config from './playwright.config';

// How quick the console is over many calls, ROWS of them (200,000), on a relay of its own.
export default defineConfig({ ...config, testDir: 'big', workers: 1 });
