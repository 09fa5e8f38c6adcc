/**
 * Which transport is tried next, and when. The rules are in `docs/client.md`; `tests/vectors/transports.json` shows each,
 * for every client. Values in, values out; times are milliseconds of one clock.
 */

import { backoff } from "./backoff";

export type Transport = "websocket" | "sse" | "poll";

/** In the order of preference. */
export const LADDER: readonly Transport[] = ["websocket", "sse", "poll"];

/** An attempt that has no welcome by then has failed. */
export const WELCOME_MS = 10_000;
/** A connection that is cut within so long after its welcome was short. */
export const SHORT_MS = 10_000;
/** Failed attempts, or short connections, one after the other until the next transport is tried. */
export const FAILURES_MAX = 2;
export const SHORTS_MAX = 3;
export const PROBE_MS = 60_000;
export const PROBE_LONGEST_MS = 600_000;
/** For how long the transport that worked last is the first one to try. */
export const REMEMBERED_MS = 600_000;

/** How an attempt or a connection ended, as far as the client was told. */
export interface End {
  /** Of an HTTP answer that is no success. */
  readonly status?: number;
  /** Of a close frame that came from the other side. */
  readonly code?: number;
  /** Code of an `error` frame that ended it. */
  readonly error?: string;
  /** Milliseconds, where the server named a time. */
  readonly retryAfter?: number;
}

/**
 * `connect`: give up whatever is open or under way, begin an attempt of `transport` · `wait`: give up the same, nothing
 * until `until` · `stay` · `probe`: begin a connection of the first transport beside the one that is open · `drop_probe` ·
 * `switch`: the probe is the connection now, close the other one.
 */
export type Do = "connect" | "wait" | "stay" | "probe" | "drop_probe" | "switch";

export interface Decision {
  readonly do: Do;
  /** The one that is open, tried, or to be tried next; of a probe, the one beside which it runs. */
  readonly transport: Transport;
  /** When `tick` is due, unless something comes before. */
  readonly until: number | null;
}

export interface Ladder {
  readonly transports: readonly Transport[];
  readonly rung: number;
  readonly state: "trying" | "waiting" | "well";
  /** When the state began. */
  readonly since: number;
  /** `trying`: no welcome is waited for any longer. `waiting`: the next attempt. */
  readonly until: number | null;
  /** When the server wants to see this client again; nothing but that time ends a wait for it. */
  readonly toldUntil: number | null;
  readonly failures: number;
  readonly shorts: number;
  readonly waits: number;
  readonly offline: boolean;
  readonly probeMs: number;
  readonly probeAt: number | null;
  /** A probe runs, and is given up then. */
  readonly probeUntil: number | null;
}

export type Climb = readonly [Ladder, Decision];

export function newLadder(transports: readonly Transport[] = LADDER): Ladder {
  return {
    transports,
    rung: 0,
    state: "waiting",
    since: 0,
    until: null,
    toldUntil: null,
    failures: 0,
    shorts: 0,
    waits: 0,
    offline: false,
    probeMs: PROBE_MS,
    probeAt: null,
    probeUntil: null,
  };
}

export function transportOf(ladder: Ladder): Transport {
  return ladder.transports[ladder.rung] ?? "websocket";
}

/** A living server said so. Else the reason is the transport's, and counts against it. */
export function isOfServer(end: End): boolean {
  if (end.error !== undefined) return true;
  // RFC 6455, 7.4.1, and its registry: going away, service restart, try again later.
  if (end.code !== undefined) return [1001, 1012, 1013].includes(end.code) || (end.code >= 4000 && end.code <= 4999);
  if (end.status === 503) return end.retryAfter !== undefined;
  return end.status === 401 || end.status === 403 || end.status === 429;
}

/** `remembered` is the transport that was open last, `age` milliseconds ago, where the client knows it. */
export function start(ladder: Ladder, now: number, remembered: Transport | null = null, age = 0): Climb {
  const rung = remembered === null || age >= REMEMBERED_MS ? -1 : ladder.transports.indexOf(remembered);
  return attempt({ ...ladder, rung: rung < 0 ? ladder.rung : rung }, now);
}

/** The attempt has its welcome, or its first good answer. */
export function welcomed(ladder: Ladder, now: number): Climb {
  if (ladder.state !== "trying") return stay(ladder);
  return stay(plannedProbe({ ...ladder, state: "well", since: now, until: null, failures: 0 }, now));
}

/** The attempt, or the connection, is over; `draw` in [0, 1). */
export function ended(ladder: Ladder, now: number, end: End, draw: number): Climb {
  if (ladder.state === "waiting") return stay(ladder);
  const well = ladder.state === "well";
  const told = ladder.toldUntil !== null;
  const named = end.retryAfter === undefined ? ladder.toldUntil : Math.max(ladder.toldUntil ?? now, now + end.retryAfter);
  const after = { ...ladder, toldUntil: named };
  if (well && now - ladder.since >= SHORT_MS) {
    const probeMs = ladder.rung === 0 ? PROBE_MS : ladder.probeMs;
    return wait({ ...after, shorts: 0, waits: 0, probeMs }, now, draw);
  }
  if (isOfServer(end) || told || ladder.offline) return wait(after, now, draw);
  return failed(after, now, draw, well);
}

