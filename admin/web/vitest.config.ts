import { defineConfig } from 'vitest/config';

export default defineConfig({ test: { dir: 'unit', testTimeout: 30_000 } });
