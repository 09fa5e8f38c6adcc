import { decodeFrame, MalformedFrame } from "../../protocol/decode";
import { EventStream } from "../../protocol/event-stream";
import type { ServerFrame } from "../../protocol/events";
import type { Places } from "../../protocol/relay";
import type { End } from "../../state/ladder";
import { ask, endOf, refusalFor } from "./answer";
import { FallbackLine } from "./fallback";

/** The node sends something every 20 s; after so long without anything the stream is dead. */
const SILENCE_MS = 50_000;
/** URL and headers have to stay below 32 KiB together. */
const ADDRESS_MAX = 24_000;

/** A line that hears by a streaming `GET /v1/events` and speaks by POST. Other rooms begin another stream, then end this one. */
export class Stream extends FallbackLine {
  /** The stream that has been welcomed, and the one that is to follow it. */
  private current: AbortController | null = null;
  private next: AbortController | null = null;

  protected async listen(): Promise<void> {
    if (this.over.signal.aborted) return;
    this.next?.abort();
    const mine = new AbortController();
    this.next = mine;
    const address = addressOf(this.relay.following);
    const signal = AbortSignal.any([this.over.signal, mine.signal]);
    const request = { headers: { Accept: "text/event-stream" }, signal };
    const end = address === null ? {} : await this.follow(await ask(address, this.relay.token, request), mine);
    if (signal.aborted) return;
    if (this.next === mine && this.current !== null && end.status !== 401) this.stayWithout(end);
    else this.end(end);
  }

  /** The new stream could not begin while the one before goes on. */
  private stayWithout(end: End): void {
    this.next = null;
    for (const frame of this.relay.refused(refusalFor(end))) this.ears.frame(frame);
  }

  private async follow(response: Response | null, mine: AbortController): Promise<End> {
    if (response === null) return {};
    if (!response.ok || response.body === null) return endOf(response);
    const events = new EventStream();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const isOver = (): boolean => mine.signal.aborted || this.over.signal.aborted;
    let end: End = {};
    for (;;) {
      const piece = await pieceOf(reader);
      if (piece === null || isOver()) break;
      for (const data of events.take(piece)) {
        const frame = decoded(data);
        if (frame === "malformed") return {};
        if (frame?.type === "welcome") this.adopt(mine);
        // The last word of a stream.
        if (frame?.type === "error" && frame.id === undefined) {
          const named = frame.retry_after === undefined ? {} : { retryAfter: frame.retry_after * 1000 };
          end = { error: frame.code, ...named };
        } else if (frame !== null && !isOver()) {
          this.hear(frame);
        }
      }
    }
    await reader.cancel().catch(ignoreAbort);
    return end;
  }

  private adopt(mine: AbortController): void {
    if (this.next !== mine) return;
    this.current?.abort();
    this.current = mine;
    this.next = null;
  }
}

/** Null where it would be too long. */
function addressOf(places: Places): string | null {
  const rooms = Object.entries(places).map(([room, cursor]) => `room=${cursor === null ? room : `${room}:${cursor}`}`);
  const address = ["/v1/events", rooms.join("&")].filter((part) => part !== "").join("?");
  return address.length > ADDRESS_MAX ? null : address;
}

/** The next piece; null at the end, also by silence and when it was cut. */
async function pieceOf(reader: ReadableStreamDefaultReader<string>): Promise<string | null> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const silence = new Promise<null>((resolve) => {
    timer = setTimeout(() => { resolve(null); }, SILENCE_MS);
  });
  try {
    const piece = await Promise.race([reader.read(), silence]);
    return piece === null || piece.done ? null : piece.value;
  } catch (error) {
    ignoreAbort(error);
    return null;
  } finally {
    clearTimeout(timer);
  }
}

function ignoreAbort(error: unknown): void {
  if (!(error instanceof DOMException || error instanceof TypeError)) throw error;
}

function decoded(data: string): ServerFrame | null | "malformed" {
  try {
    return decodeFrame(data);
  } catch (error) {
    if (error instanceof MalformedFrame) return "malformed";
    throw error;
  }
}
