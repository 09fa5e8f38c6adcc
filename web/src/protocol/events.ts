/** Events of protocol v1; the types mirror `chatnode/protocol/events.py`. */

import type { Ack, MemberChange, Message, Position, Receipt, Reconnect, Refusal, Welcome } from "./frames";

interface Stored {
  readonly type: "event";
  readonly room: string;
  readonly epoch: number;
  readonly seq: number;
  /** `seq` of the event before this one in the room; 0 for the first. */
  readonly prev: number;
  /** What to present when subscribing again, once this event has been handled. */
  readonly cursor: string;
  readonly ts: number;
  readonly sender: string;
  readonly id: string;
}

export interface MessageEvent extends Stored {
  readonly kind: "message";
  readonly text: string;
  readonly reply_to?: Position;
  readonly mentions?: readonly string[];
}

export interface EditEvent extends Stored {
  readonly kind: "edit";
  readonly target: Position;
  readonly text: string;
  readonly mentions?: readonly string[];
}

export interface DeleteEvent extends Stored {
  readonly kind: "delete";
  readonly target: Position;
}

export interface ReactionEvent extends Stored {
  readonly kind: "reaction";
  readonly target: Position;
  readonly emoji: string;
  readonly on: boolean;
}

export interface MemberEvent extends Stored {
  readonly kind: "member";
  readonly change: MemberChange;
}

export type AmendEvent = EditEvent | DeleteEvent | ReactionEvent;
export type StoredEvent = MessageEvent | MemberEvent | AmendEvent;

export interface SubscribedEvent {
  readonly type: "event";
  readonly kind: "subscribed";
  readonly room: string;
  readonly cursor: string;
  readonly recovered: boolean;
  readonly messages?: readonly Message[];
  readonly more_before?: boolean;
  /** What the stream alone still holds. */
  readonly partial?: boolean;
  readonly receipts?: readonly Receipt[];
}

export interface UnsubscribedEvent {
  readonly type: "event";
  readonly kind: "unsubscribed";
  readonly room: string;
  readonly code: string;
  readonly message: string;
  readonly retryable: boolean;
}

export interface TypingEvent {
  readonly type: "event";
  readonly kind: "typing";
  readonly room: string;
  readonly sender: string;
  readonly active: boolean;
  readonly expires_ms: number;
}

export interface ReadEvent {
  readonly type: "event";
  readonly kind: "read";
  readonly room: string;
  readonly sender: string;
  readonly at: Position;
}

export interface PresenceEvent {
  readonly type: "event";
  readonly kind: "presence";
  readonly room: string;
  readonly online?: readonly string[];
  readonly offline?: readonly string[];
  readonly count?: number;
}

/** This user's own list of rooms changed; `role` null: no longer a member. */
export interface MembershipEvent {
  readonly type: "event";
  readonly kind: "membership";
  readonly room: string;
  readonly role: string | null;
  readonly room_kind: string;
  readonly title: string;
  readonly closed: boolean;
}

/** MongoDB is back: pages of the room that came as `partial` can be asked for again. */
export interface WholeEvent {
  readonly type: "event";
  readonly kind: "whole";
  readonly room: string;
}

/** Whether the node is cut off from what others write. */
export interface DelayedEvent {
  readonly type: "event";
  readonly kind: "delayed";
  readonly on: boolean;
}

export type PassingEvent =
  | SubscribedEvent
  | UnsubscribedEvent
  | TypingEvent
  | ReadEvent
  | PresenceEvent
  | MembershipEvent
  | WholeEvent
  | DelayedEvent;

export type RoomEvent = StoredEvent | PassingEvent;
export type ServerFrame = Welcome | Ack | Refusal | Reconnect | RoomEvent;
