/** The list of rooms, who is in them, who is there, who types, and how far everybody has read. */

import type { MembershipEvent, PresenceEvent, TypingEvent } from "../protocol/events";
import type { Ack, MemberChange } from "../protocol/frames";
import type { ListedRoom } from "./actions";
import { receiptArrived, wantRooms } from "./following";
import type { Member, Room } from "./model";
import { newRoom } from "./model";
import { pumpAll, restore, strandedIn } from "./outbox";
import { isAfter, laterOf } from "./positions";
import { without } from "./record";
import type { Turn } from "./turn";

const TYPING_AGAIN_MS = 3_000;
const TYPING_LONGEST_MS = 10_000;
const LIST_AGAIN_MS = 5_000;
/** A room that is left keeps this many messages; the rest loads again on scrolling. */
const KEPT = 100;

export function roomsListed(turn: Turn, listed: readonly ListedRoom[]): void {
  const rooms = Object.fromEntries(listed.map((line) => [line.room, listedRoom(turn.room(line.room), line)]));
  for (const id of Object.keys(turn.state.rooms)) if (rooms[id] === undefined) removeRoom(turn, id);
  const names = Object.fromEntries(listed.flatMap((line) => (line.peer && line.peer_name ? [[line.peer, line.peer_name]] : [])));
  turn.set({ rooms, names: { ...turn.state.names, ...names }, list: "ready" });
  const { restored } = turn.state;
  restore(turn, restored);
  turn.set({ restored: restored.filter((entry) => turn.room(entry.room) === null) });
  for (const id of Object.keys(rooms)) report(turn, id);
  wantRooms(turn);
  pumpAll(turn);
}

function listedRoom(held: Room | null, line: ListedRoom): Room {
  const room = held ?? newRoom(line.room, line.kind, line.title);
  const read = line.read ?? null;
  return {
    ...room,
    title: line.title,
    closed: line.closed,
    role: line.role,
    peer: line.peer ?? null,
    peerName: line.peer_name ?? "",
    told: { unread: line.unread, read, last: line.last ?? null, lastTs: line.last_ts },
    read: laterOf(room.read, read),
  };
}

export function listFailed(turn: Turn): void {
  if (turn.state.list === "loading") turn.set({ list: "failed" });
  turn.emit({ do: "start", timer: "list", after: LIST_AGAIN_MS });
}

export function membershipChanged(turn: Turn, event: MembershipEvent): void {
  const room = turn.room(event.room);
  if (event.role === null) removeRoom(turn, event.room);
  else if (room === null) turn.emit({ do: "listRooms" });
  else {
    const title = room.kind === "direct" ? room.title : event.title;
    turn.setRoom(room.id, { title, closed: event.closed, role: event.role });
  }
}

/** It is none of this person's any more; what was to be sent there is theirs still. */
export function removeRoom(turn: Turn, roomId: string): void {
  const waiting = strandedIn(turn.room(roomId));
  turn.set({ rooms: without(turn.state.rooms, roomId), restored: [...turn.state.restored, ...waiting] });
}

/** The open room is known now, without a connection. */
export function reopen(turn: Turn): void {
  const { open } = turn.state;
  if (open !== null && turn.room(open)?.following === "none") turn.setRoom(open, { following: "wanted" });
}

export function openRoom(turn: Turn, roomId: string | null): void {
  const left = turn.state.open;
  if (left === roomId) return;
  turn.set({ open: roomId });
  const before = left === null ? null : turn.room(left);
  if (before !== null) {
    typed(turn, before.id, false);
    turn.setRoom(before.id, { undone: null });
    if (before.timeline.length > 2 * KEPT && before.history !== "loading") {
      turn.setRoom(before.id, { timeline: before.timeline.slice(-KEPT), moreBefore: true, loose: [] });
    }
  }
  if (roomId === null || turn.room(roomId) === null) return;
  wantRooms(turn);
  if (turn.room(roomId)?.online === null) askPresence(turn, roomId);
  needMembers(turn, roomId);
}

/** Members are asked for where they are shown: in the open room, and where the last to speak has no name yet. */
export function needMembers(turn: Turn, roomId: string): void {
  const room = turn.room(roomId);
  if (room?.members !== null || room.following !== "live") return;
  const speaker = room.timeline.at(-1)?.sender;
  const unnamed = speaker !== undefined && turn.state.names[speaker] === undefined;
  if (roomId === turn.state.open || unnamed) turn.emit({ do: "listMembers", room: roomId });
}

export function membersFailed(turn: Turn, roomId: string, refused: boolean): void {
  if (!refused) turn.emit({ do: "start", timer: `members ${roomId}`, after: LIST_AGAIN_MS });
}

export function membersListed(turn: Turn, roomId: string, members: readonly Member[]): void {
  turn.setRoom(roomId, { members });
  const names = Object.fromEntries(members.flatMap((member) => (member.name ? [[member.user, member.name]] : [])));
  turn.set({ names: { ...turn.state.names, ...names } });
}

