/** The connection, and beside it for a moment a better one: greeting, heartbeat, loss and the way back. */

import { afterClose, CLOSE } from "../protocol/codes";
import type { Reconnect, Welcome } from "../protocol/frames";
import { followMore } from "./following";
import type { Climb, End } from "./ladder";
import * as ladder from "./ladder";
import type { Remembered } from "./actions";
import type { Room } from "./model";
import { pumpAll, withoutFlights } from "./outbox";
import type { Turn } from "./turn";

export const PONG_MS = 10_000;
/** No answer within this time to a ping that was sent because the network may have gone. */
export const DOUBT_MS = 4_000;
/** A stored command without any reply for this long: the connection is given up. */
export const REPLY_MS = 20_000;
/** For so long a welcomed probe waits for the replies that the lower connection owes. */
export const RISE_MS = 5_000;
/** While polling, what was told between two polls is missed: the list of rooms is asked for again after so long. */
export const POLLED_LIST_MS = 60_000;
/** A token this close to its end is renewed before it is used. */
const TOKEN_SLACK_MS = 5_000;
const RENEWAL_LEAST_MS = 10_000;
/** How many rooms `connect` resumes at most. */
export const RESUMED = 400;

export function start(turn: Turn, remembered: Remembered | null): void {
  const { now } = turn.env;
  climb(turn, ladder.start(turn.state.connection.ladder, now, remembered?.transport ?? null, remembered?.age ?? 0));
}

/** Carries out what the ladder decided. */
function climb(turn: Turn, [next, decision]: Climb): void {
  turn.setConnection({ ladder: next });
  if (decision.until === null) turn.emit({ do: "cancel", timer: "ladder" });
  else turn.emit({ do: "start", timer: "ladder", after: Math.max(0, decision.until - turn.env.now) });
  switch (decision.do) {
    case "stay":
      break;
    case "connect":
      lose(turn);
      open(turn);
      break;
    case "wait":
      lose(turn);
      turn.setConnection({ phase: "waiting", retryAt: decision.until ?? turn.env.now });
      break;
    case "probe":
      probe(turn);
      break;
    case "drop_probe":
      dropProbe(turn);
      break;
    case "switch":
      turn.emit({ do: "start", timer: "rise", after: RISE_MS });
      rise(turn, "idle");
      break;
  }
}

function open(turn: Turn, fresh = false): void {
  const { connection, token } = turn.state;
  turn.setConnection({ phase: "connecting", greeted: false, attempt: connection.attempt + 1 });
  // A token that came just now is tried whatever this device's clock says of its end: that clock may be hours ahead.
  if (connection.stale || (!fresh && token.expiresAt <= turn.env.now + TOKEN_SLACK_MS)) {
    turn.emit({ do: "renewToken" });
    return;
  }
  const number = connection.numbers + 1;
  turn.setConnection({ number, numbers: number });
  turn.emit({ do: "open", number, transport: ladder.transportOf(connection.ladder) });
}

function probe(turn: Turn): void {
  const number = turn.state.connection.numbers + 1;
  turn.setConnection({ probe: number, numbers: number, risen: null });
  turn.emit({ do: "open", number, transport: turn.state.connection.ladder.transports[0] ?? "websocket" });
}

function dropProbe(turn: Turn): void {
  const { probe: number } = turn.state.connection;
  if (number !== null) turn.emit({ do: "close", number });
  turn.emit({ do: "cancel", timer: "rise" });
  turn.setConnection({ probe: null, risen: null });
}

/** A connection can be spoken on: the current one presents cursors, a probe only asks to be welcomed. */
export function greet(turn: Turn, number: number): void {
  const frame = { type: "connect", id: turn.env.id(), token: turn.state.token.text } as const;
  if (number === turn.state.connection.probe) {
    turn.emit({ do: "send", number, frame });
    return;
  }
  const cursors: Record<string, string> = {};
  for (const room of Object.values(turn.state.rooms)) {
    if (room.following !== "wanted" || room.cursor === null || Object.keys(cursors).length >= RESUMED) continue;
    cursors[room.id] = room.cursor;
    turn.setRoom(room.id, { following: "asked" });
  }
  turn.setConnection({ greeted: true });
  turn.ask(Object.keys(cursors).length > 0 ? { ...frame, cursors } : frame, { about: "connect" });
}

