import { describe, expect, it } from "vitest";
import { backoff, LONGEST_MS } from "../src/state/backoff";
import { event, ROOM, START, World } from "./world";

const phase = (world: World): string => world.state.connection.phase;

describe("backoff", () => {
  it.each([
    [0, 1000],
    [1, 2000],
    [2, 4000],
    [3, 8000],
    [4, 16_000],
    [5, 30_000],
    [6, 30_000],
    [1000, 30_000],
  ])("before attempt %i is anything below %i ms", (attempt, ceiling) => {
    expect(backoff(attempt, 0)).toBe(0);
    expect(backoff(attempt, 0.5)).toBe(ceiling / 2);
    expect(backoff(attempt, 0.999999)).toBeLessThan(ceiling);
    expect(ceiling).toBeLessThanOrEqual(LONGEST_MS);
  });
});

describe("connecting", () => {
  it("opens a socket and says connect as soon as it is open", () => {
    const world = new World();
    world.act({ type: "started", entries: [] });
    expect(phase(world)).toBe("connecting");
    expect(world.open()).toEqual([{ type: "connect", id: "id-1", token: "token-1" }]);
  });

  it("presents the cursors of followed rooms", () => {
    const world = World.following();
    world.hear(event("message", 101, { text: "a" }));
    world.close(1006);
    world.act({ type: "connectNow" });
    const frames = world.open();
    expect(frames).toMatchObject([{ type: "connect", cursors: { [ROOM]: "1-101-0" } }]);
    expect(world.room.following).toBe("asked");
  });

  it("gives up a socket that is never greeted", () => {
    const world = new World();
    world.act({ type: "started", entries: [] });
    world.open();
    world.now += 10_000;
    const effects = world.act({ type: "timerFired", name: "ladder" });
    expect(effects).toContainEqual({ do: "close", number: 1 });
    expect(phase(world)).toBe("waiting");
  });

  it("hears nothing more from an earlier socket", () => {
    const world = World.following();
    const earlier = world.state.connection.number;
    world.close(1006);
    world.act({ type: "connectNow" });
    const before = world.state;
    world.act({ type: "lineClosed", number: earlier, end: {} });
    world.act({ type: "frameArrived", number: earlier, frame: event("message", 101, { text: "?" }) });
    expect(world.state).toBe(before);
  });
});

describe("a lost connection", () => {
  it.each([1006, 1001, 4000, 4001, 4003, 4004, 4005, 4499])("with code %i is made again after a wait", (code) => {
    const world = World.following();
    world.close(code);
    expect(phase(world)).toBe("waiting");
    expect(world.timers().at(-1)).toEqual(["ladder", 500]);
    expect(world.state.connection.retryAt).toBe(START + 500);
    world.now += 500;
    world.ring("ladder");
    expect(phase(world)).toBe("connecting");
  });

  it("waits longer from failure to failure, and begins anew after a steady connection", () => {
    const world = World.following();
    const waits: (number | undefined)[] = [];
    for (let n = 0; n < 4; n += 1) {
      world.close(4005);
      waits.push(world.timers().at(-1)?.[1]);
      world.now = world.state.connection.retryAt;
      world.ring("ladder");
    }
    expect(waits).toEqual([500, 1000, 2000, 4000]);
    world.welcome();
    world.now += 60_000;
    world.close(1006);
    expect(world.timers().at(-1)).toEqual(["ladder", 500]);
  });

  it("is made again at once when the network is back, the page is shown, or the person asks", () => {
    for (const type of ["online", "shown", "connectNow"] as const) {
      const world = World.following();
      world.close(1006);
      world.act({ type });
      expect(phase(world)).toBe("connecting");
    }
  });

  it.each([4503, 4999, 1009])("with code %i is not made again by itself", (code) => {
    const world = World.following();
    world.close(code);
    expect(phase(world)).toBe("stopped");
    world.act({ type: "online" });
    expect(phase(world)).toBe("stopped");
    world.act({ type: "connectNow" });
    expect(phase(world)).toBe("connecting");
  });

  it.each([4500, 4502])("with code %i gets a new token first, and only once", (code) => {
    const world = World.following();
    expect(world.close(code)).toContainEqual({ do: "renewToken" });
    world.act({ type: "tokenArrived", token: { text: "token-2", expiresAt: START + 7_200_000 } });
    expect(world.open()).toMatchObject([{ type: "connect", token: "token-2" }]);
    expect(world.close(code)).toContainEqual({ do: "leave", because: "refused" });
  });

  it("with code 4501 signs the person out", () => {
    expect(World.following().close(4501)).toContainEqual({ do: "leave", because: "revoked" });
  });
});

