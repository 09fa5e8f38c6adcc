/**
 * What was done with commands that the database does not know yet.
 *
 * A page that is left takes its unfinished transactions with it, and one may wait for its turn (another window writes,
 * the disk is slow) or be refused (the disk is full). Small storage takes its values at once. What is written here is
 * that of this window: it outlives a reload, and a duplicated window begins with a copy of it (commands keep their ids,
 * so that is harmless). What is to be deleted is that of all windows: whichever sends next, sends none of it.
 */

import type { Entry } from "../state/model";
import type { KeptValues } from "./storage";

/** As many as a page can have had on their way out of the database. */
const DROPPED_MAX = 200;

export class Ahead {
  private readonly given: string;
  private readonly gone: string;

  constructor(
    private readonly ofWindow: KeptValues,
    private readonly ofBrowser: KeptValues,
    user: string,
  ) {
    this.given = `chat.ahead.${user}`;
    this.gone = `chat.dropped.${user}`;
  }

  /** Commands to be written, in the order in which they were given. */
  entries(): readonly Entry[] {
    return read(this.ofWindow, this.given) as readonly Entry[];
  }

  /** Takes the place of what was noted of this command before. */
  note(entry: Entry): void {
    const entries = this.entries();
    const known = entries.some(({ id }) => id === entry.id);
    const noted = known ? entries.map((held) => (held.id === entry.id ? entry : held)) : [...entries, entry];
    write(this.ofWindow, this.given, noted);
  }

  forget(id: string): void {
    const entries = this.entries();
    if (entries.some((entry) => entry.id === id)) write(this.ofWindow, this.given, entries.filter((entry) => entry.id !== id));
  }

  /** Ids of commands to be deleted. */
  dropped(): readonly string[] {
    return read(this.ofBrowser, this.gone) as readonly string[];
  }

  drop(id: string): void {
    this.forget(id);
    write(this.ofBrowser, this.gone, [...this.dropped(), id].slice(-DROPPED_MAX));
  }

  isDropped(id: string): void {
    write(this.ofBrowser, this.gone, this.dropped().filter((held) => held !== id));
  }
}

function read(values: KeptValues, key: string): unknown {
  return JSON.parse(values.get(key) ?? "[]");
}

function write(values: KeptValues, key: string, held: readonly unknown[]): void {
  values.set(key, held.length === 0 ? null : JSON.stringify(held));
}
