/** IndexedDB as promises. */

export function opened(name: string, version: number, upgrade: (request: IDBOpenDBRequest, from: number) => void): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(name, version);
    request.onupgradeneeded = (event) => {
      upgrade(request, event.oldVersion);
    };
    request.onsuccess = () => {
      const { result } = request;
      // A window of a later version wants to change it; this one is to be loaded again then.
      result.onversionchange = () => {
        result.close();
      };
      resolve(result);
    };
    request.onerror = () => {
      reject(request.error ?? new Error(`the database ${name} could not be opened`));
    };
  });
}

export function done(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => {
      resolve();
    };
    // Of a request that fails the transaction knows only once it is aborted.
    transaction.onabort = () => {
      reject(transaction.error ?? new Error("the database refused a transaction"));
    };
  });
}
