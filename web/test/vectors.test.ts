/** The examples that the node, the Python client and this client share: `tests/vectors`. */

import { describe, expect, it } from "vitest";
import backoffs from "../../tests/vectors/backoff.json?raw";
import codes from "../../tests/vectors/errors.json?raw";
import folds from "../../tests/vectors/fold.json?raw";
import climbs from "../../tests/vectors/transports.json?raw";
import { afterClose, ERROR_CODES } from "../src/protocol/codes";
import type { StoredEvent } from "../src/protocol/events";
import type { Message } from "../src/protocol/frames";
import { backoff } from "../src/state/backoff";
import type { Folded } from "../src/state/fold";
import { foldEvent, mergePage } from "../src/state/fold";
import type { Climb, Decision, Do, End, Ladder, Transport } from "../src/state/ladder";
import * as ladder from "../src/state/ladder";

interface Backoff {
  readonly attempt: number;
  readonly draw: number;
  readonly seconds: number;
}

interface Codes {
  readonly errors: Readonly<Record<string, object>>;
  readonly closes: Readonly<Record<string, { readonly reconnect: boolean }>>;
}

interface Fold {
  readonly name: string;
  readonly page: readonly Message[];
  readonly events: readonly StoredEvent[];
  readonly result: readonly Message[];
}

interface Climbed {
  readonly at: number;
  readonly input: string;
  readonly remembered?: Transport | null;
  readonly age_s?: number;
  readonly after_s?: number;
  readonly draw?: number;
  readonly status?: number | null;
  readonly code?: number | null;
  readonly error?: string | null;
  readonly retry_after?: number | null;
  readonly expect: { readonly do: Do; readonly transport: Transport; readonly until: number | null };
}

interface Climbing {
  readonly name: string;
  readonly transports: readonly Transport[];
  readonly steps: readonly Climbed[];
}

const { errors, closes } = JSON.parse(codes) as Codes;

describe("shared examples", () => {
  it.each(JSON.parse(backoffs) as Backoff[])("of backoff: attempt $attempt, draw $draw", ({ attempt, draw, seconds }) => {
    expect(backoff(attempt, draw)).toBe(Math.floor(seconds * 1000));
  });

  it("of error codes", () => {
    expect(Object.keys(errors)).toEqual([...ERROR_CODES]);
  });

  // A normal close is one that was asked for; a socket that was told to close is not heard any more.
  it.each(Object.entries(closes).filter(([code]) => code !== "1000"))("of close codes: %s", (code, { reconnect }) => {
    expect(afterClose(Number(code)) === "reconnect").toBe(reconnect);
  });

  it.each(JSON.parse(climbs) as Climbing[])("of the ladder: $name", ({ transports, steps }) => {
    let held = ladder.newLadder(transports);
    for (const each of steps) {
      const [next, decision] = climbed(held, each);
      held = next;
      const { do: what, transport, until } = each.expect;
      const expected: Decision = { do: what, transport, until: until === null ? null : milliseconds(until) };
      expect(decision, `${each.input} at ${each.at} s`).toEqual(expected);
    }
  });

  it.each(JSON.parse(folds) as Fold[])("of folding: $name", ({ page, events, result }) => {
    const held: Folded = { timeline: mergePage([], page), amended: new Map() };
    const { timeline } = events.reduce<Folded>(foldEvent, held);
    expect(timeline.map(plain)).toEqual(result.map(plain));
  });
});

/** Whole ones: what is less is waited for less. */
const milliseconds = (seconds: number): number => Math.floor(seconds * 1000);

function endOf({ status, code, error, retry_after: after }: Climbed): End {
  return {
    ...(typeof status === "number" && { status }),
    ...(typeof code === "number" && { code }),
    ...(typeof error === "string" && { error }),
    ...(typeof after === "number" && { retryAfter: milliseconds(after) }),
  };
}

function climbed(held: Ladder, step: Climbed): Climb {
  const now = milliseconds(step.at);
  const draw = step.draw ?? 0;
  switch (step.input) {
    case "start":
      return ladder.start(held, now, step.remembered ?? null, milliseconds(step.age_s ?? 0));
    case "welcome":
      return ladder.welcomed(held, now);
    case "ended":
      return ladder.ended(held, now, endOf(step), draw);
    case "reconnect":
      return ladder.reconnectIn(held, now, milliseconds(step.after_s ?? 0));
    case "tick":
      return ladder.tick(held, now, draw);
    case "offline":
      return ladder.offline(held);
    case "online":
      return ladder.online(held, now);
    case "visible":
      return ladder.visible(held, now);
    case "probe_welcome":
      return ladder.probeWelcomed(held, now);
    case "probe_ended":
      return ladder.probeEnded(held, now, endOf(step));
    default:
      throw new Error(`no input ${step.input}`);
  }
}

/** Absent fields and empty ones mean the same. */
function plain(message: Message): object {
  return Object.fromEntries(Object.entries(message).filter(([, value]) => !isEmpty(value)));
}

function isEmpty(value: unknown): boolean {
  if (typeof value === "object" && value !== null) return Object.keys(value).length === 0;
  return value === null || value === "" || value === 0;
}
