/**
 * One outbox per room: commands go in the order in which they were given, each durable here before its first attempt.
 *
 * A retryable refusal stops the room: nothing is sent until every reply is in and the wait is over, then all goes again
 * from the head with the same ids. Any other refusal marks its command as failed, and the next one goes on.
 */

import { errorCode } from "../protocol/codes";
import type { Ack, CommandFrame, Position, Refusal, StoredCommand } from "../protocol/frames";
import type { Discard } from "./actions";
import { backoff } from "./backoff";
import type { Entry, Room, Undone } from "./model";
import { strandedOf } from "./select";
import { WINDOW } from "./model";
import { comparePositions, isAfter } from "./positions";
import { handOver } from "./windows";
import type { Turn } from "./turn";

const SHORTEST_PAUSE_MS = 250;
/** Ids that are remembered as not durable any more: as many as can be on their way out. */
const GONE_MAX = 200;

export function put(turn: Turn, command: StoredCommand): void {
  const room = turn.room(command.room);
  if (room === null) return;
  const entry: Entry = {
    id: turn.env.id(),
    room: room.id,
    command,
    created: turn.env.now,
    stage: "storing",
    order: null,
    marked: turn.connected,
    attempted: false,
    flownAt: 0,
    refusals: 0,
    problem: null,
    at: null,
  };
  turn.setRoom(room.id, { outbox: [...room.outbox, entry], undone: null });
  turn.emit({ do: "keep", entry });
}

/** The entry is durable at this place (or cannot be, and then it is sent all the same). */
export function kept(turn: Turn, roomId: string, id: string, order: number | null): void {
  const entry = find(turn, roomId, id);
  if (entry?.stage !== "storing") return;
  const queued: Entry = { ...entry, stage: "queued", order: order ?? entry.order };
  place(turn, queued);
  if (turn.state.leading) pump(turn, roomId);
  else handOver(turn, queued);
}

/** Entries that are durable, of whichever window. Attempts that were noted may have been made. */
export function restore(turn: Turn, entries: readonly Entry[]): void {
  for (const entry of entries) {
    if (find(turn, entry.room, entry.id) !== null || turn.state.gone.includes(entry.id)) continue;
    const at = seenAt(turn, entry);
    if (at !== null) {
      // The window that was to drop it is gone.
      drop(turn, entry.room, entry.id, at);
      continue;
    }
    const stage = entry.stage === "failed" ? "failed" : "queued";
    place(turn, { ...entry, stage, attempted: entry.marked, refusals: 0 });
  }
}

/** What is not known to be stored, as it waits where there is no room for it. */
export function strandedIn(room: Room | null): readonly Entry[] {
  const waiting = withoutFlights(room?.outbox ?? []).filter(({ at }) => at === null);
  return waiting.map((entry) => ({ ...entry, marked: entry.marked || entry.attempted }));
}

/** Deletes what is durable of it; `at` is where it was stored, null where it is thrown away or has another id now. */
export function drop(turn: Turn, roomId: string, id: string, at: Position | null, undone?: Undone): void {
  isGone(turn, id);
  turn.emit({ do: "drop", room: roomId, id, at, ...(undone && { undone }) });
}

/** What was read of it before is old. */
export function isGone(turn: Turn, id: string): void {
  if (!turn.state.gone.includes(id)) turn.set({ gone: [...turn.state.gone, id].slice(-GONE_MAX) });
}

/** Puts an entry where it belongs among those of its room; never before one that was written here earlier. */
export function place(turn: Turn, entry: Entry): void {
  const room = turn.room(entry.room);
  if (room === null) return;
  const was = room.outbox.findIndex((held) => held.id === entry.id);
  const before = (held: Entry, at: number): boolean => {
    if (held.order !== null) return held.order <= (entry.order ?? Infinity);
    return was < 0 ? entry.order === null : at < was;
  };
  const others = room.outbox.filter((held) => held.id !== entry.id);
  const at = others.findLastIndex(before) + 1;
  turn.setRoom(room.id, { outbox: others.toSpliced(at, 0, entry) });
}

/** Where the stored event of this command is, if it was folded already. */
export function seenAt(turn: Turn, { room: roomId, id }: Entry): Position | null {
  const room = turn.room(roomId);
  const me = turn.state.me.user;
  const message = room?.timeline.find((held) => held.sender === me && held.id === id);
  return message ?? room?.amended.get(`${me}:${id}`) ?? null;
}

