/** Ids of commands: 16 random bytes as base64url, so that they are unique for the user for ever. */

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

export const ID_BYTES = 16;

export function base64url(bytes: Uint8Array): string {
  let text = "";
  let bits = 0;
  let held = 0;
  for (const byte of bytes) {
    held = (held << 8) | byte;
    bits += 8;
    while (bits >= 6) {
      bits -= 6;
      text += ALPHABET.charAt((held >> bits) & 63);
    }
    held &= (1 << bits) - 1;
  }
  return bits > 0 ? text + ALPHABET.charAt((held << (6 - bits)) & 63) : text;
}

/** A source of command ids over a source of random bytes. */
export function idSource(random: (bytes: Uint8Array<ArrayBuffer>) => unknown): () => string {
  return () => {
    const bytes = new Uint8Array(ID_BYTES);
    random(bytes);
    return base64url(bytes);
  };
}
