/** Following rooms: subscribing, the page or the resumed events, gaps, and folding what comes. */

import { errorCode } from "../protocol/codes";
import type { StoredEvent } from "../protocol/events";
import type { Message, Receipt, Refusal } from "../protocol/frames";
import type { Folded } from "./fold";
import { amend, foldEvent, indexOf, mergePage } from "./fold";
import { transportOf } from "./ladder";
import type { Room } from "./model";
import { settle, settleOwn, settlePage } from "./outbox";
import { activityOf } from "./select";
import { askPresence, memberChanged, needMembers, removeRoom } from "./rooms";
import { laterOf, positionKey } from "./positions";
import { without } from "./record";
import type { Turn } from "./turn";

/** Rooms that are followed live: the most recently active ones. */
export const FOLLOWED = 100;
/** Subscriptions that are asked for at the same time. */
export const ASKED = 4;
export const FIRST_PAGE = 30;
const LOOSE_MAX = 500;
const RETRY_MS = 2_000;
/** After a page that was not whole, another one is asked for. */
export const WHOLE_MS = 10_000;

/** Asks for the next rooms that are wanted: the open one first, then by activity. */
export function followMore(turn: Turn): void {
  if (!turn.connected || turn.state.connection.risen !== null) return;
  const asked = Object.values(turn.state.questions).filter((question) => question.about === "subscribe").length;
  const wanted = Object.values(turn.state.rooms).filter((room) => room.following === "wanted");
  const first = (room: Room): number => (room.id === turn.state.open ? Infinity : activityOf(room));
  wanted.sort((a, b) => first(b) - first(a));
  // Without a socket, each batch of rooms begins another request.
  const most = transportOf(turn.state.connection.ladder) === "websocket" ? ASKED : FOLLOWED;
  for (const room of wanted.slice(0, Math.max(0, most - asked))) subscribe(turn, room);
}

function subscribe(turn: Turn, room: Room): void {
  turn.setRoom(room.id, { following: "asked" });
  const frame = { type: "subscribe", id: turn.env.id(), room: room.id, limit: FIRST_PAGE } as const;
  turn.ask(room.cursor === null ? frame : { ...frame, cursor: room.cursor }, { about: "subscribe", room: room.id });
}

/** Wants the most active rooms that are not followed yet. */
export function wantRooms(turn: Turn): void {
  const byActivity = Object.values(turn.state.rooms).sort((a, b) => activityOf(b) - activityOf(a));
  for (const [place, room] of byActivity.entries()) {
    const wanted = place < FOLLOWED || room.id === turn.state.open;
    if (wanted && room.following === "none") turn.setRoom(room.id, { following: "wanted" });
  }
  followMore(turn);
}

/** What both the ack of `subscribe` and the event `subscribed` say. */
export interface Subscribed {
  readonly cursor?: string;
  readonly recovered?: boolean;
  readonly messages?: readonly Message[];
  readonly more_before?: boolean;
  readonly partial?: boolean;
  readonly receipts?: readonly Receipt[];
}

export function subscribed(turn: Turn, roomId: string, answer: Subscribed): void {
  const room = turn.room(roomId);
  if (room === null) return;
  turn.setRoom(roomId, { following: "live" });
  if (answer.recovered !== true) replacePage(turn, roomId, answer);
  for (const receipt of answer.receipts ?? []) receiptArrived(turn, roomId, receipt);
  if (room.kind === "direct" || roomId === turn.state.open) askPresence(turn, roomId);
  needMembers(turn, roomId);
  followMore(turn);
}

function replacePage(turn: Turn, roomId: string, answer: Subscribed): void {
  turn.setRoom(roomId, {
    // What a partial page lacks is not gone: what is held beside it stays.
    timeline: mergePage(answer.partial === true ? (turn.room(roomId)?.timeline ?? []) : [], answer.messages ?? []),
    amended: new Map(),
    moreBefore: answer.more_before ?? false,
    partial: answer.partial ?? false,
    cursor: answer.cursor ?? null,
    last: null,
    gapAt: null,
    history: "idle",
    loose: [],
    quotes: {},
  });
  for (const message of answer.messages ?? []) {
    if (message.sender === turn.state.me.user) settleOwn(turn, roomId, message.id, message);
  }
  const room = turn.room(roomId);
  if (room !== null) settlePage(turn, room);
  if (answer.partial === true) turn.emit({ do: "start", timer: `whole ${roomId}`, after: WHOLE_MS });
}

