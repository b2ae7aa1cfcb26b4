import { defineConfig } from "vitest/config";

// The console sends `default-src 'self'`: nothing may end up inline, neither scripts nor data: addresses.
export default defineConfig({
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  // `AIOS_CONSOLE=https://127.0.0.1:8443 npm run dev` shows the pages from here with the API of a running appliance.
  server: {
    proxy: process.env.AIOS_CONSOLE ? { "/api": { target: process.env.AIOS_CONSOLE, secure: false } } : {},
  },
  test: {
    // Files that need a page say so: `@vitest-environment happy-dom`.
    environment: "node",
    include: ["src/**/*.test.{ts,tsx}"],
    restoreMocks: true,
  },
});