export function memberChanged(turn: Turn, roomId: string, change: MemberChange): void {
  const room = turn.room(roomId);
  if (room === null) return;
  const name = change.name ?? "";
  if (name !== "") turn.set({ names: { ...turn.state.names, [change.user]: name } });
  if (room.members !== null) {
    const others = room.members.filter((member) => member.user !== change.user);
    const held = room.members.find((member) => member.user === change.user);
    const changed = { user: change.user, role: change.role ?? "", name: name || (held?.name ?? "") };
    turn.setRoom(roomId, { members: change.role === null ? others : [...others, changed] });
  }
  if (change.user === turn.state.me.user && change.role !== null) turn.setRoom(roomId, { role: change.role });
}

export function askPresence(turn: Turn, roomId: string): void {
  if (!turn.connected || turn.room(roomId)?.following !== "live") return;
  turn.ask({ type: "presence", id: turn.env.id(), room: roomId }, { about: "presence", room: roomId });
}

export function presenceTold(turn: Turn, roomId: string, ack: Ack): void {
  turn.setRoom(roomId, { online: ack.online ?? null, onlineCount: ack.count ?? ack.online?.length ?? 0 });
}

export function presenceChanged(turn: Turn, event: PresenceEvent): void {
  const room = turn.room(event.room);
  if (room === null) return;
  if (event.count !== undefined) turn.setRoom(room.id, { onlineCount: event.count });
  if (room.online === null) return;
  const online = new Set(room.online);
  for (const user of event.online ?? []) online.add(user);
  for (const user of event.offline ?? []) online.delete(user);
  turn.setRoom(room.id, { online: [...online], onlineCount: event.count ?? online.size });
}

export function typingArrived(turn: Turn, event: TypingEvent): void {
  const room = turn.room(event.room);
  if (room === null || event.sender === turn.state.me.user) return;
  const others = without(room.typing, event.sender);
  const until = turn.env.now + Math.min(event.expires_ms, TYPING_LONGEST_MS);
  turn.setRoom(room.id, { typing: event.active ? { ...others, [event.sender]: until } : others });
  watchTyping(turn, room.id);
}

export function typingExpired(turn: Turn, roomId: string): void {
  const room = turn.room(roomId);
  if (room === null) return;
  const still = Object.entries(room.typing).filter(([, until]) => until > turn.env.now);
  turn.setRoom(roomId, { typing: Object.fromEntries(still) });
  watchTyping(turn, roomId);
}

function watchTyping(turn: Turn, roomId: string): void {
  const ends = Object.values(turn.room(roomId)?.typing ?? {});
  if (ends.length === 0) turn.emit({ do: "cancel", timer: `typing ${roomId}` });
  else turn.emit({ do: "start", timer: `typing ${roomId}`, after: Math.max(1, Math.min(...ends) - turn.env.now) });
}

/** This person types (or has stopped): told again every few seconds, and at once when it ends. */
export function typed(turn: Turn, roomId: string, active: boolean): void {
  const room = turn.room(roomId);
  if (active && room !== null && room.undone !== null) turn.setRoom(roomId, { undone: null });
  if (room === null || !turn.connected || room.following !== "live") return;
  const due = active ? turn.env.now - room.typedAt >= TYPING_AGAIN_MS : room.typedAt > 0;
  if (!due) return;
  turn.setRoom(roomId, { typedAt: active ? turn.env.now : 0 });
  turn.tell({ type: "typing", room: roomId, active });
}

/** The end of the timeline is before this person's eyes. */
export function seen(turn: Turn, roomId: string): void {
  const room = turn.room(roomId);
  const newest = room?.timeline.at(-1);
  if (room === null || newest === undefined || !isAfter(newest, room.read)) return;
  turn.setRoom(roomId, { read: { epoch: newest.epoch, seq: newest.seq } });
  report(turn, roomId);
}

/** Tells the node how far this person has read, one report at a time. */
function report(turn: Turn, roomId: string): void {
  const room = turn.room(roomId);
  if (room === null || room.read === null || room.reporting || !turn.connected) return;
  if (!isAfter(room.read, laterOf(room.told.read, room.receipts[turn.state.me.user] ?? null))) return;
  turn.setRoom(roomId, { reporting: true });
  turn.ask({ type: "read", id: turn.env.id(), room: roomId, at: room.read }, { about: "read", room: roomId, at: room.read });
}

export function reported(turn: Turn, roomId: string, at: Room["read"]): void {
  turn.setRoom(roomId, { reporting: false });
  if (at !== null) receiptArrived(turn, roomId, { user: turn.state.me.user, at });
  report(turn, roomId);
}

/** A report that was refused is not repeated; the next thing that is read brings it along. */
export function notReported(turn: Turn, roomId: string): void {
  turn.setRoom(roomId, { reporting: false });
}
