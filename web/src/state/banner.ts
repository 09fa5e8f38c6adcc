/** What there is to say about the connection, above everything else; null where all is well. */

import { transportOf } from "./ladder";
import type { State } from "./model";

/**
 * `offline`: the device has no network · `waiting`: the next attempt is at `retryAt` · `connecting`: again, after a
 * failure · `stopped`: until the person asks · `delayed`: the node hears nothing of others · `partial`: the open room's
 * older messages are away · `slow`: connected by other ways than a WebSocket.
 */
export type Banner = "offline" | "waiting" | "connecting" | "stopped" | "delayed" | "partial" | "slow";

export function bannerOf({ connection, open, rooms }: State): Banner | null {
  const { phase, ladder, attempt, delayed } = connection;
  if (phase === "stopped") return "stopped";
  if (phase !== "connected" && ladder.offline) return "offline";
  if (phase === "waiting") return "waiting";
  if (phase === "connecting" && attempt > 1) return "connecting";
  if (phase !== "connected") return null;
  if (delayed) return "delayed";
  if (open !== null && rooms[open]?.partial === true) return "partial";
  return transportOf(ladder) === "websocket" ? null : "slow";
}

/** There is no connection, and it is said. */
export function isAway(state: State): boolean {
  return state.connection.phase !== "connected" && bannerOf(state) !== null;
}

/** Whether asking for a connection now would do something: a time that the server named is kept. */
export function mayInsist({ connection }: State): boolean {
  const { phase, ladder } = connection;
  return phase === "stopped" || (phase === "waiting" && ladder.toldUntil === null);
}
