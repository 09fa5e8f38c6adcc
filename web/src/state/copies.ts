/** Copies of visited rooms on this device: what can be read without a connection, and where a connection goes on. */

import type { Room, State } from "./model";
import { newRoom } from "./model";
import type { Turn } from "./turn";

/** The newest messages of a room that are kept. */
export const COPIED = 200;
/** Rooms that are kept: those that were looked into last. */
export const COPIES = 50;

type Kept =
  | "id" | "kind" | "title" | "closed" | "role" | "peer" | "peerName" | "told" | "read"
  | "cursor" | "last" | "timeline" | "amended" | "moreBefore" | "receipts";

/** A room as of its cursor, and the names of those who speak in it. */
export interface Copy extends Pick<Room, Kept> {
  readonly names: Readonly<Record<string, string>>;
}

export function copyOf(state: State, roomId: string): Copy | null {
  const room = state.rooms[roomId];
  if (room === undefined || room.cursor === null) return null;
  const { id, kind, title, closed, role, peer, peerName, told, read, cursor, last, amended, receipts } = room;
  const timeline = room.timeline.slice(-COPIED);
  const people = new Set([...timeline.map((message) => message.sender), ...(peer === null ? [] : [peer])]);
  const names = Object.fromEntries(Object.entries(state.names).filter(([user]) => people.has(user)));
  const moreBefore = room.moreBefore || timeline.length < room.timeline.length;
  return { id, kind, title, closed, role, peer, peerName, told, read, cursor, last, timeline, amended, moreBefore, receipts, names };
}

/** Rooms as they were left; a connection resumes them from their cursors. */
export function restoreCopies(turn: Turn, copies: readonly Copy[]): void {
  for (const { names, ...kept } of copies) {
    if (turn.room(kept.id) !== null) continue;
    const room: Room = { ...newRoom(kept.id, kept.kind, kept.title), ...kept, visited: true, following: "wanted" };
    turn.set({ rooms: { ...turn.state.rooms, [kept.id]: room }, names: { ...names, ...turn.state.names } });
  }
}

/** Says which copies this decision makes old, and which rooms are none of this person's any more. */
export function noteChanges(turn: Turn, before: State): void {
  const { open } = turn.state;
  if (open !== null && turn.room(open)?.visited === false) turn.setRoom(open, { visited: true });
  const { names } = turn.state;
  if (turn.state.rooms === before.rooms && names === before.names) return;
  const renamed = names === before.names ? [] : Object.keys(names).filter((user) => names[user] !== before.names[user]);
  for (const room of Object.values(turn.state.rooms)) {
    const held = before.rooms[room.id];
    const same = held?.visited && held.timeline === room.timeline && held.cursor === room.cursor && held.read === room.read && !speaks(room, renamed);
    // A partial page is not better than what is kept.
    if (room.visited && !room.partial && same !== true) turn.emit({ do: "copy", room: room.id });
  }
  for (const id of Object.keys(before.rooms)) {
    if (turn.room(id) === null) turn.emit({ do: "forgetCopy", room: id });
  }
}

function speaks({ timeline, peer }: Room, people: readonly string[]): boolean {
  return people.some((user) => user === peer || timeline.some(({ sender }) => sender === user));
}
