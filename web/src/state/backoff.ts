/** How long to wait before trying again: exponential with full jitter, so that many clients do not come at once. */

export const LONGEST_MS = 30_000;

/** Milliseconds before attempt `attempt` (0 is the first retry): evenly from 0 to 1, 2, 4, … 30 s; `random` in [0, 1). */
export function backoff(attempt: number, random: number): number {
  const ceiling = Math.min(LONGEST_MS, 1000 * 2 ** Math.min(attempt, 5));
  return Math.floor(random * ceiling);
}
