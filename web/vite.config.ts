import { defineConfig } from "vitest/config";

const node = "http://127.0.0.1:8080";

export default defineConfig({
  base: "/",
  build: {
    outDir: "../chatnode/static",
    emptyOutDir: true,
    assetsDir: "assets",
    // The node's Content-Security-Policy allows no data: addresses.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
  },
  server: { host: "127.0.0.1", proxy: { "/v1": { target: node, ws: true } } },
  test: { include: ["test/**/*.test.ts"], environment: "node", css: true },
});
