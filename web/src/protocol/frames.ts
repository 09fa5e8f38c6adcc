/** Frames of protocol v1 (`docs/protocol.md`); the types mirror `chatnode/protocol/frames.py`. Times are milliseconds since 1970 UTC. */

export type Role = "learner" | "trainer" | "moderator";
export type RoomKind = "course" | "direct";

/** The place of an event in its room's order. */
export interface Position {
  readonly epoch: number;
  readonly seq: number;
}

export interface SendCommand {
  readonly type: "send";
  readonly room: string;
  readonly text: string;
  readonly reply_to?: Position;
  readonly mentions?: readonly string[];
}

export interface EditCommand {
  readonly type: "edit";
  readonly room: string;
  readonly target: Position;
  readonly text: string;
  readonly mentions?: readonly string[];
}

export interface DeleteCommand {
  readonly type: "delete";
  readonly room: string;
  readonly target: Position;
}

export interface ReactCommand {
  readonly type: "react";
  readonly room: string;
  readonly target: Position;
  readonly emoji: string;
  readonly on: boolean;
}

/** A command whose effect is one stored event; its ack means: stored. */
export type StoredCommand = SendCommand | EditCommand | DeleteCommand | ReactCommand;

export type PassingCommand =
  | { readonly type: "connect"; readonly token: string; readonly cursors?: Readonly<Record<string, string>> }
  | { readonly type: "subscribe"; readonly room: string; readonly cursor?: string; readonly limit?: number }
  | { readonly type: "unsubscribe"; readonly room: string }
  | { readonly type: "read"; readonly room: string; readonly at: Position }
  | { readonly type: "typing"; readonly room: string; readonly active: boolean }
  | {
      readonly type: "history";
      readonly room: string;
      readonly before?: Position;
      readonly after?: Position;
      readonly around?: Position;
      readonly limit?: number;
    }
  | { readonly type: "presence"; readonly room: string }
  | { readonly type: "refresh"; readonly token: string }
  | { readonly type: "ping" };

/** `again` is true on every attempt but the first. */
export type CommandFrame = (StoredCommand & { readonly again?: true } | PassingCommand) & { readonly id: string };

export interface MemberChange {
  readonly user: string;
  /** null: no longer a member. */
  readonly role: string | null;
  readonly name?: string;
}

/** A message as it stands now, all edits, deletes and reactions folded in. Absent fields are empty. */
export interface Message {
  readonly room: string;
  readonly epoch: number;
  readonly seq: number;
  /** The id of the command that made it: with `sender`, unique. */
  readonly id: string;
  readonly sender: string;
  readonly ts: number;
  readonly text?: string;
  readonly reply_to?: Position | null;
  readonly mentions?: readonly string[];
  readonly edited?: number | null;
  /** `seq` of the last edit or delete that was applied. */
  readonly rev?: number;
  /** Epoch of `rev`, where that is not the message's own: after a restore numbers may come again. */
  readonly rev_epoch?: number;
  readonly deleted?: { readonly by: string; readonly ts: number } | null;
  readonly reactions?: Readonly<Record<string, readonly string[]>>;
  /** Set on entries that are not messages: somebody joined, left or changed role. */
  readonly notice?: MemberChange | null;
}

export interface Receipt {
  readonly user: string;
  readonly at: Position;
}

export interface Welcome {
  readonly type: "welcome";
  readonly id: string;
  readonly user: string;
  readonly name: string;
  readonly node: string;
  readonly session: string;
  readonly version: string;
  readonly heartbeat_ms: number;
  readonly expires_at: number;
  readonly limits: { readonly text_bytes: number; readonly page: number; readonly cursors: number };
}

/** The one good answer to a command; which fields are set depends on the command. */
export interface Ack {
  readonly type: "ack";
  readonly id: string;
  readonly room?: string;
  readonly epoch?: number;
  readonly seq?: number;
  readonly ts?: number;
  readonly cursor?: string;
  readonly recovered?: boolean;
  readonly messages?: readonly Message[];
  readonly more_before?: boolean;
  readonly more_after?: boolean;
  /** What the stream alone still holds: older messages may be missing, and are not gone. */
  readonly partial?: boolean;
  readonly receipts?: readonly Receipt[];
  readonly online?: readonly string[];
  readonly count?: number;
  readonly expires_at?: number;
}

/** The one refusing answer; `retry_after` is in seconds. */
export interface Refusal {
  readonly type: "error";
  readonly code: string;
  readonly message: string;
  readonly retryable: boolean;
  readonly id?: string;
  readonly field?: string;
  readonly retry_after?: number;
}

export interface Reconnect {
  readonly type: "reconnect";
  readonly after_ms: number;
  readonly reason: string;
}
