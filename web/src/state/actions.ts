/** What can happen to the state, and what the state asks of the world. */

import type { ServerFrame } from "../protocol/events";
import type { CommandFrame, Position } from "../protocol/frames";
import type { Copy } from "./copies";
import type { End, Transport } from "./ladder";
import type { KeptRoom } from "./list";
import type { Entry, Member, Token, Undone } from "./model";

/** One line of `GET /v1/rooms`. */
export interface ListedRoom {
  readonly room: string;
  readonly kind: "course" | "direct";
  readonly title: string;
  readonly closed: boolean;
  readonly role: string;
  readonly last?: Position | null;
  readonly last_ts: number;
  readonly unread: number;
  readonly read?: Position | null;
  readonly peer?: string | null;
  readonly peer_name?: string;
}

/** Named timers: starting one again replaces it. */
export type TimerName =
  | "ladder"
  | "heartbeat"
  | "pong"
  | "rise"
  | "lead"
  | "token"
  | "list"
  | `outbox ${string}`
  | `follow ${string}`
  | `members ${string}`
  | `presence ${string}`
  | `whole ${string}`
  | `typing ${string}`;


/**
 * What windows of one person in one browser say to each other. `entry`: how it stands, or that it is new · `gone`: it is
 * not durable any more · `all`: what the one that leads holds, said after `hello` · `wanted`: somebody could send and
 * waits for the one that leads.
 */
export type Word =
  | { readonly say: "hello" | "wanted" }
  | { readonly say: "entry"; readonly entry: Entry }
  | ({ readonly say: "gone" } & Gone)
  | { readonly say: "all"; readonly entries: readonly Entry[] }
  | { readonly say: "retry"; readonly room: string; readonly id: string }
  | ({ readonly say: "discard" } & Discard);

/** What is not durable any more: stored at `at`, or given up (`undone` says how), or known under another id now. */
export interface Gone {
  readonly room: string;
  readonly id: string;
  readonly at: Position | null;
  readonly undone?: Undone;
}

/** To throw a command away; `accepted` is what the person was told would become of it. */
export interface Discard {
  readonly room: string;
  readonly id: string;
  readonly accepted: Undone;
}

/** The transport that was open last, and for how long that is past. */
export interface Remembered {
  readonly transport: Transport;
  readonly age: number;
}

export type Action =
  | {
      readonly type: "started";
      readonly entries: readonly Entry[];
      /** Ids of those that no other window may have heard of. */
      readonly untold?: readonly string[];
      readonly listed?: readonly KeptRoom[];
      readonly copies?: readonly Copy[];
      readonly remembered?: Remembered;
    }
  | { readonly type: "lineOpened"; readonly number: number }
  | { readonly type: "frameArrived"; readonly number: number; readonly frame: ServerFrame }
  | { readonly type: "lineClosed"; readonly number: number; readonly end: End }
  | { readonly type: "timerFired"; readonly name: TimerName }
  | { readonly type: "roomsListed"; readonly rooms: readonly ListedRoom[] }
  | { readonly type: "listFailed" }
  | { readonly type: "membersListed"; readonly room: string; readonly members: readonly Member[] }
  | { readonly type: "membersFailed"; readonly room: string; readonly refused: boolean }
  | { readonly type: "tokenArrived"; readonly token: Token }
  | { readonly type: "tokenFailed"; readonly refused: boolean }
  | { readonly type: "entryKept"; readonly room: string; readonly id: string; readonly order: number | null }
  /** `entries` is what is durable, read when this window held what `held` names; and maybe it is this window's turn to send. */
  | { readonly type: "leadTaken" | "outboxRead"; readonly entries: readonly Entry[]; readonly held: readonly string[] }
  | { readonly type: "windowSaid"; readonly word: Word }
  | { readonly type: "roomOpened"; readonly room: string | null }
  | { readonly type: "wrote"; readonly room: string; readonly text: string; readonly replyTo: Position | null }
  | { readonly type: "rewrote"; readonly room: string; readonly target: Position; readonly text: string }
  | { readonly type: "removed"; readonly room: string; readonly target: Position }
  | { readonly type: "reacted"; readonly room: string; readonly target: Position; readonly emoji: string; readonly on: boolean }
  | { readonly type: "retried"; readonly room: string; readonly id: string }
  | ({ readonly type: "discarded" } & Discard)
  | { readonly type: "typed"; readonly room: string; readonly active: boolean }
  | { readonly type: "seen"; readonly room: string }
  | { readonly type: "historyWanted"; readonly room: string }
  | { readonly type: "quoteWanted"; readonly room: string; readonly at: Position }
  /** What the device says of its network, and that somebody looks at the page. */
  | { readonly type: "online" }
  | { readonly type: "offline" }
  | { readonly type: "shown" }
  | { readonly type: "connectNow" };

export type Effect =
  /** Begin a connection; several may be open, each with its number. */
  | { readonly do: "open"; readonly number: number; readonly transport: Transport }
  | { readonly do: "close"; readonly number: number }
  | { readonly do: "send"; readonly number: number; readonly frame: CommandFrame }
  | { readonly do: "start"; readonly timer: TimerName; readonly after: number }
  | { readonly do: "cancel"; readonly timer: TimerName }
  | { readonly do: "remember"; readonly transport: Transport }
  | { readonly do: "listRooms" }
  | { readonly do: "listMembers"; readonly room: string }
  | { readonly do: "renewToken" }
  | { readonly do: "keep"; readonly entry: Entry }
  /** Make it no longer durable, then say so to the other windows. */
  | ({ readonly do: "drop" } & Gone)
  | { readonly do: "tell"; readonly word: Word }
  /** Another window may have made something durable. */
  | { readonly do: "readOutbox" }
  /** It is this window's turn to send, once it knows what is durable as of what it holds now. */
  | { readonly do: "readAgain" }
  /** Another window of the same person is to send. */
  | { readonly do: "giveLead" }
  /** Keep a copy of this room on this device soon; or keep none. */
  | { readonly do: "copy" | "forgetCopy"; readonly room: string }
  /** Keep the list of rooms on this device soon. */
  | { readonly do: "keepList" }
  | { readonly do: "leave"; readonly because: "revoked" | "refused" };

/** A decision: the state after it, and what to do. */
export interface Step<S> {
  readonly state: S;
  readonly effects: readonly Effect[];
}