export function welcome(turn: Turn, number: number, frame: Welcome): void {
  const { connection } = turn.state;
  if (number === connection.probe) {
    turn.setConnection({ risen: frame });
    climb(turn, ladder.probeWelcomed(connection.ladder, turn.env.now));
    return;
  }
  turn.answered(frame.id);
  climb(turn, ladder.welcomed(connection.ladder, turn.env.now));
  begun(turn, frame);
}

function begun(turn: Turn, frame: Welcome): void {
  turn.setConnection({
    phase: "connected",
    attempt: 0,
    node: frame.node,
    heartbeat: frame.heartbeat_ms,
    textBytes: frame.limits.text_bytes,
    renewing: false,
    delayed: false,
  });
  const transport = ladder.transportOf(turn.state.connection.ladder);
  turn.emit({ do: "remember", transport });
  turn.emit({ do: "start", timer: "heartbeat", after: frame.heartbeat_ms });
  tokenLasts(turn, frame.expires_at);
  turn.emit({ do: "listRooms" });
  if (transport === "poll") turn.emit({ do: "start", timer: "list", after: POLLED_LIST_MS });
  followMore(turn);
  pumpAll(turn);
}

/** Plans the renewal well before the end: a minute, or a quarter of what is left; never at once again. */
export function tokenLasts(turn: Turn, expiresAt: number): void {
  turn.set({ token: { ...turn.state.token, expiresAt } });
  const left = expiresAt - turn.env.now;
  const after = Math.max(RENEWAL_LEAST_MS, left - Math.min(60_000, left / 4));
  turn.emit({ do: "start", timer: "token", after: Math.min(after, 86_400_000) });
}

export function tokenDue(turn: Turn): void {
  if (turn.state.token.expiresAt - turn.env.now > 3_600_000) tokenLasts(turn, turn.state.token.expiresAt);
  else turn.emit({ do: "renewToken" });
}

export function tokenArrived(turn: Turn, text: string, expiresAt: number): void {
  turn.set({ token: { text, expiresAt } });
  const { phase, stale, greeted } = turn.state.connection;
  turn.setConnection({ stale: false });
  if (phase === "connected") turn.ask({ type: "refresh", id: turn.env.id(), token: text }, { about: "refresh" });
  else if (phase === "connecting" && !greeted) open(turn, true);
  else if (phase === "waiting" && stale) climb(turn, ladder.visible(turn.state.connection.ladder, turn.env.now));
}

export function tokenFailed(turn: Turn, refused: boolean): void {
  if (refused) leave(turn, "refused");
  else if (turn.connected) turn.emit({ do: "start", timer: "token", after: 5_000 });
  // Who gives tokens did not answer: that says nothing of the transport.
  else if (turn.state.connection.phase === "connecting") over(turn, { error: "unavailable" });
}

export function beat(turn: Turn): void {
  if (!turn.connected) return;
  turn.emit({ do: "start", timer: "heartbeat", after: turn.state.connection.heartbeat });
  if (hasSilentFlight(turn)) over(turn, {});
  else ping(turn, PONG_MS);
}

function hasSilentFlight(turn: Turn): boolean {
  const oldest = turn.env.now - REPLY_MS;
  return turn.state.leading && Object.values(turn.state.rooms).some((room) =>
    room.outbox.some((entry) => entry.stage === "flying" && entry.flownAt < oldest),
  );
}

/** Is anybody there? No answer within `deadline` ms: the connection is dead. */
function ping(turn: Turn, deadline: number): void {
  if (!turn.connected) return;
  turn.emit({ do: "start", timer: "pong", after: deadline });
  turn.ask({ type: "ping", id: turn.env.id() }, { about: "ping" });
}

/** The connection, or the attempt, is over. */
export function over(turn: Turn, end: End): void {
  climb(turn, ladder.ended(turn.state.connection.ladder, turn.env.now, end, turn.env.random()));
}

export function silent(turn: Turn): void {
  if (turn.connected) over(turn, {});
}

export function ticked(turn: Turn): void {
  const { phase, ladder: held } = turn.state.connection;
  if (phase !== "stopped") climb(turn, ladder.tick(held, turn.env.now, turn.env.random()));
}