/** What was missing can be asked for: a page takes the place of the one that was not whole. */
export function wholeAgain(turn: Turn, roomId: string): void {
  const room = turn.room(roomId);
  if (room?.partial !== true || !turn.connected) return;
  turn.emit({ do: "cancel", timer: `whole ${roomId}` });
  turn.setRoom(roomId, { following: "wanted", cursor: null, last: null, history: "idle", loose: [] });
  followMore(turn);
}

export function receiptArrived(turn: Turn, roomId: string, receipt: Receipt): void {
  const room = turn.room(roomId);
  if (room === null) return;
  const at = laterOf(room.receipts[receipt.user] ?? null, receipt.at) ?? receipt.at;
  turn.setRoom(roomId, { receipts: { ...room.receipts, [receipt.user]: at } });
  if (receipt.user === turn.state.me.user) turn.setRoom(roomId, { read: laterOf(room.read, receipt.at) });
}

/** The node could not begin, or ended, a subscription. */
export function notSubscribed(turn: Turn, roomId: string, refusal: Pick<Refusal, "code" | "retryable" | "retry_after">): void {
  const code = errorCode(refusal.code);
  if (refusal.retryable) {
    turn.setRoom(roomId, { following: "refused" });
    const after = refusal.retry_after === undefined ? RETRY_MS * (1 + turn.env.random()) : refusal.retry_after * 1000;
    turn.emit({ do: "start", timer: `follow ${roomId}`, after: Math.round(after) });
  } else if (code === "forbidden" || code === "not_found") {
    removeRoom(turn, roomId);
  } else {
    // A cursor that the node does not take: begin with a page.
    const again = turn.room(roomId)?.cursor !== null;
    turn.setRoom(roomId, { following: again ? "wanted" : "none", cursor: null, last: null });
  }
  followMore(turn);
}

export function followAgain(turn: Turn, roomId: string): void {
  if (turn.room(roomId)?.following === "refused") turn.setRoom(roomId, { following: "wanted" });
  followMore(turn);
}

export function eventArrived(turn: Turn, event: StoredEvent): void {
  const room = turn.room(event.room);
  if (room?.following !== "live") return;
  const { last } = room;
  if (last !== null) {
    if (event.epoch < last.epoch || (event.epoch === last.epoch && event.seq <= last.seq)) return;
    if (event.epoch > last.epoch || event.prev > last.seq) {
      gap(turn, room);
      return;
    }
  }
  const at = { epoch: event.epoch, seq: event.seq };
  turn.setRoom(room.id, { ...folded(room, event), cursor: event.cursor, last: at, gapAt: null });
  if (event.sender === turn.state.me.user) settleOwn(turn, room.id, event.id, at);
  settle(turn, room.id, at);
  if (event.kind === "member") memberChanged(turn, room.id, event.change);
  else needMembers(turn, room.id);
}

function folded(room: Room, event: StoredEvent): Partial<Room> {
  if (event.kind === "message") {
    return { ...timelineWith(room, event), typing: without(room.typing, event.sender) };
  }
  if (event.kind === "member") return timelineWith(room, event);
  const loose = room.history === "loading" && indexOf(room.timeline, event.target) < 0;
  const key = positionKey(event.target);
  const quote = room.quotes[key];
  return {
    ...timelineWith(room, event),
    loose: loose ? [...room.loose, event].slice(-LOOSE_MAX) : room.loose,
    quotes: typeof quote === "object" ? { ...room.quotes, [key]: amend(quote, event) } : room.quotes,
  };
}

function timelineWith(room: Room, event: StoredEvent): Folded {
  const { timeline, amended } = foldEvent(room, event);
  return { timeline, amended };
}

/** Something is missing: subscribe again from what is had; twice at one place, begin with a page. */
function gap(turn: Turn, room: Room): void {
  const stuck = room.gapAt !== null && room.gapAt === room.cursor;
  turn.setRoom(room.id, {
    following: "wanted",
    gapAt: room.cursor,
    cursor: stuck ? null : room.cursor,
    last: stuck ? null : room.last,
  });
  followMore(turn);
}
