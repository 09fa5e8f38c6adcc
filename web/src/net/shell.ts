/** Lets the page start without a connection, where the browser can do that (it takes TLS, or this machine). */
export async function keepShell(): Promise<void> {
  const { serviceWorker } = navigator as { readonly serviceWorker?: ServiceWorkerContainer };
  if (serviceWorker === undefined) return;
  try {
    await serviceWorker.register("/worker.js");
  } catch (error) {
    // Not reachable now, or not allowed here: the page works without it.
    if (!(error instanceof TypeError || error instanceof DOMException)) throw error;
  }
}
