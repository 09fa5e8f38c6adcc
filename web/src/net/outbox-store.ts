/** Where unsent commands outlive the page; all windows of the browser see the same. */

import type { Entry } from "../state/model";
import { Ahead } from "./ahead";
import { done, opened } from "./database";

export interface OutboxStore {
  /** Unsent commands of this person, in the order in which they were given. */
  load: () => Promise<readonly Entry[]>;
  /** Resolves once the entry is durable, with its place; null where nothing is kept. What is not there any more stays away. */
  keep: (entry: Entry) => Promise<number | null>;
  drop: (id: string) => Promise<void>;
}

/** Keeps nothing: for browsers that refuse a database (some private modes). */
export class ForgetfulStore implements OutboxStore {
  load(): Promise<readonly Entry[]> {
    return Promise.resolve([]);
  }
  keep(): Promise<null> {
    return Promise.resolve(null);
  }
  drop(): Promise<void> {
    return Promise.resolve();
  }
}

const DATABASE = "chat-outbox";
const STORE = "commands";
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
 * has not written yet outlives its reload.
 */
export class IndexedOutbox implements OutboxStore {
  private constructor(
    private readonly database: IDBDatabase,
    private readonly user: string,
    private readonly ahead: Ahead,
  ) {}

  static async open(user: string): Promise<IndexedOutbox> {
    const outbox = new IndexedOutbox(await opened(DATABASE, 2, upgrade), user, new Ahead(sessionStorage, user));
    await outbox.adopt();
    return outbox;
  }

  async load(): Promise<readonly Entry[]> {
    const transaction = this.database.transaction(STORE, "readonly");
    const request = transaction.objectStore(STORE).index("user").getAll(this.user) as IDBRequest<Row[]>;
    await done(transaction);
    return request.result.map(({ order, entry }) => ({ ...entry, order }));
  }

  async keep(entry: Entry): Promise<number | null> {
    if (entry.order !== null) return this.write(entry);
    try {
      this.ahead.note(entry);
    } catch (error) {
      // Full: it will be durable a little later.
      if (!(error instanceof DOMException)) throw error;
    }
    try {
      return await this.write(entry);
    } finally {
      this.ahead.forget(entry.id);
    }
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

  async drop(id: string): Promise<void> {
    this.ahead.forget(id);
    const transaction = this.database.transaction(STORE, "readwrite");
    const store = transaction.objectStore(STORE);
    const found = store.index("id").getKey([this.user, id]);
    found.onsuccess = () => {
      if (found.result !== undefined) store.delete(found.result);
    };
    await done(transaction);
  }

  /** Another window may have sent one meanwhile, so each counts as attempted. */
  private async adopt(): Promise<void> {
    for (const entry of this.ahead.entries()) {
      try {
        await this.write({ ...entry, marked: true });
      } catch (error) {
        // It was written after all.
        if (!(error instanceof DOMException) || error.name !== "ConstraintError") throw error;
      }
      this.ahead.forget(entry.id);
    }
  }
}

function upgrade({ result: database, transaction }: IDBOpenDBRequest, from: number): void {
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

/** The durable store where the browser has one, else the forgetful one. */
export async function openOutbox(user: string): Promise<OutboxStore> {
  try {
    return await IndexedOutbox.open(user);
  } catch (error) {
    if (error instanceof DOMException || error instanceof ReferenceError) return new ForgetfulStore();
    throw error;
  }
}
