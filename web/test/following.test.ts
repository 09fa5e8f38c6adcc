import { describe, expect, it } from "vitest";
import { unreadOf } from "../src/state/select";
import { at, event, listed, ME, message, ROOM, World } from "./world";

const texts = (world: World): readonly (string | undefined)[] => world.room.timeline.map((each) => each.text);

describe("live events", () => {
  it("are folded and move the cursor", () => {
    const world = World.following([message(99)]);
    world.hear(event("message", 101, { text: "a", prev: 100 }));
    expect(world.room).toMatchObject({ cursor: "1-101-0", last: at(101) });
    expect(texts(world)).toEqual(["n° 99", "a"]);
  });

  it("are dropped when they were had already", () => {
    const world = World.following();
    const first = event("message", 101, { text: "a" });
    world.hear(first);
    world.hear(event("message", 102, { text: "b" }));
    const before = world.state;
    world.hear(first);
    expect(world.state).toBe(before);
  });

  it("tell of a gap by a predecessor that was not seen; then the room is asked for from the last cursor", () => {
    const world = World.following();
    world.hear(event("message", 101, { text: "a" }));
    const frames = world.hear(event("message", 105, { text: "e", prev: 103 }));
    expect(frames).toMatchObject([{ type: "subscribe", room: ROOM, cursor: "1-101-0" }]);
    expect(texts(world)).toEqual(["a"]);
  });

  it("that come while the room is asked for again wait for the answer", () => {
    const world = World.following();
    world.hear(event("message", 101, { text: "a" }));
    world.hear(event("message", 105, { text: "e", prev: 103 }));
    world.hear(event("message", 106, { text: "f" }));
    expect(texts(world)).toEqual(["a"]);
    world.answer("subscribe", { recovered: true, cursor: "1-106-0" });
    for (const [seq, prev, text] of [[103, 101, "c"], [105, 103, "e"], [106, 105, "f"]] as const) {
      world.hear(event("message", seq, { text, prev }));
    }
    expect(texts(world)).toEqual(["a", "c", "e", "f"]);
  });

  it("with a predecessor at or below the last are no gap", () => {
    const world = World.following();
    world.hear(event("message", 101, { text: "a" }));
    world.hear(event("message", 105, { text: "e", prev: 90 }));
    expect(texts(world)).toEqual(["a", "e"]);
  });

  it("of another epoch lead to asking again", () => {
    const world = World.following();
    world.hear(event("message", 101, { text: "a" }));
    const frames = world.hear(event("message", 5, { text: "?", epoch: 2, prev: 0 }));
    expect(frames).toMatchObject([{ type: "subscribe", cursor: "1-101-0" }]);
  });

  it("with the same gap twice lead to a page", () => {
    const world = World.following();
    world.hear(event("message", 101, { text: "a" }));
    world.hear(event("message", 105, { text: "e", prev: 103 }));
    world.answer("subscribe", { recovered: true, cursor: "1-105-0" });
    const frames = world.hear(event("message", 105, { text: "e", prev: 103 }));
    expect(frames).toHaveLength(1);
    expect(frames[0]).not.toHaveProperty("cursor");
  });
});

describe("a page", () => {
  it("replaces what is held when the cursor could not be resumed", () => {
    const world = World.following([message(50), message(51)]);
    world.hear(event("message", 101, { text: "a" }));
    world.close(1006);
    world.act({ type: "connectNow" });
    world.welcome();
    world.hear({ type: "event", kind: "subscribed", room: ROOM, recovered: false, cursor: "2-9-0", messages: [message(9, { epoch: 2, text: "z" })], more_before: true });
    expect(texts(world)).toEqual(["z"]);
    expect(world.room).toMatchObject({ cursor: "2-9-0", moreBefore: true, last: null });
    world.hear(event("message", 12, { text: "y", epoch: 2, prev: 11 }));
    expect(texts(world)).toEqual(["z", "y"]);
  });

  it("holds messages that were acked before, so that none shows twice", () => {
    const world = World.following();
    const id = world.write("Bonjour");
    world.hear({ type: "ack", id, room: ROOM, epoch: 1, seq: 101, ts: 1 });
    world.close(1006);
    world.act({ type: "connectNow" });
    world.welcome();
    world.hear({ type: "event", kind: "subscribed", room: ROOM, recovered: false, cursor: "1-101-0", messages: [message(101, { sender: ME, id, text: "Bonjour" })] });
    expect(world.room.outbox).toEqual([]);
    expect(texts(world)).toEqual(["Bonjour"]);
  });
});

