import { describe, expect, it } from "vitest";
import source from "../../chatnode/protocol/errors.py?raw";
import { afterClose, ERROR_CODES } from "../src/protocol/codes";
import { decodeFrame, MalformedFrame } from "../src/protocol/decode";
import { base64url, idSource } from "../src/protocol/ids";
import { event } from "./world";

describe("codes", () => {
  it("are those of the node", () => {
    const codes = [...source.matchAll(/^ {4}[A-Z_]+ = "([a-z_]+)"$/gm)].map((match) => match[1]);
    expect([...ERROR_CODES]).toEqual(codes);
  });

  it("end a connection for a while below 4500 and for good from there on", () => {
    const codes = [...source.matchAll(/^ {4}([A-Z_]+) = (4\d{3})$/gm)];
    expect(codes.length).toBeGreaterThan(8);
    for (const [, , code] of codes) expect(afterClose(Number(code)) === "reconnect").toBe(Number(code) < 4500);
  });
});

describe("ids", () => {
  it("are base64url of what the source gives, by RFC 4648", () => {
    expect(base64url(new TextEncoder().encode("foobar"))).toBe("Zm9vYmFy");
    expect(base64url(new TextEncoder().encode("foob"))).toBe("Zm9vYg");
    expect(base64url(Uint8Array.of(251, 255, 254))).toBe("-__-");
  });

  it("have 128 bits and fit the pattern of ids", () => {
    const next = idSource((bytes) => bytes.fill(0xfb));
    expect(next()).toMatch(/^[A-Za-z0-9_-]{22}$/);
  });
});

describe("decoding", () => {
  it("takes what a node sends", () => {
    const frame = event("message", 1, { text: "a" });
    expect(decodeFrame(JSON.stringify(frame))).toEqual(frame);
  });

  it.each(['{"type":"sparkle"}', '{"type":"event","kind":"later"}', "{}", '{"type":"toString"}'])("passes over %s", (text) => {
    expect(decodeFrame(text)).toBeNull();
  });

  it.each(["", "nonsense", "[]", "null", '{"type":"ack"}', '{"type":"event","kind":"message","room":"r"}', '{"type":"error","code":1}'])(
    "refuses %s",
    (text) => {
      expect(() => decodeFrame(text)).toThrow(MalformedFrame);
    },
  );
});