describe("a node that goes away", () => {
  it("is left after the time that it named, with cursors and without backoff", () => {
    const world = World.following();
    world.hear({ type: "reconnect", after_ms: 700, reason: "drain" });
    expect(world.timers()).toContainEqual(["ladder", 700]);
    expect(phase(world)).toBe("connected");
    world.now += 700;
    const effects = world.act({ type: "timerFired", name: "ladder" });
    expect(effects).toContainEqual({ do: "close", number: 1 });
    expect(effects).toContainEqual({ do: "open", number: 2, transport: "websocket" });
    expect(world.open()).toMatchObject([{ type: "connect", cursors: { [ROOM]: "1-100-0" } }]);
  });
});

describe("heartbeat", () => {
  it("pings, and takes silence for death", () => {
    const world = World.following();
    expect(world.ring("heartbeat")).toMatchObject([{ type: "ping" }]);
    expect(world.timers()).toContainEqual(["pong", 10_000]);
    const effects = world.act({ type: "timerFired", name: "pong" });
    expect(effects).toContainEqual({ do: "close", number: 1 });
    expect(phase(world)).toBe("waiting");
  });

  it("is content with an answer", () => {
    const world = World.following();
    world.ring("heartbeat");
    world.answer("ping", { ts: 1 });
    expect(world.effects.at(-1)).toEqual({ do: "cancel", timer: "pong" });
  });

  it("gives up a connection that answers pings and never a command", () => {
    const world = World.following();
    world.write("a");
    world.now += 25_000;
    world.ring("heartbeat");
    expect(phase(world)).toBe("waiting");
    expect(world.room.outbox[0]).toMatchObject({ stage: "queued", attempted: true });
  });

  it("is asked for at once when the network may have gone", () => {
    const world = World.following();
    world.act({ type: "offline" });
    expect(world.frames("ping")).toHaveLength(1);
    expect(world.timers()).toContainEqual(["pong", 4_000]);
  });
});

describe("the token", () => {
  it("is renewed before its end, over the open connection", () => {
    const world = World.following();
    expect(world.timers()).toContainEqual(["token", 3_540_000]);
    world.now += 3_540_000;
    expect(world.act({ type: "timerFired", name: "token" })).toEqual([{ do: "renewToken" }]);
    world.act({ type: "tokenArrived", token: { text: "token-2", expiresAt: START + 7_200_000 } });
    expect(world.last("refresh")).toMatchObject({ token: "token-2" });
    world.answer("refresh", { expires_at: START + 7_200_000 });
    expect(world.timers().at(-1)).toEqual(["token", 3_600_000]);
  });

  it("is asked for again when the node could not be reached", () => {
    const world = World.following();
    world.act({ type: "tokenFailed", refused: false });
    expect(world.timers()).toContainEqual(["token", 5_000]);
  });

  it("is renewed before connecting when it has ended", () => {
    const world = new World();
    world.now = START + 3_600_000;
    expect(world.act({ type: "started", entries: [] })).toContainEqual({ do: "renewToken" });
    world.act({ type: "tokenArrived", token: { text: "token-2", expiresAt: START + 7_200_000 } });
    expect(world.open()).toMatchObject([{ token: "token-2" }]);
  });

  it("is tried once it came, on a device whose clock is hours ahead, and not renewed over and over", () => {
    const world = new World();
    world.now = START + 36_000_000;
    world.act({ type: "started", entries: [] });
    const tried = world.act({ type: "tokenArrived", token: { text: "token-2", expiresAt: START + 7_200_000 } });
    expect(tried).not.toContainEqual({ do: "renewToken" });
    expect(tried).toContainEqual(expect.objectContaining({ do: "open" }));
    world.welcome();
    expect(world.timers()).toContainEqual(["token", 10_000]);
  });

  it("that cannot be renewed now leads to a later attempt", () => {
    const world = new World();
    world.now = START + 3_600_000;
    world.act({ type: "started", entries: [] });
    world.act({ type: "tokenFailed", refused: false });
    expect(phase(world)).toBe("waiting");
  });
});
