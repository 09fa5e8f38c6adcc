/** The list of rooms as this device keeps it: without a connection it says what there is, also where nothing was read. */

import type { Room, State } from "./model";
import { newRoom } from "./model";
import { laterOf } from "./positions";
import { activityOf, byActivity, unreadOf } from "./select";
import type { Turn } from "./turn";

/** Rooms that are kept: the most recently active ones. */
export const LISTED = 500;

/** One line of it, with what came since the node told. */
export type KeptRoom = Pick<Room, "id" | "kind" | "title" | "closed" | "role" | "peer" | "peerName" | "told" | "read">;

export function keptRooms(state: State): readonly KeptRoom[] {
  return byActivity(state).slice(0, LISTED).map((room) => keptRoom(room, state.me.user));
}

function keptRoom(room: Room, me: string): KeptRoom {
  const { id, kind, title, closed, role, peer, peerName, read, timeline } = room;
  const newest = timeline.at(-1);
  const last = newest === undefined ? room.told.last : laterOf(room.told.last, { epoch: newest.epoch, seq: newest.seq });
  const told = { unread: unreadOf(room, me), read, last, lastTs: activityOf({ ...room, outbox: [] }) };
  return { id, kind, title, closed, role, peer, peerName, told, read };
}

/** Rooms as they were listed last; a copy of one of them knows its messages. */
export function restoreList(turn: Turn, listed: readonly KeptRoom[]): void {
  const rooms = listed.map((line): Room => {
    const held = turn.room(line.id) ?? newRoom(line.id, line.kind, line.title);
    return { ...held, ...line, read: laterOf(held.read, line.read) };
  });
  const names = listed.flatMap(({ peer, peerName }) => (peer === null || peerName === "" ? [] : [[peer, peerName] as const]));
  turn.set({
    rooms: { ...turn.state.rooms, ...Object.fromEntries(rooms.map((room) => [room.id, room])) },
    names: { ...turn.state.names, ...Object.fromEntries(names) },
  });
}

/** Says when this decision makes the kept list old. */
export function noteList(turn: Turn, before: State): void {
  const { rooms, list } = turn.state;
  if (list !== "ready" || (rooms === before.rooms && list === before.list)) return;
  const ids = Object.keys(rooms);
  const known = list === before.list && ids.length === Object.keys(before.rooms).length;
  if (!known || ids.some((id) => !sameLine(turn.room(id), before.rooms[id]))) turn.emit({ do: "keepList" });
}

function sameLine(room: Room | null, before: Room | undefined): boolean {
  if (room === null || before === undefined || room === before) return room === before;
  const { title, closed, role, peerName, told, read, timeline } = before;
  return (
    room.title === title &&
    room.closed === closed &&
    room.role === role &&
    room.peerName === peerName &&
    room.told === told &&
    room.read === read &&
    room.timeline === timeline
  );
}