describe("following", () => {
  it("asks for a few rooms at a time, the open one first", () => {
    const world = new World();
    world.act({ type: "started", entries: [] });
    world.act({ type: "roomOpened", room: "r0" });
    world.welcome();
    const rooms = Array.from({ length: 10 }, (_, n) => listed({ room: `r${n}`, last_ts: n }));
    world.act({ type: "roomsListed", rooms });
    expect(world.frames("subscribe").map((frame) => ("room" in frame ? frame.room : ""))).toEqual(["r0", "r9", "r8", "r7"]);
    const [first, second] = world.frames("subscribe").map((frame) => frame.id);
    const answer = (id = "") => world.hear({ type: "ack", id, recovered: false, cursor: "1-0-0", messages: [] });
    expect(answer(first).map((frame) => frame.type)).toEqual(["presence", "subscribe"]);
    expect(answer(second).map((frame) => frame.type)).toEqual(["subscribe"]);
  });

  it("tries again later what was refused for now", () => {
    const world = World.following();
    world.hear({ type: "event", kind: "unsubscribed", room: ROOM, code: "unavailable", message: "", retryable: true });
    expect(world.room.following).toBe("refused");
    expect(world.ring(`follow ${ROOM}`)).toMatchObject([{ type: "subscribe", cursor: "1-100-0" }]);
  });

  it("drops a room that is not this person's any more", () => {
    const world = World.following();
    world.hear({ type: "event", kind: "unsubscribed", room: ROOM, code: "not_found", message: "", retryable: false });
    expect(world.state.rooms).toEqual({});
  });

  it("reads the list again when a room appears", () => {
    const world = World.following();
    const effects = world.act({
      type: "frameArrived",
      number: world.state.connection.number,
      frame: { type: "event", kind: "membership", room: "new", role: "learner", room_kind: "course", title: "Neuf", closed: false },
    });
    expect(effects).toContainEqual({ do: "listRooms" });
  });
});

describe("history", () => {
  it("is asked for before the oldest message, once at a time", () => {
    const world = World.following([message(90)], "1-100-0", true);
    world.act({ type: "historyWanted", room: ROOM });
    world.act({ type: "historyWanted", room: ROOM });
    expect(world.frames("history")).toMatchObject([{ before: at(90), limit: 50 }]);
    world.answer("history", { messages: [message(80)], more_before: false });
    expect(world.room).toMatchObject({ history: "idle", moreBefore: false });
    world.act({ type: "historyWanted", room: ROOM });
    expect(world.frames("history")).toHaveLength(1);
  });

  it("does not lose an edit that came while the page was on its way", () => {
    const world = World.following([message(90)], "1-100-0", true);
    world.act({ type: "historyWanted", room: ROOM });
    world.hear(event("edit", 101, { target: at(80), text: "neuf" }));
    world.answer("history", { messages: [message(80)], more_before: false });
    expect(texts(world)).toEqual(["neuf", "n° 90"]);
  });

  it("can be tried again after a failure", () => {
    const world = World.following([message(90)], "1-100-0", true);
    world.act({ type: "historyWanted", room: ROOM });
    world.refuse(world.last("history").id, "unavailable", true);
    expect(world.room.history).toBe("failed");
    world.act({ type: "historyWanted", room: ROOM });
    expect(world.frames("history")).toHaveLength(2);
  });

  it("fetches a quoted message that is not held, once", () => {
    const world = World.following([message(90)]);
    world.act({ type: "quoteWanted", room: ROOM, at: at(3) });
    world.act({ type: "quoteWanted", room: ROOM, at: at(3) });
    expect(world.frames("history")).toMatchObject([{ around: at(3), limit: 1 }]);
    world.answer("history", { messages: [message(3)] });
    expect(world.room.quotes["1-3"]).toMatchObject({ text: "n° 3" });
  });
});

describe("unread", () => {
  const unread = (world: World): number => unreadOf(world.room, ME);

  it("is what the list told, plus what came since", () => {
    const world = World.following([message(99)]);
    world.act({ type: "roomsListed", rooms: [listed({ unread: 3, last: at(99), read: at(80) })] });
    expect(unread(world)).toBe(3);
    world.hear(event("message", 101, { text: "a" }));
    world.hear(event("message", 102, { text: "mien", sender: ME }));
    expect(unread(world)).toBe(4);
  });

  it("is nothing once the end was seen, and the node is told once", () => {
    const world = World.following([message(99)]);
    world.act({ type: "roomsListed", rooms: [listed({ unread: 3, last: at(99), read: at(80) })] });
    world.act({ type: "seen", room: ROOM });
    world.act({ type: "seen", room: ROOM });
    expect(unread(world)).toBe(0);
    expect(world.frames("read")).toMatchObject([{ room: ROOM, at: at(99) }]);
  });

  it("is told again only for what was read since, and after the first report was answered", () => {
    const world = World.following([message(99)]);
    world.act({ type: "seen", room: ROOM });
    world.hear(event("message", 101, { text: "a" }));
    world.act({ type: "seen", room: ROOM });
    expect(world.frames("read")).toHaveLength(1);
    world.answer("read");
    expect(world.frames("read").at(-1)).toMatchObject({ at: at(101) });
  });

  it("follows what this person reads elsewhere", () => {
    const world = World.following([message(99)]);
    world.act({ type: "roomsListed", rooms: [listed({ unread: 3, last: at(99), read: at(80) })] });
    world.hear({ type: "event", kind: "read", room: ROOM, sender: ME, at: at(99) });
    expect(unread(world)).toBe(0);
  });

  it("is reported after a reconnect when it was not before", () => {
    const world = World.following([message(99)]);
    world.close(1006);
    world.act({ type: "seen", room: ROOM });
    expect(world.frames("read")).toHaveLength(0);
    world.act({ type: "connectNow" });
    world.welcome();
    world.act({ type: "roomsListed", rooms: [listed({ unread: 1, last: at(99) })] });
    expect(world.frames("read")).toHaveLength(1);
    expect(unread(world)).toBe(0);
  });
});