/** The node goes away after `after_ms`; until then all works. */
export function moveLater(turn: Turn, number: number, frame: Reconnect): void {
  if (number === turn.state.connection.probe) return;
  climb(turn, ladder.reconnectIn(turn.state.connection.ladder, turn.env.now, frame.after_ms));
}

export function closed(turn: Turn, number: number, end: End): void {
  const { connection } = turn.state;
  if (number === connection.probe) {
    if (connection.risen !== null) over(turn, end);
    else {
      turn.setConnection({ probe: null });
      climb(turn, ladder.probeEnded(connection.ladder, turn.env.now, end));
    }
    return;
  }
  if (connection.risen !== null) {
    rise(turn, "now");
    return;
  }
  const { renewing } = connection;
  switch (end.code === undefined ? afterRefusal(end) : afterClose(end.code)) {
    case "reconnect":
      over(turn, end);
      break;
    case "new-token":
      over(turn, end);
      if (renewing) {
        leave(turn, "refused");
        break;
      }
      turn.setConnection({ renewing: true, stale: true });
      turn.emit({ do: "renewToken" });
      break;
    case "signed-out":
      leave(turn, "revoked");
      break;
    case "stop":
      stop(turn);
      break;
  }
}

function afterRefusal(end: End): ReturnType<typeof afterClose> {
  return end.status === 401 || end.error === "unauthenticated" ? afterClose(CLOSE.unauthenticated) : "reconnect";
}

function leave(turn: Turn, because: "revoked" | "refused"): void {
  stop(turn);
  turn.emit({ do: "leave", because });
}

function stop(turn: Turn): void {
  lose(turn);
  turn.emit({ do: "cancel", timer: "ladder" });
  turn.setConnection({ phase: "stopped" });
}

export function online(turn: Turn): void {
  const { phase, ladder: held } = turn.state.connection;
  const [next, decision] = ladder.online(held, turn.env.now);
  if (phase === "stopped") turn.setConnection({ ladder: next });
  else climb(turn, [next, decision]);
  if (decision.do !== "connect") ping(turn, DOUBT_MS);
}

export function offline(turn: Turn): void {
  const [next] = ladder.offline(turn.state.connection.ladder);
  turn.setConnection({ ladder: next });
  ping(turn, DOUBT_MS);
}

export function shown(turn: Turn): void {
  const { phase, ladder: held } = turn.state.connection;
  if (phase === "waiting") climb(turn, ladder.visible(held, turn.env.now));
  else ping(turn, DOUBT_MS);
}

/** The person asks for it. */
export function insist(turn: Turn): void {
  const { phase, ladder: held } = turn.state.connection;
  if (phase === "waiting") climb(turn, ladder.visible(held, turn.env.now));
  else if (phase === "stopped") start(turn, null);
}

/** A welcomed probe becomes the connection, with the cursors as they are then; the other one is closed. */
export function rise(turn: Turn, when: "idle" | "now"): void {
  const { probe: number, risen } = turn.state.connection;
  if (number === null || risen === null) return;
  const flies = (room: Room): boolean => turn.state.leading && room.outbox.some((entry) => entry.stage === "flying");
  if (when === "idle" && Object.values(turn.state.rooms).some(flies)) return;
  turn.setConnection({ probe: null, risen: null });
  lose(turn);
  turn.setConnection({ number, greeted: true });
  begun(turn, risen);
}

/** Ends what is open; forgets what depended on it. Cursors, timelines and outboxes stay. */
function lose(turn: Turn): void {
  const { connection } = turn.state;
  if (connection.phase === "connecting" || connection.phase === "connected") {
    turn.emit({ do: "close", number: connection.number });
  }
  dropProbe(turn);
  turn.setConnection({ greeted: false });
  turn.set({ questions: {}, rooms: mapRooms(turn.state.rooms, withoutConnection) });
  for (const timer of ["heartbeat", "pong", "token", "rise"] as const) turn.emit({ do: "cancel", timer });
}

function mapRooms(rooms: Readonly<Record<string, Room>>, change: (room: Room) => Room): Readonly<Record<string, Room>> {
  return Object.fromEntries(Object.entries(rooms).map(([id, room]) => [id, change(room)]));
}

function withoutConnection(room: Room): Room {
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
