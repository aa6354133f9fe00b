import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import react from '@vitejs/plugin-react';
import { defineConfig, type Plugin } from 'vite';
import { docs } from './docs.plugin';

const out = 'dist/app';

// The binary carries every asset compressed, so that serving one costs a copy.
function compressed(): Plugin {
  return {
    name: 'compressed',
    apply: 'build',
    closeBundle() {
      const dir = join(out, 'assets');
      for (const name of readdirSync(dir)) {
        if (!/\.(js|css|svg|json)$/.test(name)) continue;
        const body = readFileSync(join(dir, name));
        writeFileSync(join(dir, `${name}.gz`), gzipSync(body, { level: 9 }));
        writeFileSync(join(dir, `${name}.br`), brotliCompressSync(body, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } }));
      }
    },
  };
}

const admin = process.env.RELAY_ADMIN_URL ?? 'http://127.0.0.1:8001';

export default defineConfig({
  base: '/console/',
  plugins: [react(), docs(), compressed()],
  build: {
    outDir: out,
    emptyOutDir: true,
    // An inlined file would be a data: URL, which the content policy does not allow for scripts and fonts.
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 800, // what counts is the budget that a test holds, compressed
  },
  server: {
    proxy: Object.fromEntries(['/console/api', '/openapi', '/admin/v1', '/openapi.json', '/status.json', '/v1/', '/public'].map((path) => [path, admin])),
  },
});
