import { describe, expect, it } from "vitest";
import { WINDOW } from "../src/state/model";
import { linesOf, strandedOf } from "../src/state/select";
import { at, event, listed, ME, message, ROOM, sent, World } from "./world";

const stages = (world: World): readonly string[] => world.room.outbox.map((entry) => entry.stage);
const marks = (world: World): readonly string[] => linesOf(world.room, ME).map((line) => line.mark);

describe("a message on its way", () => {
  it("is durable before its first attempt", () => {
    const world = World.following();
    const effects = world.act({ type: "wrote", room: ROOM, text: "Bonjour", replyTo: null });
    expect(effects.map((effect) => effect.do)).toEqual(["keep"]);
    expect(stages(world)).toEqual(["storing"]);
    world.keep();
    expect(world.frames("send")).toHaveLength(1);
    expect(world.last("send")).toEqual({ type: "send", id: world.room.outbox[0]?.id, room: ROOM, text: "Bonjour" });
  });

  it("is pending at once, sent with the ack, and in the timeline with the event", () => {
    const world = World.following();
    const id = world.write("Bonjour");
    expect(marks(world)).toEqual(["pending"]);
    const effects = world.act({
      type: "frameArrived",
      number: world.state.connection.number,
      frame: { type: "ack", id, room: ROOM, epoch: 1, seq: 101, ts: 1 },
    });
    expect(effects).toContainEqual(expect.objectContaining({ do: "drop", id }));
    expect(marks(world)).toEqual(["sent"]);
    world.hear(event("message", 101, { text: "Bonjour", sender: ME, id }));
    expect(world.room.outbox).toEqual([]);
    expect(world.room.timeline.map((each) => each.text)).toEqual(["Bonjour"]);
  });

  it("is sent once its event was seen, though the ack is still to come", () => {
    const world = World.following();
    const id = world.write("Bonjour");
    world.hear(event("message", 101, { text: "Bonjour", sender: ME, id }));
    expect(world.effects).toContainEqual(expect.objectContaining({ do: "drop", id }));
    expect(marks(world)).toEqual(["sent"]);
    world.hear({ type: "ack", id, room: ROOM, epoch: 1, seq: 101, ts: 1 });
    expect(world.room.outbox).toEqual([]);
    expect(linesOf(world.room, ME)).toHaveLength(1);
  });

  it("goes again after a refusal though its event was seen, for a node lets nothing pass before it", () => {
    const world = World.following();
    const id = world.write("Bonjour");
    world.close(1006);
    world.act({ type: "connectNow" });
    world.welcome();
    world.hear({ type: "event", kind: "subscribed", room: ROOM, recovered: true, cursor: "1-100-0" });
    world.refuse(id, "unavailable", true);
    world.hear(event("message", 101, { text: "Bonjour", sender: ME, id }));
    expect(marks(world)).toEqual(["sent"]);
    expect(world.ring(`outbox ${ROOM}`)).toMatchObject([{ id, again: true }]);
  });

  it("does not go again over a new connection once its event was seen", () => {
    const world = World.following();
    const id = world.write("Bonjour");
    world.hear(event("message", 101, { text: "Bonjour", sender: ME, id }));
    world.close(1006);
    expect(world.room.outbox).toEqual([]);
  });

  it("keeps its key from pending to stored", () => {
    const world = World.following();
    const id = world.write("Bonjour");
    const before = linesOf(world.room, ME)[0]?.key;
    world.hear(event("message", 101, { text: "Bonjour", sender: ME, id }));
    expect(linesOf(world.room, ME).map((line) => line.key)).toEqual([before]);
  });

  it("waits while nobody is connected", () => {
    const world = World.following();
    world.close(1006);
    world.write("Plus tard");
    expect(world.frames("send")).toHaveLength(0);
    expect(stages(world)).toEqual(["queued"]);
    world.act({ type: "connectNow" });
    world.welcome();
    // That an attempt is made is noted first: it was not, when the message was written.
    expect(world.frames("send")).toHaveLength(0);
    expect(world.room.outbox).toMatchObject([{ stage: "storing", marked: true }]);
    world.keep();
    expect(world.frames("send")).toHaveLength(1);
    expect(world.last("send")).not.toHaveProperty("again");
  });

  it("is thrown away after a reload where no attempt can have been made", () => {
    const before = World.following();
    before.close(1006);
    before.write("Sans réseau");
    const world = World.following();
    world.close(1006);
    world.act({ type: "leadTaken", entries: before.room.outbox, held: [] });
    const id = world.room.outbox[0]?.id ?? "";
    world.act({ type: "discarded", room: ROOM, id, accepted: "cancelled" });
    expect(world.room.outbox).toEqual([]);
    expect(world.room.undone).toEqual({ what: "message", how: "cancelled" });
  });

  it("goes again with the same id and again: true after a lost connection", () => {
    const world = World.following();
    const id = world.write("Bonjour");
    expect(world.last("send")).not.toHaveProperty("again");
    world.close(1006);
    world.act({ type: "connectNow" });
    world.welcome();
    expect(world.frames("send")).toHaveLength(2);
    expect(world.last("send")).toMatchObject({ id, again: true });
  });

  it("survives a reload, again: true because an attempt may have been made", () => {
    const before = World.following();
    const id = before.write("Bonjour");
    const world = new World();
    world.act({ type: "started", entries: before.room.outbox });
    world.act({ type: "leadTaken", entries: before.room.outbox, held: [] });
    world.welcome();
    expect(world.frames("send")).toHaveLength(0);
    world.act({ type: "roomsListed", rooms: [{ room: ROOM, kind: "course", title: "Python", closed: false, role: "learner", last_ts: 0, unread: 0 }] });
    expect(world.last("send")).toMatchObject({ id, text: "Bonjour", again: true });
  });
});

