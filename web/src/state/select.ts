/** What views show, derived from the state. */

import type { Message } from "../protocol/frames";
import { amend, react } from "./fold";
import type { Entry, Room, State } from "./model";
import { isAfter, samePosition } from "./positions";

/** When something last happened in a room. */
export function activityOf(room: Room): number {
  const newest = room.timeline.at(-1)?.ts ?? 0;
  const own = room.outbox.at(-1)?.created ?? 0;
  return Math.max(newest, room.told.lastTs, own);
}

export function byActivity(state: State): readonly Room[] {
  return Object.values(state.rooms).sort((a, b) => activityOf(b) - activityOf(a) || (a.title < b.title ? -1 : 1));
}

/** Messages of others that came after what this person has read. */
export function unreadOf(room: Room, me: string): number {
  const { told, read } = room;
  const afterTold = told.last === null || (read !== null && isAfter(read, told.last)) ? read : told.last;
  const readMore = read !== null && isAfter(read, told.read);
  const listed = readMore ? 0 : told.unread;
  const from = readMore ? read : afterTold;
  return listed + room.timeline.filter((message) => counts(message, me) && isAfter(message, from)).length;
}

function counts(message: Message, me: string): boolean {
  return message.sender !== me && !message.notice && !message.deleted;
}

/** What waits for rooms that are none of this person's, as the node has told. */
export function strandedOf({ list, restored }: State): readonly Entry[] {
  // Of earlier visits it is known alone that an attempt may have been made.
  return list === "ready" ? restored.map((entry) => ({ ...entry, attempted: entry.attempted || entry.marked })) : [];
}

/** How many commands of this person are on this device and not known to be stored, save what was refused. */
export function waitingOf({ rooms, restored }: State): number {
  const held = [...Object.values(rooms).flatMap(({ outbox }) => outbox), ...restored];
  return held.filter(({ stage, at }) => at === null && stage !== "failed" && stage !== "sent").length;
}

/** Its messages are at hand, be it that there are none. */
export function isKept(room: Room): boolean {
  return room.following === "live" || room.cursor !== null || room.timeline.length > 0;
}

/** Commands of this room do not get on: one of them was refused for now. */
export function isStuck(room: Room): boolean {
  return room.outbox.some(({ stage, problem }) => stage !== "failed" && problem !== null);
}

export type Mark = "pending" | "retrying" | "failed" | "sent";

/** One line of the timeline: a message, and how the person's own wishes for it stand. */
export interface Line {
  /** Stays the same from pending to stored. */
  readonly key: string;
  readonly message: Message;
  readonly mark: Mark;
  /** The command that waits or failed: of the message itself, or the last one that changes it. */
  readonly entry: Entry | null;
  readonly stored: boolean;
}

/** The timeline with everything that this person has asked for already in place. */
export function linesOf(room: Room, me: string): readonly Line[] {
  const amendments = room.outbox.filter((entry) => entry.command.type !== "send");
  const lines = room.timeline.map((message) => lineOf(message, amendments, me));
  const sends = room.outbox.flatMap((entry) => pendingLine(entry, me) ?? []);
  return sends.length > 0 ? [...lines, ...sends] : lines;
}

function lineOf(message: Message, amendments: readonly Entry[], me: string): Line {
  const key = `${message.sender}:${message.id}`;
  let shown = message;
  let last: Entry | null = null;
  for (const entry of amendments) {
    const { command } = entry;
    if (command.type === "send" || !samePosition(command.target, message)) continue;
    if (entry.stage !== "failed") shown = wished(shown, entry, me);
    if (entry.at === null) last = entry;
  }
  return { key, message: shown, mark: last === null ? "sent" : markOf(last), entry: last, stored: true };
}

function wished(message: Message, entry: Entry, me: string): Message {
  const { command } = entry;
  const event = { ...message, type: "event", prev: 0, cursor: "", sender: me, ts: entry.created, epoch: Infinity, seq: Infinity } as const;
  switch (command.type) {
    case "send":
      return message;
    case "react":
      return message.deleted ? message : react(message, command.emoji, me, command.on);
    case "edit":
      return amend(message, { ...event, kind: "edit", target: command.target, text: command.text, mentions: [] });
    case "delete":
      return amend(message, { ...event, kind: "delete", target: command.target });
  }
}

function pendingLine(entry: Entry, me: string): Line | null {
  const { command } = entry;
  // Where the event was seen before the ack, the message is in the timeline already.
  const shown = entry.at !== null && entry.stage !== "sent";
  if (command.type !== "send" || shown) return null;
  const message: Message = {
    room: entry.room,
    epoch: entry.at?.epoch ?? 0,
    seq: entry.at?.seq ?? 0,
    id: entry.id,
    sender: me,
    ts: entry.created,
    text: command.text,
    reply_to: command.reply_to ?? null,
  };
  return { key: `${me}:${entry.id}`, message, mark: markOf(entry), entry, stored: false };
}

function markOf(entry: Entry): Mark {
  if (entry.stage === "failed" || entry.stage === "sent") return entry.stage;
  return entry.refusals > 1 ? "retrying" : "pending";
}

/** This person's last message that can still be changed. */
export function lastOwn(room: Room, me: string): Message | null {
  return room.timeline.findLast((message) => message.sender === me && !message.deleted && !message.notice) ?? null;
}

/** Who else has read up to this message. */
export function readersOf(room: Room, message: Message): readonly string[] {
  return Object.entries(room.receipts)
    .filter(([user, at]) => user !== message.sender && !isAfter(message, at))
    .map(([user]) => user);
}