describe("people", () => {
  it("are asked for in the open room, and where somebody without a name speaks", () => {
    const world = World.following([message(99)]);
    expect(world.effects).toContainEqual({ do: "listMembers", room: ROOM });
    world.act({ type: "membersListed", room: ROOM, members: [{ user: "claire", role: "trainer", name: "Claire Fontaine" }] });
    world.act({ type: "roomsListed", rooms: [listed(), listed({ room: "linux" })] });
    const known = message(5, { room: "linux" });
    world.answer("subscribe", { recovered: false, cursor: "1-9-0", messages: [known] });
    expect(world.effects).not.toContainEqual({ do: "listMembers", room: "linux" });
    const stranger = { ...event("message", 10, { text: "a", sender: "thomas" }), room: "linux" };
    const effects = world.act({ type: "frameArrived", number: world.state.connection.number, frame: stranger });
    expect(effects).toContainEqual({ do: "listMembers", room: "linux" });
    world.act({ type: "membersFailed", room: "linux", refused: false });
    expect(world.timers()).toContainEqual(["members linux", 5000]);
  });

  it("come and go", () => {
    const world = World.following();
    world.answer("presence", { online: [ME], count: 1 });
    world.hear({ type: "event", kind: "presence", room: ROOM, online: ["claire"] });
    expect(world.room.online).toEqual([ME, "claire"]);
    world.hear({ type: "event", kind: "presence", room: ROOM, offline: ["claire"] });
    expect(world.room.onlineCount).toBe(1);
  });

  it("type until they stop, send, or time is over", () => {
    const world = World.following();
    const typing = (sender: string, active = true) => world.hear({ type: "event", kind: "typing", room: ROOM, sender, active, expires_ms: 6000 });
    typing("claire");
    typing("hugo");
    expect(Object.keys(world.room.typing)).toEqual(["claire", "hugo"]);
    world.hear(event("message", 101, { text: "a", sender: "claire" }));
    expect(Object.keys(world.room.typing)).toEqual(["hugo"]);
    world.now += 6000;
    world.ring(`typing ${ROOM}`);
    expect(world.room.typing).toEqual({});
  });

  it("are told of one's own typing every few seconds and at its end", () => {
    const world = World.following();
    for (const wait of [0, 1000, 1000, 1500]) {
      world.now += wait;
      world.act({ type: "typed", room: ROOM, active: true });
    }
    world.act({ type: "wrote", room: ROOM, text: "a", replyTo: null });
    expect(world.frames("typing").map((frame) => "active" in frame && frame.active)).toEqual([true, true, false]);
  });

  it("have names and roles from the room, and from notices", () => {
    const world = World.following();
    world.act({ type: "membersListed", room: ROOM, members: [{ user: "claire", role: "trainer", name: "Claire Fontaine" }] });
    world.hear(event("member", 101, { change: { user: "hugo", role: "learner", name: "Hugo Mercier" } }));
    expect(world.state.names).toMatchObject({ claire: "Claire Fontaine", hugo: "Hugo Mercier" });
    expect(world.room.members?.map((member) => member.user)).toEqual(["claire", "hugo"]);
    world.hear(event("member", 102, { change: { user: "hugo", role: null } }));
    expect(world.room.members?.map((member) => member.user)).toEqual(["claire"]);
  });
});

describe("the copy of a room", () => {
  it("is written again when the name of somebody who speaks in it becomes known", () => {
    const world = World.following([message(99, { sender: "claire" })]);
    world.act({ type: "roomOpened", room: ROOM });
    const named = (user: string) => world.act({ type: "membersListed", room: ROOM, members: [{ user, role: "trainer", name: "Claire Fontaine" }] });
    expect(named("hugo")).not.toContainEqual({ do: "copy", room: ROOM });
    expect(named("claire")).toContainEqual({ do: "copy", room: ROOM });
    expect(named("claire")).not.toContainEqual({ do: "copy", room: ROOM });
  });
});
