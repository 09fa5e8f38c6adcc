/** Commands by `POST /v1/commands`: per room one request at a time, so that order holds; each command gets one reply. */

import { decodeFrame, MalformedFrame } from "../../protocol/decode";
import type { ServerFrame } from "../../protocol/events";
import type { CommandFrame } from "../../protocol/frames";
import type { End } from "../../state/ladder";
import { ask, endOf, jsonOf, posted, refusalFor } from "./answer";

const DEADLINE_MS = 15_000;
/** As many commands as one request may carry. */
const TOGETHER = 32;

interface Ears {
  readonly token: () => string;
  readonly frame: (frame: ServerFrame) => void;
  readonly refused: (end: End) => void;
}

interface Lane {
  readonly waiting: CommandFrame[];
  posting: boolean;
}

export class Posting {
  private readonly lanes = new Map<string, Lane>();

  constructor(
    private readonly ears: Ears,
    private readonly over: AbortSignal,
  ) {}

  send(frame: CommandFrame): void {
    const room = "room" in frame ? frame.room : "";
    const lane = this.lanes.get(room) ?? { waiting: [], posting: false };
    this.lanes.set(room, lane);
    lane.waiting.push(frame);
    if (!lane.posting) void this.post(room, lane);
  }

  private isOver(): boolean {
    return this.over.aborted;
  }

  private async post(room: string, lane: Lane): Promise<void> {
    lane.posting = true;
    // What is said in the same turn goes together.
    await Promise.resolve();
    while (lane.waiting.length > 0 && !this.isOver()) {
      const whole = await this.exchange(lane.waiting.splice(0, TOGETHER));
      if (!whole && !this.isOver()) this.holdBack(lane);
    }
    lane.posting = false;
    this.lanes.delete(room);
  }

  /** A node remembers nothing between requests: what was to come after a command that has to go again must not overtake it. */
  private holdBack(lane: Lane): void {
    const held = lane.waiting.filter(isStored);
    lane.waiting.splice(0, lane.waiting.length, ...lane.waiting.filter((frame) => !isStored(frame)));
    for (const { id } of held) {
      this.ears.frame({ type: "error", id, code: "out_of_order", message: "an earlier one goes first", retryable: true });
    }
  }

  /** Whether every command has got its last word. */
  private async exchange(frames: readonly CommandFrame[]): Promise<boolean> {
    const signal = AbortSignal.any([this.over, AbortSignal.timeout(DEADLINE_MS)]);
    const response = await ask("/v1/commands", this.ears.token(), posted(frames, signal));
    if (this.isOver()) return false;
    if (response?.ok === true) {
      const replies = await jsonOf(response);
      return this.tell(frames, Array.isArray(replies) ? replies : []);
    }
    const end = response === null ? {} : await endOf(response);
    if (this.isOver()) return false;
    if (end.status === 401) this.ears.refused(end);
    else this.excuse(frames, end);
    return false;
  }

  private tell(frames: readonly CommandFrame[], replies: readonly unknown[]): boolean {
    let whole = true;
    const answered = new Set<string>();
    for (const reply of replies) {
      const frame = decoded(reply);
      if (frame === null) continue;
      if ((frame.type === "ack" || frame.type === "error") && frame.id !== undefined) answered.add(frame.id);
      whole &&= frame.type !== "error" || !frame.retryable;
      this.ears.frame(frame);
    }
    const missing = frames.filter(({ id }) => !answered.has(id));
    this.excuse(missing, {});
    return whole && missing.length === 0;
  }

  /** No answer, or none to these: to be sent again. A ping that nobody answers is told by its silence. */
  private excuse(frames: readonly CommandFrame[], end: End): void {
    const refusal = refusalFor(end);
    for (const { id, type } of frames) {
      if (type === "ping" && end.status === undefined) continue;
      this.ears.frame({ type: "error", id, ...refusal });
    }
  }
}

function isStored({ type }: CommandFrame): boolean {
  return type === "send" || type === "edit" || type === "delete" || type === "react";
}

function decoded(reply: unknown): ServerFrame | null {
  try {
    return decodeFrame(JSON.stringify(reply));
  } catch (error) {
    if (error instanceof MalformedFrame) return null;
    throw error;
  }
}