export function pumpAll(turn: Turn): void {
  for (const id of Object.keys(turn.state.rooms)) pump(turn, id);
}

export function pump(turn: Turn, roomId: string): void {
  const room = turn.room(roomId);
  const rising = turn.state.connection.risen !== null;
  if (room === null || !turn.state.leading || !turn.connected || room.paused || rising) return;
  const waiting = room.outbox.filter((entry) => entry.stage !== "failed" && entry.stage !== "sent");
  const flying = waiting.filter((entry) => entry.stage === "flying").length;
  // A head that has to go again waits until the replies to those after it are in.
  if (waiting.slice(0, flying).some((entry) => entry.stage !== "flying")) return;
  let held = false;
  for (const entry of waiting.slice(flying, room.window)) {
    if (entry.stage !== "queued") return;
    if (!entry.marked) mark(turn, entry);
    held ||= !entry.marked;
    if (held) continue;
    turn.setEntry(roomId, entry.id, { stage: "flying", attempted: true, flownAt: turn.env.now });
    turn.ask(frameOf(entry), { about: "stored", room: roomId });
  }
}

/** After a crash nobody would know of the attempt, so it is noted before. */
function mark(turn: Turn, entry: Entry): void {
  const marked: Entry = { ...entry, stage: "storing", marked: true };
  turn.setEntry(entry.room, entry.id, marked);
  turn.emit({ do: "keep", entry: marked });
}

function frameOf(entry: Entry): CommandFrame {
  const frame = { ...entry.command, id: entry.id };
  return entry.attempted ? { ...frame, again: true } : frame;
}

export function stored(turn: Turn, roomId: string, ack: Ack): void {
  const room = turn.room(roomId);
  const entry = find(turn, roomId, ack.id);
  if (room !== null && entry !== null && ack.epoch !== undefined && ack.seq !== undefined) {
    const at = { epoch: ack.epoch, seq: ack.seq };
    turn.setRoom(roomId, { window: Math.min(WINDOW, 2 * room.window) });
    drop(turn, roomId, entry.id, at);
    if (entry.at === null) turn.setEntry(roomId, entry.id, { stage: "sent", at, problem: null, refusals: 0 });
    else keepOnly(turn, roomId, (held) => held.id !== entry.id);
    if (room.last !== null) settle(turn, roomId, room.last);
  }
  pump(turn, roomId);
}

export function refused(turn: Turn, roomId: string, refusal: Refusal): void {
  const entry = find(turn, roomId, refusal.id ?? "");
  if (entry === null) return;
  const code = errorCode(refusal.code);
  if (refusal.retryable) {
    const refusals = code === "out_of_order" ? entry.refusals : entry.refusals + 1;
    turn.setEntry(roomId, entry.id, { stage: "queued", refusals, problem: code });
    // The head goes alone, or one behind it could be let in where it is not.
    turn.setRoom(roomId, { window: 1 });
    pause(turn, roomId, refusal.retry_after, refusals);
  } else if (code === "id_reused") {
    renew(turn, roomId, entry);
  } else if (entry.at !== null) {
    keepOnly(turn, roomId, (held) => held.id !== entry.id);
  } else {
    const failed: Entry = { ...entry, stage: "failed", problem: code, refusals: 0 };
    turn.setEntry(roomId, entry.id, failed);
    turn.emit({ do: "keep", entry: failed });
  }
  pump(turn, roomId);
}

function pause(turn: Turn, roomId: string, retryAfter: number | undefined, refusals: number): void {
  const room = turn.room(roomId);
  if (room === null || room.paused) return;
  turn.setRoom(roomId, { paused: true });
  const drawn = backoff(refusals, turn.env.random());
  const after = Math.max(SHORTEST_PAUSE_MS, retryAfter === undefined ? drawn : retryAfter * 1000);
  turn.emit({ do: "start", timer: `outbox ${roomId}`, after });
}

/** The id names something else already: the same command under a new one. */
function renew(turn: Turn, roomId: string, entry: Entry): void {
  const fresh: Entry = { ...entry, id: turn.env.id(), stage: "storing", attempted: false, problem: null };
  turn.setEntry(roomId, entry.id, fresh);
  // It takes the place of the other one, which is gone then.
  turn.emit({ do: "keep", entry: fresh });
  drop(turn, roomId, entry.id, null);
}

export function resume(turn: Turn, roomId: string): void {
  turn.setRoom(roomId, { paused: false });
  turn.emit({ do: "cancel", timer: `outbox ${roomId}` });
  pump(turn, roomId);
}

