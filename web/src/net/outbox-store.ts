/** Where unsent commands outlive the page. */

import type { Entry } from "../state/model";

export interface OutboxStore {
  /** Unsent commands of this person, in the order in which they were given. */
  load: () => Promise<readonly Entry[]>;
  /** Resolves once the entry is durable. */
  keep: (entry: Entry) => Promise<void>;
  drop: (id: string) => Promise<void>;
}

/** Keeps nothing: for browsers that refuse a database (some private modes). */
export class ForgetfulStore implements OutboxStore {
  load(): Promise<readonly Entry[]> {
    return Promise.resolve([]);
  }
  keep(): Promise<void> {
    return Promise.resolve();
  }
  drop(): Promise<void> {
    return Promise.resolve();
  }
}

const DATABASE = "chat-outbox";
const STORE = "entries";

interface Row {
  readonly user: string;
  readonly id: string;
  readonly order: number;
  readonly entry: Entry;
}

/** One database per origin, rows by person; a write is durable (flushed to disk) before it resolves. */
export class IndexedOutbox implements OutboxStore {
  private order: number;

  constructor(
    private readonly database: IDBDatabase,
    private readonly user: string,
    now: number,
  ) {
    // Later visits count on from a later time, so that order holds over reloads.
    this.order = now;
  }

  static open(user: string, now: number): Promise<IndexedOutbox> {
    return new Promise((resolve, reject) => {
      const request = indexedDB.open(DATABASE, 1);
      request.onupgradeneeded = () => {
        const store = request.result.createObjectStore(STORE, { keyPath: ["user", "id"] });
        store.createIndex("order", ["user", "order"]);
      };
      request.onsuccess = () => {
        resolve(new IndexedOutbox(request.result, user, now));
      };
      request.onerror = () => {
        reject(request.error ?? new Error("the outbox database could not be opened"));
      };
    });
  }

  async load(): Promise<readonly Entry[]> {
    const transaction = this.database.transaction(STORE, "readonly");
    const mine = IDBKeyRange.bound([this.user, 0], [this.user, Number.MAX_SAFE_INTEGER]);
    const request = transaction.objectStore(STORE).index("order").getAll(mine) as IDBRequest<Row[]>;
    await done(transaction);
    return request.result.map((row) => row.entry);
  }

  async keep(entry: Entry): Promise<void> {
    const transaction = this.database.transaction(STORE, "readwrite", { durability: "strict" });
    const store = transaction.objectStore(STORE);
    const held = store.get([this.user, entry.id]) as IDBRequest<Row | undefined>;
    held.onsuccess = () => {
      // A changed entry keeps its place.
      const order = held.result?.order ?? ++this.order;
      store.put({ user: this.user, id: entry.id, order, entry } satisfies Row);
    };
    await done(transaction);
  }

  async drop(id: string): Promise<void> {
    const transaction = this.database.transaction(STORE, "readwrite");
    transaction.objectStore(STORE).delete([this.user, id]);
    await done(transaction);
  }
}

function done(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => {
      resolve();
    };
    transaction.onabort = transaction.onerror = () => {
      reject(transaction.error ?? new Error("the outbox database refused a transaction"));
    };
  });
}

/** The durable store where the browser has one, else the forgetful one. */
export async function openOutbox(user: string, now: number): Promise<OutboxStore> {
  try {
    return await IndexedOutbox.open(user, now);
  } catch (error) {
    if (error instanceof DOMException || error instanceof ReferenceError) return new ForgetfulStore();
    throw error;
  }
}
