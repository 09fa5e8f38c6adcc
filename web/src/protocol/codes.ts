/** Error and close codes of protocol v1; tested against `docs/protocol.md` and `chatnode/protocol/errors.py`. */

export const ERROR_CODES = [
  "invalid",
  "too_large",
  "unauthenticated",
  "forbidden",
  "not_found",
  "room_closed",
  "conflict",
  "id_reused",
  "out_of_order",
  "rate_limited",
  "unavailable",
  "internal",
] as const;

export type ErrorCode = (typeof ERROR_CODES)[number];

/** A code of a later version counts as `internal`. */
export function errorCode(text: string): ErrorCode {
  return ERROR_CODES.find((code) => code === text) ?? "internal";
}

export const CLOSE = {
  normal: 1000,
  unsupportedData: 1003,
  tooBig: 1009,
  unauthenticated: 4500,
  revoked: 4501,
  tokenExpired: 4502,
  tooManyErrors: 4503,
} as const;

/** What a client does when a connection has ended with this code. */
export type AfterClose = "reconnect" | "new-token" | "signed-out" | "stop";

export function afterClose(code: number): AfterClose {
  switch (code) {
    case CLOSE.unauthenticated:
    case CLOSE.tokenExpired:
      return "new-token";
    case CLOSE.revoked:
      return "signed-out";
    case CLOSE.unsupportedData:
    case CLOSE.tooBig:
      return "stop";
    default:
      return code >= 4500 && code <= 4999 ? "stop" : "reconnect";
  }
}
