import { defineConfig } from '@playwright/test';
import config from './playwright.config';

// Pictures of the pages for the documentation, by the same relay as the tests: make screenshots.
export default defineConfig({ ...config, testDir: 'shots', timeout: 180_000 });
