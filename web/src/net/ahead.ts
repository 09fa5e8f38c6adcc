/**
 * What this window has done with commands that the database does not know yet.
 *
 * A page that is left takes its unfinished transactions with it, and one may wait for its turn (another window writes,
 * the disk is slow) or be refused (the disk is full). The session storage of a window takes its values at once, and they
 * outlive a reload. A duplicated window begins with a copy of them: commands keep their ids, so that is harmless.
 */

import type { Entry } from "../state/model";
import type { KeptValues } from "./storage";

/** As many as a page can have had on their way out of the database. */
const DROPPED_MAX = 200;

export class Ahead {
  private readonly given: string;
  private readonly gone: string;

  constructor(
    private readonly values: KeptValues,
    user: string,
  ) {
    this.given = `chat.ahead.${user}`;
    this.gone = `chat.dropped.${user}`;
  }

  /** Commands to be written, in the order in which they were given. */
  entries(): readonly Entry[] {
    return JSON.parse(this.read(this.given)) as Entry[];
  }

  /** Takes the place of what was noted of this command before. */
  note(entry: Entry): void {
    const entries = this.entries();
    const known = entries.some(({ id }) => id === entry.id);
    this.write(this.given, known ? entries.map((held) => (held.id === entry.id ? entry : held)) : [...entries, entry]);
  }

  forget(id: string): void {
    const entries = this.entries();
    if (entries.some((entry) => entry.id === id)) this.write(this.given, entries.filter((entry) => entry.id !== id));
  }

  /** Ids of commands to be deleted. */
  dropped(): readonly string[] {
    return JSON.parse(this.read(this.gone)) as string[];
  }

  drop(id: string): void {
    this.forget(id);
    this.write(this.gone, [...this.dropped(), id].slice(-DROPPED_MAX));
  }

  isDropped(id: string): void {
    this.write(this.gone, this.dropped().filter((held) => held !== id));
  }

  private read(key: string): string {
    return this.values.get(key) ?? "[]";
  }

  private write(key: string, held: readonly unknown[]): void {
    this.values.set(key, held.length === 0 ? null : JSON.stringify(held));
  }
}
