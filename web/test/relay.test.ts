import { expect, it } from "vitest";
import type { ServerFrame } from "../src/protocol/events";
import { Relay } from "../src/protocol/relay";

const limits = { frame_bytes: 1, text_bytes: 1, mentions: 1, cursors: 1, page: 1, recover: 1 };
const welcome: ServerFrame = {
  type: "welcome", id: "connect", user: "ana", name: "Ana", node: "n", session: "s", version: "0", heartbeat_ms: 25_000, expires_at: 9_000, limits,
};

function begun(...rooms: readonly string[]): Relay {
  const relay = new Relay();
  relay.takes({ type: "connect", id: "c", token: "t", cursors: Object.fromEntries(rooms.map((room) => [room, "1-5-0"])) });
  return relay;
}

const subscribed = (room: string): ServerFrame => ({ type: "event", kind: "subscribed", room, recovered: true, cursor: "1-5-0" });

it("asks for news until it was told of each room that it began with: an answer may come before a room's turn", () => {
  const relay = begun("r", "s");
  expect(relay.heard(welcome)).toHaveLength(1);
  expect(relay.news).toBe(true);
  relay.heard(subscribed("r"));
  expect(relay.news).toBe(true);
  relay.heard({ type: "event", kind: "unsubscribed", room: "s", code: "unavailable", message: "", retryable: true });
  expect(relay.news).toBe(false);
});

it("asks for news while a room that was asked for since was not told of", () => {
  const relay = begun();
  relay.heard(welcome);
  expect(relay.news).toBe(false);
  relay.takes({ type: "subscribe", id: "a", room: "r", cursor: "1-5-0" });
  expect(relay.news).toBe(true);
  expect(relay.heard(subscribed("r"))).toMatchObject([{ type: "ack", id: "a", recovered: true }]);
  expect(relay.news).toBe(false);
});
