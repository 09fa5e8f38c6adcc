/** One socket at a time: opening, greeting, heartbeat, loss and the way back. */

import { afterClose } from "../protocol/codes";
import type { Reconnect, Welcome } from "../protocol/frames";
import { backoff } from "./backoff";
import { followMore } from "./following";
import type { Room } from "./model";
import { pumpAll, withoutFlights } from "./outbox";
import type { Turn } from "./turn";

export const GREETING_MS = 10_000;
export const PONG_MS = 10_000;
export const PROBE_MS = 4_000;
/** A connection that held this long ends a run of failures. */
export const STEADY_MS = 10_000;
/** A stored command without any reply for this long: the connection is given up. */
export const REPLY_MS = 20_000;
/** A token this close to its end is renewed before it is used. */
const TOKEN_SLACK_MS = 5_000;
/** How many rooms `connect` resumes at most. */
export const RESUMED = 400;

export function open(turn: Turn): void {
  turn.emit({ do: "cancel", timer: "retry" });
  if (turn.state.token.expiresAt <= turn.env.now + TOKEN_SLACK_MS) {
    turn.setConnection({ phase: "connecting" });
    turn.emit({ do: "renewToken" });
    return;
  }
  const number = turn.state.connection.number + 1;
  turn.setConnection({ phase: "connecting", number, greeted: false });
  turn.emit({ do: "open", number });
  turn.emit({ do: "start", timer: "greeting", after: GREETING_MS });
}

export function greet(turn: Turn): void {
  const cursors: Record<string, string> = {};
  for (const room of Object.values(turn.state.rooms)) {
    if (room.following !== "wanted" || room.cursor === null || Object.keys(cursors).length >= RESUMED) continue;
    cursors[room.id] = room.cursor;
    turn.setRoom(room.id, { following: "asked" });
  }
  turn.setConnection({ greeted: true });
  const frame = { type: "connect", id: turn.env.id(), token: turn.state.token.text } as const;
  turn.ask(Object.keys(cursors).length > 0 ? { ...frame, cursors } : frame, { about: "connect" });
}

export function welcome(turn: Turn, frame: Welcome): void {
  turn.answered(frame.id);
  turn.setConnection({
    phase: "connected",
    since: turn.env.now,
    node: frame.node,
    heartbeat: frame.heartbeat_ms,
    textBytes: frame.limits.text_bytes,
    renewing: false,
  });
  turn.emit({ do: "cancel", timer: "greeting" });
  turn.emit({ do: "start", timer: "heartbeat", after: frame.heartbeat_ms });
  tokenLasts(turn, frame.expires_at);
  turn.emit({ do: "listRooms" });
  followMore(turn);
  pumpAll(turn);
}

/** Plans the renewal well before the end: a minute, or a quarter of what is left. */
export function tokenLasts(turn: Turn, expiresAt: number): void {
  turn.set({ token: { ...turn.state.token, expiresAt } });
  const left = expiresAt - turn.env.now;
  const after = Math.max(1_000, left - Math.min(60_000, left / 4));
  turn.emit({ do: "start", timer: "token", after: Math.min(after, 86_400_000) });
}

export function tokenDue(turn: Turn): void {
  if (turn.state.token.expiresAt - turn.env.now > 3_600_000) tokenLasts(turn, turn.state.token.expiresAt);
  else turn.emit({ do: "renewToken" });
}

export function tokenArrived(turn: Turn, text: string, expiresAt: number): void {
  turn.set({ token: { text, expiresAt } });
  const { phase, greeted } = turn.state.connection;
  if (phase === "connected") turn.ask({ type: "refresh", id: turn.env.id(), token: text }, { about: "refresh" });
  else if (phase === "connecting" && !greeted) open(turn);
}

export function tokenFailed(turn: Turn, refused: boolean): void {
  if (refused) leave(turn, "refused");
  else if (turn.connected) turn.emit({ do: "start", timer: "token", after: 5_000 });
  else if (turn.state.connection.phase === "connecting") wait(turn);
}

