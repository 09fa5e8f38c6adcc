import { describe, expect, it } from "vitest";
import { isAway } from "../src/state/banner";
import { copyOf } from "../src/state/copies";
import { keptRooms } from "../src/state/list";
import { isKept, linesOf, unreadOf, waitingOf } from "../src/state/select";
import { event, listed, ME, message, ROOM, World } from "./world";

const kept = (world: World): ReturnType<typeof keptRooms> => JSON.parse(JSON.stringify(keptRooms(world.state))) as never;

function offline(world: World): World {
  world.act({ type: "offline" });
  world.act({ type: "lineClosed", number: world.state.connection.number, end: {} });
  return world;
}

describe("the list of rooms on this device", () => {
  it("is kept when it is listed, and when something in it changes", () => {
    const world = World.following([message(100)]);
    expect(world.effects.filter((effect) => effect.do === "keepList")).not.toEqual([]);
    expect(world.act({ type: "typed", room: ROOM, active: true })).not.toContainEqual({ do: "keepList" });
    const renamed = { type: "event", kind: "membership", room: ROOM, title: "Python II", closed: false, role: "learner" } as const;
    const effects = world.act({ type: "frameArrived", number: world.state.connection.number, frame: renamed as never });
    expect(effects).toContainEqual({ do: "keepList" });
    expect(kept(world)).toMatchObject([{ id: ROOM, title: "Python II" }]);
  });

  it("shows without a connection what there is, and which of it can be read", () => {
    const before = World.following([message(100)]);
    before.act({ type: "roomsListed", rooms: [listed(), listed({ room: "sql", title: "SQL", unread: 2, last: { epoch: 1, seq: 7 } })] });
    const copy = copyOf(before.state, ROOM);
    const world = offline(new World());
    world.act({ type: "started", entries: [], listed: kept(before), copies: copy === null ? [] : [copy] });
    offline(world);
    expect(isAway(world.state)).toBe(true);
    const { sql, [ROOM]: python } = world.state.rooms;
    if (sql === undefined || python === undefined) throw new Error("a room is missing");
    expect([sql.title, unreadOf(sql, ME), isKept(sql)]).toEqual(["SQL", 2, false]);
    expect([python.title, isKept(python), python.timeline.length]).toEqual(["Python", true, 1]);
  });

  it("counts as unread what came since the node told, once", () => {
    const before = World.following([message(100)]);
    before.act({ type: "roomsListed", rooms: [listed({ unread: 1, last: { epoch: 1, seq: 100 } })] });
    before.hear(event("message", 101, { text: "Encore" }));
    expect(unreadOf(before.room, ME)).toBe(2);
    const copy = copyOf(before.state, ROOM);
    const world = new World();
    world.act({ type: "started", entries: [], listed: kept(before), copies: copy === null ? [] : [copy] });
    expect(unreadOf(world.room, ME)).toBe(2);
    const without = new World();
    without.act({ type: "started", entries: [], listed: kept(before) });
    expect(unreadOf(without.room, ME)).toBe(2);
  });

  it("gives a place to what waits, before any connection", () => {
    const before = World.following();
    before.close(1006);
    before.write("Sans réseau");
    const world = new World();
    world.act({ type: "started", entries: before.room.outbox, listed: kept(before) });
    expect(linesOf(world.room, ME).map((line) => line.message.text)).toEqual(["Sans réseau"]);
    expect(world.state.restored).toEqual([]);
  });

  it("is asked for at once in the open room, and gives way to what the node lists", () => {
    const before = World.following();
    before.act({ type: "roomsListed", rooms: [listed(), listed({ room: "sql", title: "SQL" })] });
    const world = new World();
    world.act({ type: "roomOpened", room: ROOM });
    world.act({ type: "started", entries: [], listed: kept(before) });
    expect(world.welcome()).toContainEqual(expect.objectContaining({ type: "subscribe", room: ROOM }));
    world.act({ type: "roomsListed", rooms: [listed()] });
    expect(Object.keys(world.state.rooms)).toEqual([ROOM]);
  });
});

it("what waits on this device is what is neither stored nor refused", () => {
  const world = World.following();
  const [stored, refused] = [world.write("a"), world.write("b")];
  expect(waitingOf(world.state)).toBe(2);
  world.hear({ type: "ack", id: stored, room: ROOM, epoch: 1, seq: 101, ts: 1 });
  world.refuse(refused, "forbidden", false);
  expect(waitingOf(world.state)).toBe(0);
  world.close(1006);
  world.write("c");
  expect(waitingOf(world.state)).toBe(1);
});
