/** What streams and polls share: rooms are followed by requests, commands are posted, all is heard in one place. */

import type { ServerFrame } from "../../protocol/events";
import type { CommandFrame } from "../../protocol/frames";
import { Relay } from "../../protocol/relay";
import type { End } from "../../state/ladder";
import type { Ears, Line } from "./line";
import { Posting } from "./posting";

export abstract class FallbackLine implements Line {
  protected readonly over = new AbortController();
  protected readonly relay = new Relay();
  private readonly posting: Posting;
  private due = false;

  constructor(protected readonly ears: Ears) {
    const said = {
      token: () => this.relay.token,
      frame: ears.frame,
      refused: (end: End) => { this.end(end); },
    };
    this.posting = new Posting(said, this.over.signal);
    queueMicrotask(() => {
      if (!this.over.signal.aborted) ears.opened();
    });
  }

  send(frame: CommandFrame): void {
    if (this.over.signal.aborted) return;
    if (!this.relay.takes(frame)) this.posting.send(frame);
    else if (!this.due) {
      this.due = true;
      // Rooms that are asked for in the same turn are followed by one request.
      queueMicrotask(() => {
        this.due = false;
        void this.listen();
      });
    }
  }

  close(): void {
    this.over.abort();
  }

  /** Asks for what the relay follows now, in place of what was asked for before. */
  protected abstract listen(): Promise<void>;

  protected end(end: End): void {
    if (this.over.signal.aborted) return;
    this.over.abort();
    this.ears.closed(end);
  }

  protected hear(frame: ServerFrame): void {
    for (const heard of this.relay.heard(frame)) this.ears.frame(heard);
  }
}