export function beat(turn: Turn): void {
  if (!turn.connected) return;
  turn.emit({ do: "start", timer: "heartbeat", after: turn.state.connection.heartbeat });
  if (hasSilentFlight(turn)) giveUp(turn);
  else probe(turn, PONG_MS);
}

function hasSilentFlight(turn: Turn): boolean {
  const oldest = turn.env.now - REPLY_MS;
  return Object.values(turn.state.rooms).some((room) =>
    room.outbox.some((entry) => entry.stage === "flying" && entry.flownAt < oldest),
  );
}

/** Is anybody there? No answer within `deadline` ms: the connection is dead. */
export function probe(turn: Turn, deadline: number): void {
  if (!turn.connected) return;
  turn.emit({ do: "start", timer: "pong", after: deadline });
  turn.ask({ type: "ping", id: turn.env.id() }, { about: "ping" });
}

export function giveUp(turn: Turn): void {
  turn.emit({ do: "close", number: turn.state.connection.number });
  lose(turn);
  wait(turn);
}

/** The node goes away after `after_ms`; until then all works. */
export function moveLater(turn: Turn, frame: Reconnect): void {
  turn.emit({ do: "start", timer: "moving", after: frame.after_ms });
}

export function moveNow(turn: Turn): void {
  turn.emit({ do: "close", number: turn.state.connection.number });
  lose(turn);
  open(turn);
}

export function closed(turn: Turn, code: number): void {
  const { renewing } = turn.state.connection;
  lose(turn);
  switch (afterClose(code)) {
    case "reconnect":
      wait(turn);
      break;
    case "new-token":
      if (renewing) {
        leave(turn, "refused");
        break;
      }
      turn.setConnection({ phase: "connecting", renewing: true });
      turn.emit({ do: "renewToken" });
      break;
    case "signed-out":
      leave(turn, "revoked");
      break;
    case "stop":
      turn.setConnection({ phase: "stopped" });
      break;
  }
}

function leave(turn: Turn, because: "revoked" | "refused"): void {
  turn.setConnection({ phase: "stopped" });
  turn.emit({ do: "leave", because });
}

function wait(turn: Turn): void {
  const { attempt } = turn.state.connection;
  const after = backoff(attempt, turn.env.random());
  turn.setConnection({ phase: "waiting", attempt: attempt + 1, retryAt: turn.env.now + after });
  turn.emit({ do: "start", timer: "retry", after });
}

/** Forgets what depended on the socket; cursors, timelines and outboxes stay. */
function lose(turn: Turn): void {
  const { phase, since, attempt } = turn.state.connection;
  const steady = phase === "connected" && turn.env.now - since >= STEADY_MS;
  turn.setConnection({ greeted: false, attempt: steady ? 0 : attempt });
  turn.set({ questions: {}, rooms: mapRooms(turn.state.rooms, withoutSocket) });
  for (const timer of ["greeting", "heartbeat", "pong", "moving", "token"] as const) turn.emit({ do: "cancel", timer });
}

function mapRooms(rooms: Readonly<Record<string, Room>>, change: (room: Room) => Room): Readonly<Record<string, Room>> {
  return Object.fromEntries(Object.entries(rooms).map(([id, room]) => [id, change(room)]));
}

function withoutSocket(room: Room): Room {
  const unanswered = Object.entries(room.quotes).filter(([, quote]) => quote !== "asked");
  return {
    ...room,
    following: room.following === "none" ? "none" : "wanted",
    gapAt: null,
    history: "idle",
    loose: [],
    quotes: Object.fromEntries(unanswered),
    reporting: false,
    online: null,
    onlineCount: 0,
    typing: {},
    typedAt: 0,
    paused: false,
    outbox: withoutFlights(room.outbox),
  };
}
