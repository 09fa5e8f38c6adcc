/** The examples that the node, the Python client and this client share: `tests/vectors`. */

import { describe, expect, it } from "vitest";
import backoffs from "../../tests/vectors/backoff.json?raw";
import codes from "../../tests/vectors/errors.json?raw";
import folds from "../../tests/vectors/fold.json?raw";
import { afterClose, ERROR_CODES } from "../src/protocol/codes";
import type { StoredEvent } from "../src/protocol/events";
import type { Message } from "../src/protocol/frames";
import { backoff } from "../src/state/backoff";
import type { Folded } from "../src/state/fold";
import { foldEvent, mergePage } from "../src/state/fold";

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

  it.each(JSON.parse(folds) as Fold[])("of folding: $name", ({ page, events, result }) => {
    const held: Folded = { timeline: mergePage([], page), amended: new Map() };
    const { timeline } = events.reduce<Folded>(foldEvent, held);
    expect(timeline.map(plain)).toEqual(result.map(plain));
  });
});

/** Absent fields and empty ones mean the same. */
function plain(message: Message): object {
  return Object.fromEntries(Object.entries(message).filter(([, value]) => !isEmpty(value)));
}

function isEmpty(value: unknown): boolean {
  if (typeof value === "object" && value !== null) return Object.keys(value).length === 0;
  return value === null || value === "" || value === 0;
}
