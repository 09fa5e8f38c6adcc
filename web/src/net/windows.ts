/** The windows of one person in this browser: what they say to each other, and which of them sends. */

import type { Word } from "../state/actions";

export interface Windows {
  readonly tell: (word: Word) => void;
  /** Waits in line for the lead; `taken` is called when it is this window's turn, which lasts until it gives it or is gone. */
  readonly lead: (taken: () => void) => void;
  readonly giveLead: () => void;
  readonly leave: () => void;
}

const PREFIX = "chat.outbox.2.";

/**
 * A BroadcastChannel, and a Web Lock for the lead: the browser passes it on when the window that has it is closed or
 * crashes. Where there are no locks (pages without TLS, or that may keep nothing) every window leads; commands keep their
 * ids, so that is harmless.
 */
export class BrowserWindows implements Windows {
  private readonly channel: BroadcastChannel;
  private readonly gone = new AbortController();
  private release: () => void = () => undefined;
  private readonly name: string;

  constructor(user: string, hear: (word: Word) => void) {
    this.name = PREFIX + user;
    this.channel = new BroadcastChannel(this.name);
    this.channel.addEventListener("message", (event: MessageEvent<Word>) => {
      hear(event.data);
    });
  }

  tell(word: Word): void {
    if (!this.gone.signal.aborted) this.channel.postMessage(word);
  }

  lead(taken: () => void): void {
    const { locks } = navigator as { readonly locks?: LockManager };
    if (locks === undefined) taken();
    else void this.wait(locks, taken);
  }

  giveLead(): void {
    this.release();
  }

  leave(): void {
    this.gone.abort();
    this.release();
    this.channel.close();
  }

  private async wait(locks: LockManager, taken: () => void): Promise<void> {
    try {
      await locks.request(this.name, { signal: this.gone.signal }, () => {
        const held = new Promise<void>((resolve) => {
          this.release = resolve;
        });
        taken();
        return held;
      });
    } catch (error) {
      if (!(error instanceof DOMException)) throw error;
      if (error.name === "SecurityError") taken();
      else if (error.name !== "AbortError") throw error;
    }
  }
}
