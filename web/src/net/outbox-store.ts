/** Where unsent commands outlive the page; all windows of the browser see the same. */

import type { Entry } from "../state/model";
import { Ahead } from "./ahead";
import { done, opened } from "./database";
import { ofBrowser, ofWindow } from "./storage";

export interface OutboxStore {
  /** Ids of commands that the page before this one in this window may have told no other window of. */
  readonly untold: readonly string[];
  /** Unsent commands of this person, in the order in which they were given. */
  load: () => Promise<readonly Entry[]>;
  /** Resolves once the entry is durable, with its place; null where nothing is kept. What is not there any more stays away. */
  keep: (entry: Entry) => Promise<number | null>;
  drop: (id: string) => Promise<void>;
}

/** For browsers that refuse a database (some private modes): lasts as long as its window. */
export class WindowOutbox implements OutboxStore {
  readonly untold: readonly string[];

  constructor(private readonly ahead: Ahead) {
    this.untold = idsOf(ahead.entries());
  }

  load(): Promise<readonly Entry[]> {
    return Promise.resolve(this.ahead.entries().map(attempted));
  }

  keep(entry: Entry): Promise<null> {
    this.ahead.note(entry);
    return Promise.resolve(null);
  }

  drop(id: string): Promise<void> {
    this.ahead.forget(id);
    return Promise.resolve();
  }
}

const DATABASE = "chat-outbox";
const STORE = "commands";
/** Ids of commands that were here and are not any more, so that nobody brings one of them back. */
const DONE = "done";
/** As many as can have been on their way while a window was loaded again. */
const DONE_MAX = 500;
/** Rows of version 1, which numbered them per window. */
const FORMER = "entries";

interface Row {
  readonly user: string;
  readonly id: string;
  /** Given by the database: one count for all windows. */
  readonly order: number;
  readonly entry: Entry;
}

/**
 * One database per origin, rows by person; a write is durable (flushed to disk) before it resolves. What this window
 * has not written yet, or could not, outlives its reload.
 */
export class IndexedOutbox implements OutboxStore {
  readonly untold: readonly string[];

  private constructor(
    private readonly database: IDBDatabase,
    private readonly user: string,
    private readonly ahead: Ahead,
  ) {
    this.untold = idsOf(ahead.entries());
  }

  static async open(user: string, ahead: Ahead): Promise<IndexedOutbox> {
    const outbox = new IndexedOutbox(await opened(DATABASE, 3, upgrade), user, ahead);
    await outbox.adopt();
    return outbox;
  }

  async load(): Promise<readonly Entry[]> {
    const transaction = this.database.transaction(STORE, "readonly");
    const request = transaction.objectStore(STORE).index("user").getAll(this.user) as IDBRequest<Row[]>;
    await done(transaction);
    const marked = new Set(this.ahead.entries().flatMap((entry) => (entry.marked ? [entry.id] : [])));
    const rows = request.result.map(({ order, entry }) => ({ ...entry, order, marked: entry.marked || marked.has(entry.id) }));
    const known = new Set(rows.map(({ id }) => id));
    const dropped = new Set(this.ahead.dropped());
    const refused = this.ahead.entries().filter(({ id }) => !known.has(id));
    return [...rows.filter(({ id }) => !dropped.has(id)), ...refused.map(attempted)];
  }

  async keep(entry: Entry): Promise<number | null> {
    if (entry.order === null) this.ahead.note(entry);
    try {
      const order = await this.write(entry);
      this.ahead.forget(entry.id);
      return order;
    } catch (error) {
      // It is sent all the same.
      this.ahead.note(attempted(entry));
      throw error;
    }
  }

  async drop(id: string): Promise<void> {
    this.ahead.drop(id);
    await this.remove(id);
    this.ahead.isDropped(id);
  }

  private async write(entry: Entry): Promise<number | null> {
    const transaction = this.database.transaction(STORE, "readwrite", { durability: "strict" });
    const store = transaction.objectStore(STORE);
    const row = { user: this.user, id: entry.id, entry };
    let { order } = entry;
    if (order === null) {
      const added = store.add(row) as IDBRequest<number>;
      added.onsuccess = () => {
        order = added.result;
      };
      transaction.commit();
    } else {
      const place = order;
      const held = store.getKey(place);
      held.onsuccess = () => {
        if (held.result !== undefined) store.put({ ...row, order: place });
      };
    }
    await done(transaction);
    return order;
  }

  private async remove(id: string): Promise<void> {
    const transaction = this.database.transaction([STORE, DONE], "readwrite");
    const store = transaction.objectStore(STORE);
    const found = store.index("id").getKey([this.user, id]);
    found.onsuccess = () => {
      if (found.result !== undefined) store.delete(found.result);
    };
    const gone = transaction.objectStore(DONE);
    const noted = gone.add({ user: this.user, id }) as IDBRequest<number>;
    noted.onsuccess = () => {
      gone.delete(IDBKeyRange.upperBound(noted.result - DONE_MAX));
    };
    await done(transaction);
  }

  /** Writes what the page before noted and did not write; what was here already gets its mark, or stays away. */
  private async adoptOne(entry: Entry): Promise<void> {
    const key = [this.user, entry.id];
    const transaction = this.database.transaction([STORE, DONE], "readwrite", { durability: "strict" });
    const store = transaction.objectStore(STORE);
    const held = store.index("id").get(key) as IDBRequest<Row | undefined>;
    const gone = transaction.objectStore(DONE).index("id").getKey(key);
    gone.onsuccess = () => {
      const row = held.result;
      if (row !== undefined && entry.marked) store.put({ ...row, entry: attempted(row.entry) });
      else if (row === undefined && gone.result === undefined) store.add({ user: this.user, id: entry.id, entry });
    };
    await done(transaction);
  }

  /** Does what the page before did not come to. What is refused (the disk is full) stays noted. */
  private async adopt(): Promise<void> {
    try {
      for (const id of this.ahead.dropped()) {
        await this.remove(id);
        this.ahead.isDropped(id);
      }
      for (const entry of this.ahead.entries()) {
        await this.adoptOne(entry);
        this.ahead.forget(entry.id);
      }
    } catch (error) {
      if (!(error instanceof DOMException)) throw error;
    }
  }
}

function idsOf(entries: readonly Entry[]): readonly string[] {
  return entries.map(({ id }) => id);
}

/** Another window may have sent it meanwhile. */
function attempted(entry: Entry): Entry {
  return { ...entry, marked: true };
}

function upgrade({ result: database, transaction }: IDBOpenDBRequest, from: number): void {
  database.createObjectStore(DONE, { autoIncrement: true }).createIndex("id", ["user", "id"]);
  if (from === 2) return;
  const store = database.createObjectStore(STORE, { keyPath: "order", autoIncrement: true });
  store.createIndex("user", "user");
  store.createIndex("id", ["user", "id"], { unique: true });
  if (from !== 1 || transaction === null) return;
  const former = transaction.objectStore(FORMER).index("order").getAll() as IDBRequest<Row[]>;
  former.onsuccess = () => {
    for (const { user, id, entry } of former.result) store.add({ user, id, entry: { ...entry, marked: true } });
    database.deleteObjectStore(FORMER);
  };
}

/** The durable store where the browser has one, else one that lasts as long as the window. */
export async function openOutbox(user: string): Promise<OutboxStore> {
  const ahead = new Ahead(ofWindow, ofBrowser, user);
  try {
    return await IndexedOutbox.open(user, ahead);
  } catch (error) {
    if (error instanceof DOMException || error instanceof ReferenceError) return new WindowOutbox(ahead);
    throw error;
  }
}