describe("a page that holds the message before its ack", () => {
  it("leaves one line and nothing to wait for", () => {
    const world = World.following();
    const id = world.write("Bonjour");
    const messages = [message(101, { sender: ME, id, text: "Bonjour" })];
    world.hear({ type: "event", kind: "subscribed", room: ROOM, recovered: false, cursor: "1-101-0", messages });
    expect(marks(world)).toEqual(["sent"]);
    world.hear({ type: "ack", id, room: ROOM, epoch: 1, seq: 101, ts: 1 });
    expect(world.room.outbox).toEqual([]);
    expect(marks(world)).toEqual(["sent"]);
  });
});

describe("the order of a room", () => {
  it("has a bounded number of commands under way", () => {
    const world = World.following();
    const ids = Array.from({ length: WINDOW + 3 }, (_, n) => world.write(`n° ${n}`));
    expect(world.frames("send")).toHaveLength(WINDOW);
    world.hear({ type: "ack", id: ids[0] ?? "", room: ROOM, epoch: 1, seq: 101, ts: 1 });
    expect(world.frames("send").map((frame) => frame.id)).toEqual(ids.slice(0, WINDOW + 1));
  });

  it("does not let a durable command overtake one that is not durable yet", () => {
    const world = World.following();
    world.act({ type: "wrote", room: ROOM, text: "a", replyTo: null });
    world.write("b");
    expect(world.frames("send")).toHaveLength(0);
    world.act({ type: "entryKept", room: ROOM, id: world.room.outbox[0]?.id ?? "", order: 0 });
    expect(world.frames("send").map((frame) => ("text" in frame ? frame.text : ""))).toEqual(["a", "b"]);
  });

  it("goes again from the head once every reply to a failed run is in and the wait is over", () => {
    const world = World.following();
    const [a, b, c] = [world.write("a"), world.write("b"), world.write("c")];
    world.refuse(a, "unavailable", true, 2);
    expect(world.timers()).toContainEqual([`outbox ${ROOM}`, 2000]);
    world.refuse(b, "out_of_order", true, 0.1);
    expect(world.ring(`outbox ${ROOM}`)).toEqual([]);
    const frames = world.refuse(c, "out_of_order", true, 0.1);
    expect(frames).toEqual([]);
    expect(world.ring(`outbox ${ROOM}`)).toMatchObject([{ id: a, again: true }]);
    // The others follow once the head is stored.
    const again = world.hear({ type: "ack", id: a, room: ROOM, epoch: 1, seq: 101, ts: 1 });
    expect(again).toMatchObject([{ id: b, again: true }, { id: c, again: true }]);
  });

  it("is that in which they were given also where nothing can be made durable", () => {
    const world = World.following();
    world.act({ type: "wrote", room: ROOM, text: "a", replyTo: null });
    world.act({ type: "wrote", room: ROOM, text: "b", replyTo: null });
    const again = World.following();
    const entries = world.room.outbox.map((entry) => ({ ...entry, marked: true }));
    const effects = again.act({ type: "started", entries, untold: entries.map(({ id }) => id) });
    expect(again.room.outbox.map(({ id }) => id)).toEqual(entries.map(({ id }) => id));
    expect(effects.flatMap((effect) => (effect.do === "tell" && effect.word.say === "entry" ? [effect.word.entry.id] : []))).toEqual(entries.map(({ id }) => id));
  });

  it("begins a longer and longer wait at each refusal", () => {
    const world = World.following();
    world.random = 0.999;
    const id = world.write("a");
    const waits = [0, 1, 2].map(() => {
      world.refuse(id, "unavailable", true);
      const wait = world.timers().at(-1)?.[1];
      world.ring(`outbox ${ROOM}`);
      return wait;
    });
    expect(waits).toEqual([1998, 3996, 7992]);
    expect(marks(world)).toEqual(["retrying"]);
  });

  it("goes on past a command that was refused for good", () => {
    const world = World.following();
    const [a, b] = [world.write("a"), world.write("b")];
    world.refuse(a, "forbidden", false);
    world.hear({ type: "ack", id: b, room: ROOM, epoch: 1, seq: 101, ts: 1 });
    expect(stages(world)).toEqual(["failed", "sent"]);
    expect(world.room.outbox[0]?.problem).toBe("forbidden");
  });
});