/** The person asks to try again: what failed is queued again where it was, and a wait is cut short. */
export function retry(turn: Turn, roomId: string, id: string): void {
  const entry = find(turn, roomId, id);
  if (entry === null) return;
  if (!turn.state.leading) {
    turn.emit({ do: "tell", word: { say: "retry", room: roomId, id } });
    return;
  }
  if (entry.stage === "failed") {
    turn.setEntry(roomId, id, { stage: "queued", problem: null });
    turn.emit({ do: "keep", entry: { ...entry, stage: "queued", problem: null } });
  }
  resume(turn, roomId);
}

/** What would become of it if it were thrown away now; null where it is known to be stored, and stays. */
export function undoing(entry: Entry): Undone | null {
  if (entry.stage === "sent" || entry.at !== null) return null;
  return entry.stage === "failed" || !entry.attempted ? "cancelled" : "maybe";
}

/** Throws it away as the person was told: what a node was given since then stays. */
export function discard(turn: Turn, { room: roomId, id, accepted }: Discard): void {
  const entry = find(turn, roomId, id) ?? strandedOf(turn.state).find((held) => held.id === id);
  const undone = entry === undefined ? null : undoing(entry);
  if (entry === undefined || undone === null || (undone === "maybe" && accepted === "cancelled")) return;
  // Of what is not durable yet no other window has heard.
  const known = entry.stage !== "storing" || entry.order !== null;
  if (known && !turn.state.leading) {
    turn.emit({ do: "tell", word: { say: "discard", room: roomId, id, accepted } });
    return;
  }
  drop(turn, roomId, id, null, undone);
  undo(turn, entry, undone);
  pump(turn, roomId);
}

/** It is thrown away, in whichever window. */
export function undo(turn: Turn, { id, room, command }: Entry, how: Undone): void {
  keepOnly(turn, room, (held) => held.id !== id);
  turn.set({ restored: turn.state.restored.filter((held) => held.id !== id) });
  turn.setRoom(room, { undone: { what: command.type === "send" ? "message" : "change", how } });
}

/** The room's events have come to `last`: what was acked up to there is in the timeline now. */
export function settle(turn: Turn, roomId: string, last: Position): void {
  keepOnly(turn, roomId, (entry) => entry.stage !== "sent" || isAfter(entry.at ?? last, last));
}

/**
 * The stored event of this command was seen. A reply that is still to come is waited for all the same: a node that has
 * refused the command lets no later one pass until it has come again.
 */
export function settleOwn(turn: Turn, roomId: string, id: string, at: Position): void {
  const entry = find(turn, roomId, id);
  if (entry === null) return;
  drop(turn, roomId, id, at);
  settleEntry(turn, entry, at);
}

/** It is stored at this place; where a reply to this window is owed, it is waited for. */
export function settleEntry(turn: Turn, entry: Entry, at: Position): void {
  const { room: roomId, id } = entry;
  const owed = turn.state.leading && (entry.stage === "flying" || (entry.stage === "queued" && entry.problem !== null));
  if (owed) turn.setEntry(roomId, id, { at });
  else keepOnly(turn, roomId, (held) => held.id !== id);
}

/** The connection is lost: what was under way goes again, save what is known to be stored. */
export function withoutFlights(outbox: readonly Entry[]): readonly Entry[] {
  return outbox
    .filter((entry) => entry.stage === "sent" || entry.at === null)
    .map((entry) => (entry.stage === "flying" ? { ...entry, stage: "queued" } : entry));
}

/** A page has replaced the timeline: it holds what was acked before, save messages that are newer than its end. */
export function settlePage(turn: Turn, room: Room): void {
  const newest = room.timeline.at(-1);
  keepOnly(turn, room.id, (entry) => {
    if (entry.stage !== "sent" || entry.at === null) return true;
    return entry.command.type === "send" && (newest === undefined || comparePositions(entry.at, newest) > 0);
  });
}

export function keepOnly(turn: Turn, roomId: string, stays: (entry: Entry) => boolean): void {
  const room = turn.room(roomId);
  if (room === null || room.outbox.every(stays)) return;
  turn.setRoom(roomId, { outbox: room.outbox.filter(stays) });
}

export function find(turn: Turn, roomId: string, id: string): Entry | null {
  return turn.room(roomId)?.outbox.find((entry) => entry.id === id) ?? null;
}
