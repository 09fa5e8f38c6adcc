import type { Position } from "../protocol/frames";

/** Before every event of every room. */
export const BEGINNING: Position = { epoch: 0, seq: 0 };

/** Below zero where `a` comes first in the room's order. */
export function comparePositions(a: Position, b: Position): number {
  return a.epoch - b.epoch || a.seq - b.seq;
}

/** The later of two positions; null is before everything. */
export function laterOf(a: Position | null, b: Position | null): Position | null {
  if (a === null || b === null) return a ?? b;
  return comparePositions(a, b) >= 0 ? a : b;
}

export function isAfter(a: Position, b: Position | null): boolean {
  return b === null || comparePositions(a, b) > 0;
}

export function samePosition(a: Position, b: Position): boolean {
  return a.epoch === b.epoch && a.seq === b.seq;
}

export function positionKey(position: Position): string {
  return `${position.epoch}-${position.seq}`;
}
