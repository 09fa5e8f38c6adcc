import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

const node = "http://127.0.0.1:8080";
const WORKER = "worker.js";

/** Writes into the service worker which files this build consists of. */
function listBuild(): Plugin {
  return {
    name: "list-build",
    enforce: "post",
    async generateBundle(_options, bundle) {
      const worker = bundle[WORKER];
      if (worker?.type !== "chunk") throw new Error(`the build has no ${WORKER}`);
      const texts = Object.entries(bundle).map(([name, file]) => `${name}\n${file.type === "chunk" ? file.code : String(file.source)}`);
      const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(texts.sort().join("\n"))));
      const version = [...hash.slice(0, 8)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
      const files = Object.keys(bundle).filter((name) => name.startsWith("assets/")).map((name) => `/${name}`);
      const build = JSON.stringify({ version, files: files.sort() });
      const place = /(["'`])__BUILD__\1/;
      if (!place.test(worker.code)) throw new Error(`${WORKER} has no place for the build's files`);
      worker.code = worker.code.replace(place, () => JSON.stringify(build));
    },
  };
}

export default defineConfig({
  base: "/",
  plugins: [listBuild()],
  build: {
    outDir: "../chatnode/static",
    emptyOutDir: true,
    assetsDir: "assets",
    // The node's Content-Security-Policy allows no data: addresses.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
    rolldownOptions: {
      input: { main: "index.html", worker: "src/shell/worker.ts" },
      output: { entryFileNames: ({ name }) => (name === "worker" ? WORKER : "assets/[name]-[hash].js") },
    },
  },
  server: { host: "127.0.0.1", proxy: { "/v1": { target: node, ws: true } } },
  test: { include: ["test/**/*.test.ts"], environment: "node", css: true },
});
