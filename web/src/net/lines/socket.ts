import { decodeFrame, MalformedFrame } from "../../protocol/decode";
import type { ServerFrame } from "../../protocol/events";
import type { CommandFrame } from "../../protocol/frames";
import type { Ears, Line } from "./line";

/** Close codes that stand for "there was none" (RFC 6455, 7.1.5). */
const NONE = [1005, 1006];

/** A line over one WebSocket. */
export class Socket implements Line {
  private readonly socket: WebSocket;
  private readonly silence = new AbortController();

  constructor(address: string, ears: Ears) {
    this.socket = new WebSocket(address, "chat.v1");
    const { signal } = this.silence;
    this.socket.addEventListener("open", ears.opened, { signal });
    this.socket.addEventListener(
      "close",
      ({ code }) => {
        ears.closed(NONE.includes(code) ? {} : { code });
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
          ears.closed({});
        } else if (frame !== null) ears.frame(frame);
      },
      { signal },
    );
  }

  send(frame: CommandFrame): void {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(frame));
  }

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
