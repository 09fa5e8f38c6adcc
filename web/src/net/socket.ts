/** A WebSocket carries frames; what they mean is decided elsewhere. */

import { decodeFrame, MalformedFrame } from "../protocol/decode";
import type { ServerFrame } from "../protocol/events";
import type { CommandFrame } from "../protocol/frames";

export interface SocketEars {
  readonly opened: () => void;
  readonly frame: (frame: ServerFrame) => void;
  readonly closed: (code: number) => void;
}

export class Socket {
  private readonly socket: WebSocket;
  private readonly silence = new AbortController();

  constructor(address: string, ears: SocketEars) {
    this.socket = new WebSocket(address, "chat.v1");
    const { signal } = this.silence;
    this.socket.addEventListener("open", ears.opened, { signal });
    this.socket.addEventListener(
      "close",
      (event) => {
        ears.closed(event.code);
      },
      { signal },
    );
    this.socket.addEventListener(
      "message",
      (event: MessageEvent<unknown>) => {
        const frame = this.decoded(event.data);
        if (frame === "malformed") {
          // What was lost is not known, so the room's cursor is the only way back.
          this.close();
          ears.closed(1002);
        } else if (frame !== null) ears.frame(frame);
      },
      { signal },
    );
  }

  send(frame: CommandFrame): void {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(frame));
  }

  /** After this nothing is heard from the socket any more. */
  close(): void {
    this.silence.abort();
    this.socket.close(1000);
  }

  private decoded(data: unknown): ServerFrame | null | "malformed" {
    if (typeof data !== "string") return "malformed";
    try {
      return decodeFrame(data);
    } catch (error) {
      if (error instanceof MalformedFrame) return "malformed";
      throw error;
    }
  }
}

/** Where the node that served this page listens. */
export function socketAddress(page: { readonly protocol: string; readonly host: string }): string {
  return `${page.protocol === "https:" ? "wss" : "ws"}://${page.host}/v1/ws`;
}
