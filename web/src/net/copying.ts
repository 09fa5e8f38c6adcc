/** Writes copies of rooms: the first at once, later ones soon after a change, several changes at once. */

import type { Copy } from "../state/copies";
import type { CopyStore } from "./copy-store";

const SOON_MS = 500;

export class Copying {
  private readonly due = new Map<string, ReturnType<typeof setTimeout>>();
  private readonly written = new Set<string>();

  constructor(
    private readonly store: CopyStore,
    private readonly copy: (room: string) => Copy | null,
  ) {}

  soon(room: string): void {
    if (this.due.has(room)) return;
    this.due.set(room, setTimeout(() => { this.write(room); }, this.written.has(room) ? SOON_MS : 0));
  }

  forget(room: string): void {
    clearTimeout(this.due.get(room));
    this.due.delete(room);
    this.written.delete(room);
    void this.store.forget(room).catch(ignoreRefusal);
  }

  /** The page may be gone at any moment. */
  flush(): void {
    for (const room of [...this.due.keys()]) this.write(room);
  }

  stop(): void {
    for (const timer of this.due.values()) clearTimeout(timer);
    this.due.clear();
  }

  private write(room: string): void {
    clearTimeout(this.due.get(room));
    this.due.delete(room);
    const copy = this.copy(room);
    if (copy === null) return;
    this.written.add(room);
    void this.store.keep(copy, Date.now()).catch(ignoreRefusal);
  }
}

/** A full or lost database means: no copy. */
function ignoreRefusal(error: unknown): void {
  if (!(error instanceof DOMException)) throw error;
}
