/** Initials and a colour for everybody. Pure. */

export const TINTS = 12;

/** First letters of the first and last word of a name, or of the first word alone. */
export function initials(name: string): string {
  const words = name.split(/[\s_-]+/).filter((word) => /\p{L}|\p{N}/u.test(word));
  const first = words[0] ?? "?";
  const last = words.length > 1 ? (words.at(-1) ?? "") : "";
  const letter = (word: string): string => /\p{L}|\p{N}/u.exec(word)?.[0] ?? "";
  return (letter(first) + letter(last)).toLocaleUpperCase() || "?";
}

/** One of {@link TINTS} colours, the same one for a user everywhere and always (FNV-1a over the id). */
export function tint(user: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(user)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash % TINTS;
}