describe("what failed", () => {
  it("is kept as failed, and goes again with the same id when the person asks", () => {
    const world = World.following();
    const id = world.write("a");
    world.refuse(id, "room_closed", false);
    const kept = world.effects.findLast((effect) => effect.do === "keep");
    expect(kept).toMatchObject({ entry: { id, stage: "failed", problem: "room_closed" } });
    const frames = sent(world.act({ type: "retried", room: ROOM, id }));
    expect(frames).toEqual([{ type: "send", id, room: ROOM, text: "a", again: true }]);
  });

  it("can be thrown away", () => {
    const world = World.following();
    const id = world.write("a");
    world.refuse(id, "forbidden", false);
    const effects = world.act({ type: "discarded", room: ROOM, id, accepted: "cancelled" });
    expect(effects).toContainEqual({ do: "drop", room: ROOM, id, at: null, undone: "cancelled" });
    expect(world.room.outbox).toEqual([]);
  });

  it("stays where it was given to a node since its person was told that it was not", () => {
    const world = World.following();
    const id = world.write("a");
    world.act({ type: "discarded", room: ROOM, id, accepted: "cancelled" });
    expect(stages(world)).toEqual(["flying"]);
  });

  it("may be there all the same where a node was given it, and that is said until something else is written", () => {
    const world = World.following();
    const id = world.write("a");
    world.close(1006);
    const effects = world.act({ type: "discarded", room: ROOM, id, accepted: "maybe" });
    expect(effects).toContainEqual({ do: "drop", room: ROOM, id, at: null, undone: "maybe" });
    expect(world.room.undone).toEqual({ what: "message", how: "maybe" });
    world.act({ type: "typed", room: ROOM, active: true });
    expect(world.room.undone).toBeNull();
  });

  it("is not thrown away once it is known to be stored", () => {
    const world = World.following();
    const id = world.write("a");
    world.hear({ type: "ack", id, room: ROOM, epoch: 1, seq: 101, ts: 1 });
    world.act({ type: "discarded", room: ROOM, id, accepted: "maybe" });
    expect(stages(world)).toEqual(["sent"]);
  });

  it("is thrown away by the window in which it was written as long as no other can know of it", () => {
    const world = World.following();
    world.close(1006);
    world.state = { ...world.state, leading: false };
    world.act({ type: "wrote", room: ROOM, text: "a", replyTo: null });
    const id = world.room.outbox[0]?.id ?? "";
    const effects = world.act({ type: "discarded", room: ROOM, id, accepted: "cancelled" });
    expect(effects).toContainEqual({ do: "drop", room: ROOM, id, at: null, undone: "cancelled" });
    expect(world.room.outbox).toEqual([]);
  });

  it("is forgotten where it is not durable once the window that leads is done with it", () => {
    const world = World.following();
    world.state = { ...world.state, leading: false };
    world.act({ type: "wrote", room: ROOM, text: "a", replyTo: null });
    const id = world.room.outbox[0]?.id ?? "";
    world.act({ type: "entryKept", room: ROOM, id, order: null });
    const effects = world.act({ type: "windowSaid", word: { say: "gone", room: ROOM, id, at: null, undone: "maybe" } });
    expect(effects).toContainEqual({ do: "drop", room: ROOM, id, at: null });
    expect(world.room.undone).toEqual({ what: "message", how: "maybe" });
  });

  it("is offered in vain once it was thrown away", () => {
    const world = World.following();
    const id = world.write("a");
    const [entry] = world.room.outbox;
    world.close(1006);
    world.act({ type: "discarded", room: ROOM, id, accepted: "maybe" });
    if (entry === undefined) throw new Error("nothing was written");
    const effects = world.act({ type: "windowSaid", word: { say: "entry", entry: { ...entry, order: null } } });
    expect(effects).toEqual([{ do: "tell", word: { say: "gone", room: ROOM, id, at: null } }]);
    expect(world.room.outbox).toEqual([]);
  });

  it("gets a new id where the old one names something else", () => {
    const world = World.following();
    const id = world.write("a");
    world.refuse(id, "id_reused", false);
    const fresh = world.keep();
    expect(fresh).not.toBe(id);
    expect(world.last("send")).toEqual({ type: "send", id: fresh, room: ROOM, text: "a" });
  });

  it("cuts the wait short when the person asks to try again", () => {
    const world = World.following();
    const id = world.write("a");
    world.refuse(id, "unavailable", true, 20);
    expect(sent(world.act({ type: "retried", room: ROOM, id }))).toMatchObject([{ id, again: true }]);
  });
});