/** The server wants this client to connect again after so long; until then everything works. */
export function reconnectIn(ladder: Ladder, now: number, after: number): Climb {
  return stay({ ...ladder, toldUntil: now + after });
}

/** `until` has come. */
export function tick(ladder: Ladder, now: number, draw: number): Climb {
  const due = (at: number | null): boolean => at !== null && at <= now;
  switch (ladder.state) {
    case "trying":
      if (!due(ladder.until)) return stay(ladder);
      return ladder.offline ? wait(ladder, now, draw) : failed(ladder, now, draw, false);
    case "waiting":
      return due(ladder.until) ? attempt(ladder, now) : stay(ladder);
    case "well":
      if (due(ladder.toldUntil)) return attempt(ladder, now);
      if (due(ladder.probeUntil)) return probeFailed(ladder, now, "drop_probe");
      return due(ladder.probeAt) ? probe(ladder, now) : stay(ladder);
  }
}

/** The device says that it has no network: until `online` nothing counts against a transport. */
export function offline(ladder: Ladder): Climb {
  return stay({ ...ladder, offline: true });
}

/** The network is there, and may be another one: try at once, once. */
export function online(ladder: Ladder, now: number): Climb {
  const fresh = { ...ladder, offline: false, failures: 0, shorts: 0, probeMs: PROBE_MS };
  return fresh.state === "well" && fresh.probeAt !== null ? probe(fresh, now) : visible(fresh, now);
}

/** Somebody looks: try at once, once, unless the server named the time. */
export function visible(ladder: Ladder, now: number): Climb {
  return ladder.state === "waiting" && ladder.toldUntil === null ? attempt(ladder, now) : stay(ladder);
}

export function probeWelcomed(ladder: Ladder, now: number): Climb {
  if (ladder.probeUntil === null) return stay(ladder);
  // Should it be cut soon, the next probe is to come later than this one did.
  const probeMs = Math.min(PROBE_LONGEST_MS, 2 * ladder.probeMs);
  const after = { ...ladder, rung: 0, since: now, failures: 0, shorts: 0, probeUntil: null, toldUntil: null, probeMs };
  return [after, { do: "switch", transport: transportOf(after), until: null }];
}

export function probeEnded(ladder: Ladder, now: number, end: End): Climb {
  if (ladder.probeUntil === null) return stay(ladder);
  if (!isOfServer(end) && !ladder.offline) return probeFailed(ladder, now, "stay");
  return stay({ ...ladder, probeUntil: null, probeAt: now + Math.max(ladder.probeMs, end.retryAfter ?? 0) });
}

function failed(ladder: Ladder, now: number, draw: number, short: boolean): Climb {
  const failures = ladder.failures + (short ? 0 : 1);
  const shorts = ladder.shorts + (short ? 1 : 0);
  if (failures < FAILURES_MAX && shorts < SHORTS_MAX) return wait({ ...ladder, failures, shorts }, now, draw);
  const rung = (ladder.rung + 1) % ladder.transports.length;
  const next = { ...ladder, failures: 0, shorts: 0, rung };
  return rung === 0 || next.toldUntil !== null ? wait(next, now, draw) : attempt(next, now);
}

function attempt(ladder: Ladder, now: number): Climb {
  const until = now + WELCOME_MS;
  const after: Ladder = { ...withoutProbe(ladder), toldUntil: null, state: "trying", since: now, until };
  return [after, { do: "connect", transport: transportOf(after), until }];
}

function wait(ladder: Ladder, now: number, draw: number): Climb {
  const until = ladder.toldUntil === null ? now + backoff(ladder.waits, draw) : Math.max(now, ladder.toldUntil);
  const after: Ladder = { ...withoutProbe(ladder), waits: ladder.waits + 1, state: "waiting", since: now, until };
  return [after, { do: "wait", transport: transportOf(after), until }];
}

function stay(ladder: Ladder, what: "stay" | "probe" | "drop_probe" = "stay"): Climb {
  const times = ladder.state === "well" ? [ladder.toldUntil, ladder.probeAt, ladder.probeUntil] : [ladder.until];
  const known = times.filter((time) => time !== null);
  return [ladder, { do: what, transport: transportOf(ladder), until: known.length > 0 ? Math.min(...known) : null }];
}

function plannedProbe(ladder: Ladder, now: number): Ladder {
  return { ...ladder, probeAt: ladder.rung > 0 ? now + ladder.probeMs : null };
}

function probe(ladder: Ladder, now: number): Climb {
  return stay({ ...ladder, probeAt: null, probeUntil: now + WELCOME_MS }, "probe");
}

function probeFailed(ladder: Ladder, now: number, what: "stay" | "drop_probe"): Climb {
  const probeMs = Math.min(PROBE_LONGEST_MS, 2 * ladder.probeMs);
  return stay(plannedProbe({ ...ladder, probeUntil: null, probeMs }, now), what);
}

function withoutProbe(ladder: Ladder): Ladder {
  return { ...ladder, probeAt: null, probeUntil: null };
}
