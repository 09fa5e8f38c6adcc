/** Older pages, and single messages that replies quote. */

import type { Ack, Position } from "../protocol/frames";
import type { Folded } from "./fold";
import { foldEvent, indexOf, mergePage } from "./fold";
import { WHOLE_MS } from "./following";
import { positionKey, samePosition } from "./positions";
import type { Turn } from "./turn";

export const PAGE = 50;

export function wantHistory(turn: Turn, roomId: string): void {
  const room = turn.room(roomId);
  const oldest = room?.timeline[0];
  if (room === null || oldest === undefined || !room.moreBefore || room.history === "loading") return;
  if (!turn.connected || room.following !== "live") return;
  turn.setRoom(roomId, { history: "loading" });
  const before = { epoch: oldest.epoch, seq: oldest.seq };
  turn.ask({ type: "history", id: turn.env.id(), room: roomId, before, limit: PAGE }, { about: "history", room: roomId });
}

/** Merges an older page; amendments that came while it was under way may not be in it yet. */
export function historyArrived(turn: Turn, roomId: string, ack: Ack): void {
  const room = turn.room(roomId);
  if (room?.history !== "loading") return;
  const merged: Folded = { timeline: mergePage(room.timeline, ack.messages ?? []), amended: room.amended };
  turn.setRoom(roomId, {
    ...room.loose.reduce<Folded>(foldEvent, merged),
    moreBefore: ack.more_before ?? false,
    partial: room.partial || ack.partial === true,
    history: ack.partial === true && (ack.messages ?? []).length === 0 ? "failed" : "idle",
    loose: [],
  });
  if (ack.partial === true) turn.emit({ do: "start", timer: `whole ${roomId}`, after: WHOLE_MS });
}

export function historyFailed(turn: Turn, roomId: string): void {
  turn.setRoom(roomId, { history: "failed", loose: [] });
}

export function wantQuote(turn: Turn, roomId: string, at: Position): void {
  const room = turn.room(roomId);
  const key = positionKey(at);
  if (room === null || !turn.connected || room.quotes[key] !== undefined || indexOf(room.timeline, at) >= 0) return;
  turn.setRoom(roomId, { quotes: { ...room.quotes, [key]: "asked" } });
  turn.ask({ type: "history", id: turn.env.id(), room: roomId, around: at, limit: 1 }, { about: "quote", room: roomId, at });
}

export function quoteArrived(turn: Turn, roomId: string, at: Position, ack: Ack | null): void {
  const room = turn.room(roomId);
  if (room === null) return;
  const found = ack?.messages?.find((message) => samePosition(message, at)) ?? "gone";
  turn.setRoom(roomId, { quotes: { ...room.quotes, [positionKey(at)]: found } });
}
