/** Everything that the client knows about one signed-in person's conversations. Immutable. */

import type { AmendEvent } from "../protocol/events";
import type { ErrorCode } from "../protocol/codes";
import type { Message, Position, RoomKind, StoredCommand, Welcome } from "../protocol/frames";
import type { Timeline } from "./fold";
import type { Ladder } from "./ladder";
import { newLadder } from "./ladder";

export interface Person {
  readonly user: string;
  readonly name: string;
}

export interface Token {
  readonly text: string;
  readonly expiresAt: number;
}

/** `waiting`: for the next attempt at `retryAt`; `stopped`: nothing is tried until the person asks. */
export type Phase = "idle" | "connecting" | "connected" | "waiting" | "stopped";

export interface Connection {
  readonly phase: Phase;
  /** How it is made, and what is tried next. */
  readonly ladder: Ladder;
  /** Number of the current connection; what older ones still say is not heard. */
  readonly number: number;
  /** Number of a better one that is tried beside it. */
  readonly probe: number | null;
  /** The probe was welcomed; it takes over once no command is under way on the current one. */
  readonly risen: Welcome | null;
  /** The last number that was given away. */
  readonly numbers: number;
  /** It is open and `connect` was sent. */
  readonly greeted: boolean;
  /** Attempts since the last welcome. */
  readonly attempt: number;
  readonly retryAt: number;
  readonly node: string;
  readonly heartbeat: number;
  readonly textBytes: number;
  /** The last attempt was refused for its token: a second time in a row is final. */
  readonly renewing: boolean;
  /** The node hears nothing of what others write, for the moment. */
  readonly delayed: boolean;
  /** The token is not to be used again; a new one has been asked for. */
  readonly stale: boolean;
}

/** What an id that waits for its reply was for. */
export type Question =
  | { readonly about: "connect" | "ping" | "refresh" }
  | { readonly about: "subscribe" | "presence" | "history"; readonly room: string }
  | { readonly about: "read"; readonly room: string; readonly at: Position }
  | { readonly about: "quote"; readonly room: string; readonly at: Position }
  | { readonly about: "stored"; readonly room: string };

/** Between the person's wish and the acknowledged storage. */
export interface Entry {
  readonly id: string;
  readonly room: string;
  readonly command: StoredCommand;
  readonly created: number;
  /** `storing`: not yet durable here · `queued` · `flying`: no reply yet · `failed`: refused · `sent`: acked, event not yet seen. */
  readonly stage: "storing" | "queued" | "flying" | "failed" | "sent";
  /** Its place among all that this person has written in this browser; null until it is durable. */
  readonly order: number | null;
  /** It is durable that attempts may have been made. */
  readonly marked: boolean;
  /** An attempt may have reached a node: the next one says `again: true`. */
  readonly attempted: boolean;
  /** When the attempt that is under way began. */
  readonly flownAt: number;
  /** Retryable refusals in a row. */
  readonly refusals: number;
  readonly problem: ErrorCode | null;
  /** Where it is stored, known by the ack or by the event, whichever came first. */
  readonly at: Position | null;
}

/** What becomes of a command that is thrown away. `cancelled`: nobody has it and nobody will · `maybe`: it may be stored all the same. */
export type Undone = "cancelled" | "maybe";

/** `wanted`: to be asked for · `asked` · `live`: events flow · `refused`: a retry is due at a timer. */
export type Following = "none" | "wanted" | "asked" | "live" | "refused";

export interface Member {
  readonly user: string;
  readonly role: string;
  readonly name: string;
}

export interface Room {
  readonly id: string;
  readonly kind: RoomKind;
  readonly title: string;
  readonly closed: boolean;
  readonly role: string;
  /** The other person of a direct room. */
  readonly peer: string | null;
  readonly peerName: string;
  /** As the list of rooms last told: how many unread after `read`, up to `last`. */
  readonly told: { readonly unread: number; readonly read: Position | null; readonly last: Position | null; readonly lastTs: number };
  /** Up to where this person has read. */
  readonly read: Position | null;
  /** A `read` is under way. */
  readonly reporting: boolean;