describe("what waits for a room that is none of this person's any more", () => {
  function removed(): { world: World; id: string } {
    const world = World.following();
    world.close(1006);
    const id = world.write("Sans réseau");
    world.act({ type: "connectNow" });
    world.welcome();
    world.act({ type: "roomsListed", rooms: [] });
    return { world, id };
  }

  it("stays in view, also after a reload, and can be thrown away", () => {
    const { world, id } = removed();
    expect(strandedOf(world.state)).toMatchObject([{ id }]);
    const again = new World();
    again.act({ type: "started", entries: strandedOf(world.state) });
    expect(strandedOf(again.state)).toEqual([]);
    again.act({ type: "leadTaken", entries: strandedOf(world.state), held: [] });
    again.act({ type: "roomsListed", rooms: [] });
    expect(strandedOf(again.state)).toMatchObject([{ id }]);
    const effects = again.act({ type: "discarded", room: ROOM, id, accepted: "maybe" });
    expect(effects).toContainEqual(expect.objectContaining({ do: "drop", id }));
    expect(strandedOf(again.state)).toEqual([]);
  });

  it("goes out should the room come back", () => {
    const { world, id } = removed();
    world.act({ type: "roomsListed", rooms: [listed()] });
    expect(strandedOf(world.state)).toEqual([]);
    expect(world.last("send")).toMatchObject({ id });
  });

  it("does not hold what was stored", () => {
    const world = World.following();
    const id = world.write("Bonjour");
    world.hear({ type: "ack", id, room: ROOM, epoch: 1, seq: 101, ts: 1 });
    world.act({ type: "roomsListed", rooms: [] });
    expect(strandedOf(world.state)).toEqual([]);
  });
});

describe("changes of messages", () => {
  const page = [message(90, { sender: ME, id: "mine", text: "avant" })];

  it("show at once and stay until their event comes", () => {
    const world = World.following(page);
    world.act({ type: "rewrote", room: ROOM, target: at(90), text: "après" });
    const id = world.keep();
    expect(linesOf(world.room, ME)[0]).toMatchObject({ message: { text: "après" }, mark: "pending" });
    world.hear({ type: "ack", id, room: ROOM, epoch: 1, seq: 101, ts: 1 });
    expect(linesOf(world.room, ME)[0]).toMatchObject({ message: { text: "après" }, mark: "sent" });
    world.hear(event("edit", 101, { target: at(90), text: "après", sender: ME, id }));
    expect(world.room.outbox).toEqual([]);
    expect(linesOf(world.room, ME)[0]?.message.text).toBe("après");
  });

  it("do not show any more once refused, and say so", () => {
    const world = World.following(page);
    world.act({ type: "removed", room: ROOM, target: at(90) });
    const id = world.keep();
    expect(linesOf(world.room, ME)[0]?.message.deleted).toBeTruthy();
    world.refuse(id, "forbidden", false);
    expect(linesOf(world.room, ME)[0]).toMatchObject({ message: { text: "avant" }, mark: "failed" });
    expect(linesOf(world.room, ME)[0]?.message.deleted).toBeFalsy();
  });

  it("toggle reactions", () => {
    const world = World.following(page);
    world.act({ type: "reacted", room: ROOM, target: at(90), emoji: "👍", on: true });
    expect(linesOf(world.room, ME)[0]?.message.reactions).toEqual({ "👍": [ME] });
    const id = world.keep();
    world.hear(event("reaction", 101, { target: at(90), emoji: "👍", on: true, sender: ME, id }));
    world.act({ type: "reacted", room: ROOM, target: at(90), emoji: "👍", on: false });
    expect(linesOf(world.room, ME)[0]?.message.reactions).toEqual({});
  });
});
