/** What a decision may not find out by itself. */
export interface Env {
  /** Milliseconds since 1970 UTC. */
  readonly now: number;
  /** A fresh command id. */
  readonly id: () => string;
  /** In [0, 1). */
  readonly random: () => number;
}
