/**
 * Commands that were given in this window and are not in the database yet.
 *
 * A page that is left takes its unfinished transactions with it, and one may wait for its turn (another window writes,
 * the disk is slow). The session storage of a window takes its values at once, and they outlive a reload.
 */

import type { Entry } from "../state/model";

export class Ahead {
  private readonly key: string;

  constructor(
    private readonly storage: Storage,
    user: string,
  ) {
    this.key = `chat.ahead.${user}`;
  }

  /** In the order in which they were given. */
  entries(): readonly Entry[] {
    return JSON.parse(this.storage.getItem(this.key) ?? "[]") as Entry[];
  }

  note(entry: Entry): void {
    this.write([...this.entries(), entry]);
  }

  forget(id: string): void {
    const entries = this.entries();
    if (entries.some((entry) => entry.id === id)) this.write(entries.filter((entry) => entry.id !== id));
  }

  private write(entries: readonly Entry[]): void {
    if (entries.length === 0) this.storage.removeItem(this.key);
    else this.storage.setItem(this.key, JSON.stringify(entries));
  }
}
