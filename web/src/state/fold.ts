/**
 * Folding events into messages, by the same rules as `chatnode/protocol/fold.py`.
 *
 * Promise: a page as of any event, plus all events from there on in order, equals the page as of the last of them, also
 * when the first few events were already in the page.
 */

import type { AmendEvent, MemberEvent, MessageEvent, StoredEvent } from "../protocol/events";
import type { Message, Position } from "../protocol/frames";
import { comparePositions, isAfter, samePosition } from "./positions";

/** Messages of one room in its order, each position once, each (sender, id) once. */
export type Timeline = readonly Message[];

export function messageOf(event: MessageEvent | MemberEvent): Message {
  const { room, epoch, seq, id, sender, ts } = event;
  const begun = { room, epoch, seq, id, sender, ts, rev: seq };
  if (event.kind === "member") return { ...begun, notice: event.change };
  return { ...begun, text: event.text, reply_to: event.reply_to ?? null, mentions: event.mentions ?? [] };
}

/** The message after an event that targets it; what is deleted stays deleted, an older revision changes nothing. */
export function amend(message: Message, event: AmendEvent): Message {
  if (message.deleted) return message;
  switch (event.kind) {
    case "reaction":
      return react(message, event.emoji, event.sender, event.on);
    case "edit":
      if (!isAfter(event, revisionOf(message))) return message;
      return { ...revised(message, event), text: event.text, mentions: event.mentions ?? [], edited: event.ts };
    case "delete": {
      const deleted = { by: event.sender, ts: event.ts };
      return { ...revised(message, event), text: "", mentions: [], edited: null, reactions: {}, deleted };
    }
  }
}

/** The last edit or delete that was applied. */
function revisionOf(message: Message): Position {
  return { epoch: message.rev_epoch || message.epoch, seq: message.rev ?? 0 };
}

function revised(message: Message, event: AmendEvent): Message {
  return { ...message, rev: event.seq, rev_epoch: event.epoch === message.epoch ? 0 : event.epoch };
}

export function react(message: Message, emoji: string, user: string, on: boolean): Message {
  const held = message.reactions?.[emoji] ?? [];
  if (held.includes(user) === on) return message;
  const users = on ? [...held, user].sort() : held.filter((other) => other !== user);
  const all = { ...message.reactions, [emoji]: users };
  const kept = Object.entries(all).filter(([, by]) => by.length > 0);
  return { ...message, reactions: Object.fromEntries(kept.sort(([a], [b]) => (a < b ? -1 : 1))) };
}

/** A timeline, and the positions of the amendments that were seen, by sender and id: a second copy of one is void. */
export interface Folded {
  readonly timeline: Timeline;
  readonly amended: ReadonlyMap<string, Position>;
}

/** This many amendments are remembered; an id comes again within the time that a command is retried, or never. */
const AMENDED_MAX = 1000;

/**
 * Fold one event; the same value where it changed nothing.
 *
 * Of two stored events with the same sender and id the first counts, whatever their kind. A page tells the ids of the
 * messages in it but not those of edits, deletes and reactions: their second copies are known by what was folded.
 */
export function foldEvent(held: Folded, event: StoredEvent): Folded {
  const key = `${event.sender}:${event.id}`;
  if (event.kind === "message" || event.kind === "member") {
    const timeline = held.amended.has(key) ? held.timeline : insert(held.timeline, messageOf(event));
    return timeline === held.timeline ? held : { timeline, amended: held.amended };
  }
  const first = held.amended.get(key);
  if (first !== undefined && !samePosition(first, event)) return held;
  if (held.timeline.some((message) => message.sender === event.sender && message.id === event.id)) return held;
  const timeline = amendIn(held.timeline, event);
  if (first !== undefined && timeline === held.timeline) return held;
  return { timeline, amended: remember(held.amended, key, { epoch: event.epoch, seq: event.seq }) };
}

function remember(amended: ReadonlyMap<string, Position>, key: string, at: Position): ReadonlyMap<string, Position> {
  const more = new Map(amended).set(key, at);
  const oldest = more.keys().next();
  if (more.size > AMENDED_MAX && oldest.done !== true) more.delete(oldest.value);
  return more;
}

function amendIn(timeline: Timeline, event: AmendEvent): Timeline {
  const at = indexOf(timeline, event.target);
  const held = timeline[at];
  if (held === undefined) return timeline;
  const changed = amend(held, event);
  return changed === held ? timeline : timeline.with(at, changed);
}

/** Add a page that may overlap what is held; of two states of one message the later revision stays. */
export function mergePage(timeline: Timeline, page: readonly Message[]): Timeline {
  return page.reduce(insert, timeline);
}

/** Of two entries with the same sender and id the lower position counts, the other is void. */
function insert(timeline: Timeline, message: Message): Timeline {
  const twin = timeline.findLastIndex((held) => held.sender === message.sender && held.id === message.id);
  const held = timeline[twin];
  if (held === undefined) return placed(timeline, message);
  if (samePosition(held, message)) {
    return isAfter(revisionOf(message), revisionOf(held)) ? timeline.with(twin, message) : timeline;
  }
  if (comparePositions(held, message) < 0) return timeline;
  return placed(timeline.toSpliced(twin, 1), message);
}

function placed(timeline: Timeline, message: Message): Timeline {
  const before = timeline.findLastIndex((held) => comparePositions(held, message) <= 0);
  const neighbour = timeline[before];
  if (neighbour !== undefined && samePosition(neighbour, message)) return timeline;
  return timeline.toSpliced(before + 1, 0, message);
}

/** Where the message of this position is held; -1 where it is not. */
export function indexOf(timeline: Timeline, position: Position): number {
  let low = 0;
  let high = timeline.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const held = timeline[middle];
    if (held === undefined) return -1;
    const order = comparePositions(held, position);
    if (order === 0) return middle;
    if (order < 0) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}

export function messageAt(timeline: Timeline, position: Position): Message | null {
  return timeline[indexOf(timeline, position)] ?? null;
}
