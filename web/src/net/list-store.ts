/** Where the list of rooms is kept, so that it can be read without a connection, and without a database. */

import type { KeptRoom } from "../state/list";
import type { KeptValues } from "./storage";

/** What is kept in another shape is not read. */
const PREFIX = "chat.rooms.1.";
const SOON_MS = 1_000;

export class ListStore {
  private readonly key: string;
  private due: ReturnType<typeof setTimeout> | null = null;

  constructor(
    private readonly values: KeptValues,
    user: string,
  ) {
    this.key = PREFIX + user;
  }

  load(): readonly KeptRoom[] {
    return JSON.parse(this.values.get(this.key) ?? "[]") as KeptRoom[];
  }

  /** Writes what `rooms` says then; several changes at once. */
  soon(rooms: () => readonly KeptRoom[]): void {
    this.due ??= setTimeout(() => { this.write(rooms); }, SOON_MS);
  }

  /** The page may be gone at any moment. */
  flush(rooms: () => readonly KeptRoom[]): void {
    if (this.due !== null) this.write(rooms);
  }

  stop(): void {
    if (this.due !== null) clearTimeout(this.due);
    this.due = null;
  }

  /** Everything of this person. */
  wipe(): void {
    this.stop();
    this.values.set(this.key, null);
  }

  private write(rooms: () => readonly KeptRoom[]): void {
    this.stop();
    this.values.set(this.key, JSON.stringify(rooms()));
  }
}
