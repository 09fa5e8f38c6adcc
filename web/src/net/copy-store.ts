/** Where copies of visited rooms are kept, so that they can be read without a connection. */

import type { Copy } from "../state/copies";
import { COPIES } from "../state/copies";
import { done, opened } from "./database";

export interface CopyStore {
  load: () => Promise<readonly Copy[]>;
  keep: (copy: Copy, now: number) => Promise<void>;
  forget: (room: string) => Promise<void>;
  /** Everything of this person. */
  wipe: () => Promise<void>;
}

const DATABASE = "chat-copies";
const STORE = "rooms";

interface Row {
  readonly user: string;
  readonly room: string;
  readonly saved: number;
  readonly copy: Copy;
}

export class IndexedCopies implements CopyStore {
  constructor(
    private readonly database: IDBDatabase,
    private readonly user: string,
  ) {}

  async load(): Promise<readonly Copy[]> {
    const transaction = this.database.transaction(STORE, "readonly");
    const request = transaction.objectStore(STORE).index("saved").getAll(this.mine()) as IDBRequest<Row[]>;
    await done(transaction);
    return request.result.map((row) => row.copy);
  }

  /** Replaces the room's copy; the one that was kept longest ago makes way. */
  async keep(copy: Copy, now: number): Promise<void> {
    const transaction = this.database.transaction(STORE, "readwrite");
    const store = transaction.objectStore(STORE);
    store.put({ user: this.user, room: copy.id, saved: now, copy } satisfies Row);
    const keys = store.index("saved").getAllKeys(this.mine());
    keys.onsuccess = () => {
      for (const key of keys.result.slice(0, Math.max(0, keys.result.length - COPIES))) store.delete(key);
    };
    await done(transaction);
  }

  async forget(room: string): Promise<void> {
    const transaction = this.database.transaction(STORE, "readwrite");
    transaction.objectStore(STORE).delete([this.user, room]);
    await done(transaction);
  }

  async wipe(): Promise<void> {
    const transaction = this.database.transaction(STORE, "readwrite");
    const store = transaction.objectStore(STORE);
    const keys = store.index("saved").getAllKeys(this.mine());
    keys.onsuccess = () => {
      for (const key of keys.result) store.delete(key);
    };
    await done(transaction);
  }

  private mine(): IDBKeyRange {
    return IDBKeyRange.bound([this.user, 0], [this.user, Number.MAX_SAFE_INTEGER]);
  }
}

const NONE: CopyStore = {
  load: () => Promise.resolve([]),
  keep: () => Promise.resolve(),
  forget: () => Promise.resolve(),
  wipe: () => Promise.resolve(),
};

/** The store where the browser has one; else nothing is kept. */
export async function openCopies(user: string): Promise<CopyStore> {
  try {
    const database = await opened(DATABASE, 1, ({ result }) => {
      result.createObjectStore(STORE, { keyPath: ["user", "room"] }).createIndex("saved", ["user", "saved"]);
    });
    return new IndexedCopies(database, user);
  } catch (error) {
    if (error instanceof DOMException || error instanceof ReferenceError) return NONE;
    throw error;
  }
}
