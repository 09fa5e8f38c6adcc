/**
 * The service worker: lets the page start without a connection. The network comes first, always: what is kept is shown
 * only where the network gives no page. Each build has a store of its own, which replaces those of earlier builds.
 */

const worker = self as unknown as ServiceWorkerGlobalScope;

interface Build {
  /** Names the store: a hash of every file of the build. */
  readonly version: string;
  /** Paths below `/assets/`, whose names hold a hash of their content, and what the page needs beside. */
  readonly files: readonly string[];
}

// The build writes its files in here.
const BUILD = JSON.parse("__BUILD__") as Build;
const PREFIX = "chat-shell-";
const STORE = PREFIX + BUILD.version;
const PAGE = "/";

worker.addEventListener("install", (event) => {
  event.waitUntil(keepBuild());
});

worker.addEventListener("activate", (event) => {
  event.waitUntil(dropEarlier());
});

worker.addEventListener("fetch", (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  if (request.method !== "GET" || origin !== worker.location.origin) return;
  if (request.mode === "navigate" && pathname === PAGE) event.respondWith(page(request));
  else if (BUILD.files.includes(pathname)) event.respondWith(file(request));
});

/** All files or none; a page of another build (nodes are being replaced) is not taken for this one's. */
async function keepBuild(): Promise<void> {
  const answer = await fetch(new Request(PAGE, { cache: "reload" }));
  const html = await answer.clone().text();
  const scripts = BUILD.files.filter((path) => path.endsWith(".js"));
  if (!answer.ok || !scripts.some((path) => html.includes(path))) throw new Error("the page is of another build");
  const store = await caches.open(STORE);
  await store.addAll(BUILD.files);
  await store.put(PAGE, answer);
  await worker.skipWaiting();
}

async function dropEarlier(): Promise<void> {
  const names = await caches.keys();
  const earlier = names.filter((name) => name.startsWith(PREFIX) && name !== STORE);
  await Promise.all(earlier.map((name) => caches.delete(name)));
  await worker.clients.claim();
}

async function page(request: Request): Promise<Response> {
  const answer = await fetched(request);
  if (answer !== null && answer.status < 500) return answer;
  const store = await caches.open(STORE);
  return (await store.match(PAGE)) ?? answer ?? Response.error();
}

/** Its name holds a hash of its content, so the one that is kept is the one. */
async function file(request: Request): Promise<Response> {
  const store = await caches.open(STORE);
  return (await store.match(request.url)) ?? (await fetch(request));
}

async function fetched(request: Request): Promise<Response | null> {
  try {
    return await fetch(request);
  } catch (error) {
    if (error instanceof TypeError) return null;
    throw error;
  }
}
