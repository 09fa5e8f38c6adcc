import { decodeFrame, MalformedFrame } from "../../protocol/decode";
import type { Places } from "../../protocol/relay";
import { ask, endOf, jsonOf, posted } from "./answer";
import { FallbackLine } from "./fallback";

/** A poll is answered within 25 s; the rest is for catching up and for the way. */
const DEADLINE_MS = 40_000;

interface Polled {
  readonly frames: readonly unknown[];
  readonly cursors: Places;
  /** The node is delayed right now. */
  readonly delayed?: boolean;
}

/** A line that hears by `POST /v1/poll`, one after the other, and speaks by POST. */
export class Poll extends FallbackLine {
  private turn = new AbortController();
  /** As the client was told. */
  private delayed = false;

  /** Polls until the line ends or other rooms are to be followed; a poll that is given up has lost nothing. */
  protected async listen(): Promise<void> {
    this.turn.abort();
    const mine = new AbortController();
    this.turn = mine;
    const given = AbortSignal.any([this.over.signal, mine.signal]);
    const isOver = (): boolean => given.aborted;
    while (!isOver()) {
      const signal = AbortSignal.any([given, AbortSignal.timeout(DEADLINE_MS)]);
      const body = { cursors: this.relay.following, ...(this.relay.news && { welcome: true }) };
      const response = await ask("/v1/poll", this.relay.token, posted(body, signal));
      const answer = response?.ok === true ? await jsonOf(response) : null;
      if (isOver()) return;
      if (answer === null || !this.take(answer as Polled)) {
        const end = response === null || response.ok ? {} : await endOf(response);
        if (!isOver()) this.end(end);
        return;
      }
    }
  }

  private take({ frames, cursors, delayed = false }: Polled): boolean {
    try {
      for (const each of frames) {
        const frame = decodeFrame(JSON.stringify(each));
        if (frame === null) continue;
        if (frame.type === "event" && frame.kind === "delayed") this.delayed = frame.on;
        this.hear(frame);
      }
    } catch (error) {
      if (error instanceof MalformedFrame) return false;
      throw error;
    }
    this.relay.moved(cursors);
    if (delayed !== this.delayed) this.ears.frame({ type: "event", kind: "delayed", on: delayed });
    this.delayed = delayed;
    return true;
  }
}