  readonly following: Following;
  readonly cursor: string | null;
  /** The cursor at which a gap was found last: a second one there means that resuming does not help. */
  readonly gapAt: string | null;
  /** The last event that was handled; null right after a page, whose end is known to the node alone. */
  readonly last: Position | null;
  readonly timeline: Timeline;
  /** Positions of the amendments that were folded, by sender and id. */
  readonly amended: ReadonlyMap<string, Position>;
  readonly moreBefore: boolean;
  /** Messages may be missing that are not gone: the node could not look into history. */
  readonly partial: boolean;
  /** This person has looked into it: a copy is kept on this device. */
  readonly visited: boolean;
  readonly history: "idle" | "loading" | "failed";
  /** Amendments of messages that are not held, while a page is on its way that may hold them as they were before. */
  readonly loose: readonly AmendEvent[];
  /** Messages outside the timeline that replies quote; "gone" where there is none. */
  readonly quotes: Readonly<Record<string, Message | "asked" | "gone">>;

  readonly members: readonly Member[] | null;
  readonly online: readonly string[] | null;
  readonly onlineCount: number;
  /** Who is typing, until when. */
  readonly typing: Readonly<Record<string, number>>;
  /** When the node was last told that this person is typing; 0: not told, or told that it ended. */
  readonly typedAt: number;
  readonly receipts: Readonly<Record<string, Position>>;

  readonly outbox: readonly Entry[];
  /** After a retryable refusal nothing is sent until this is over and every reply has come. */
  readonly paused: boolean;
  /** Commands that may wait for their reply at the same time. */
  readonly window: number;
  /** What was thrown away here last, and what became of it; until something else is done. */
  readonly undone: { readonly what: "message" | "change"; readonly how: Undone } | null;
}

export interface State {
  readonly me: Person;
  readonly token: Token;
  readonly connection: Connection;
  readonly list: "loading" | "ready" | "failed";
  readonly rooms: Readonly<Record<string, Room>>;
  readonly open: string | null;
  readonly names: Readonly<Record<string, string>>;
  readonly questions: Readonly<Record<string, Question>>;
  /** This window sends what the person's windows in this browser have in their outbox; the others show how it stands. */
  readonly leading: boolean;
  /** Ids of commands that are not durable any more; what was read before may still name them. */
  readonly gone: readonly string[];
  /** Unsent commands of earlier visits, until the list of rooms tells where they belong. */
  readonly restored: readonly Entry[];
}

export function initialState(me: Person, token: Token): State {
  return {
    me,
    token,
    connection: {
      phase: "idle",
      ladder: newLadder(),
      number: 0,
      probe: null,
      risen: null,
      numbers: 0,
      greeted: false,
      attempt: 0,
      retryAt: 0,
      node: "",
      heartbeat: 25_000,
      textBytes: 16 * 1024,
      renewing: false,
      delayed: false,
      stale: false,
    },
    list: "loading",
    rooms: {},
    open: null,
    names: { [me.user]: me.name },
    questions: {},
    leading: false,
    gone: [],
    restored: [],
  };
}

/** Commands of one room that wait for their reply at the same time, where nothing was refused lately. */
export const WINDOW = 8;

export function newRoom(id: string, kind: RoomKind, title: string): Room {
  return {
    id,
    kind,
    title,
    closed: false,
    role: "learner",
    peer: null,
    peerName: "",
    told: { unread: 0, read: null, last: null, lastTs: 0 },
    read: null,
    reporting: false,
    following: "none",
    cursor: null,
    gapAt: null,
    last: null,
    timeline: [],
    amended: new Map(),
    moreBefore: false,
    partial: false,
    visited: false,
    history: "idle",
    loose: [],
    quotes: {},
    members: null,
    online: null,
    onlineCount: 0,
    typing: {},
    typedAt: 0,
    receipts: {},
    outbox: [],
    paused: false,
    window: WINDOW,
    undone: null,
  };
}
