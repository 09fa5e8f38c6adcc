/** Text of a WebSocket message to a frame. A node is trusted to mean well, not to be of the same version. */

import type { ServerFrame } from "./events";

type Check = (value: unknown) => boolean;
type Shape = Readonly<Record<string, Check>>;

const text: Check = (value) => typeof value === "string";
const number: Check = (value) => typeof value === "number";
const flag: Check = (value) => typeof value === "boolean";
const object: Check = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const position: Check = (value) => isRecord(value) && number(value["epoch"]) && number(value["seq"]);

const STORED: Shape = { room: text, epoch: number, seq: number, prev: number, cursor: text, ts: number, sender: text, id: text };

const REPLIES: Readonly<Record<string, Shape>> = {
  welcome: { id: text, user: text, name: text, node: text, heartbeat_ms: number, expires_at: number, limits: object },
  ack: { id: text },
  error: { code: text, message: text, retryable: flag },
  reconnect: { after_ms: number },
};

const EVENTS: Readonly<Record<string, Shape>> = {
  message: { ...STORED, text },
  edit: { ...STORED, target: position, text },
  delete: { ...STORED, target: position },
  reaction: { ...STORED, target: position, emoji: text, on: flag },
  member: { ...STORED, change: object },
  typing: { room: text, sender: text, active: flag, expires_ms: number },
  read: { room: text, sender: text, at: position },
  presence: { room: text },
  subscribed: { room: text, cursor: text, recovered: flag },
  unsubscribed: { room: text, code: text, retryable: flag },
  whole: { room: text },
  delayed: { on: flag },
  membership: { room: text, room_kind: text, title: text, closed: flag },
};

/** A known type or kind whose fields are not what protocol v1 says. */
export class MalformedFrame extends Error {}

/** The frame; null for a type or kind that this version does not know, to be passed over; throws {@link MalformedFrame}. */
export function decodeFrame(data: string): ServerFrame | null {
  let value: unknown;
  try {
    value = JSON.parse(data);
  } catch (error) {
    if (error instanceof SyntaxError) throw new MalformedFrame(`not JSON: ${error.message}`);
    throw error;
  }
  if (!isRecord(value)) throw new MalformedFrame("not a JSON object");
  const isEvent = value["type"] === "event";
  const name = isEvent ? value["kind"] : value["type"];
  const shapes = isEvent ? EVENTS : REPLIES;
  if (typeof name !== "string" || !Object.hasOwn(shapes, name)) return null;
  for (const [field, check] of Object.entries(shapes[name] ?? {})) {
    if (!check(value[field])) throw new MalformedFrame(`${name}: \`${field}\` is missing or of another type`);
  }
  return value as unknown as ServerFrame;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return object(value);
}
