/**
 * Small values that the browser keeps for a window or for itself.
 *
 * It may refuse: pages that may keep nothing (blocked cookies) cannot even name the storage, and it may be full. What it
 * refuses lasts as long as the page.
 */

export class KeptValues {
  private readonly refused = new Map<string, string | null>();

  constructor(private readonly storage: () => Storage) {}

  get(key: string): string | null {
    const held = this.refused.get(key);
    if (held !== undefined) return held;
    try {
      return this.storage().getItem(key);
    } catch (error) {
      return ignoreRefusal(error);
    }
  }

  /** Null removes it. */
  set(key: string, value: string | null): void {
    this.refused.delete(key);
    try {
      if (value === null) this.storage().removeItem(key);
      else this.storage().setItem(key, value);
    } catch (error) {
      ignoreRefusal(error);
      this.refused.set(key, value);
    }
  }
}

/** Of this window: outlives a reload. */
export const ofWindow = new KeptValues(() => sessionStorage);
/** Of all windows of this browser. */
export const ofBrowser = new KeptValues(() => localStorage);

function ignoreRefusal(error: unknown): null {
  if (!(error instanceof DOMException)) throw error;
  return null;
}
