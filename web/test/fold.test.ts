import { describe, expect, it } from "vitest";
import type { StoredEvent } from "../src/protocol/events";
import type { Folded, Timeline } from "../src/state/fold";
import { foldEvent, mergePage, messageAt } from "../src/state/fold";
import { at, event, message } from "./world";

const fold = (events: readonly StoredEvent[], timeline: Timeline = []): Timeline =>
  events.reduce<Folded>(foldEvent, { timeline, amended: new Map() }).timeline;

describe("folding", () => {
  it("begins a message with each message event, in the room's order", () => {
    const timeline = fold([event("message", 2, { text: "b" }), event("message", 1, { text: "a" })]);
    expect(timeline.map((each) => each.text)).toEqual(["a", "b"]);
  });

  it("keeps the lower position of two events with the same sender and id", () => {
    const first = event("message", 1, { text: "once", id: "same" });
    const copy = event("message", 5, { text: "once", id: "same" });
    expect(fold([first, copy])).toHaveLength(1);
    expect(fold([copy, first]).map((each) => each.seq)).toEqual([1]);
  });

  it("takes the same id of another sender for another message", () => {
    const events = [event("message", 1, { text: "a", id: "same" }), event("message", 2, { text: "b", id: "same", sender: "hugo" })];
    expect(fold(events)).toHaveLength(2);
  });

  it("keeps the newest of several edits, in whatever order they come", () => {
    const begun = event("message", 1, { text: "v1" });
    const second = event("edit", 2, { target: at(1), text: "v2" });
    const third = event("edit", 3, { target: at(1), text: "v3" });
    expect(messageAt(fold([begun, third, second]), at(1))).toMatchObject({ text: "v3", rev: 3, edited: third.ts });
  });

  it("lets a deleted message stay deleted", () => {
    const timeline = fold([
      event("message", 1, { text: "secret" }),
      event("reaction", 2, { target: at(1), emoji: "👍", on: true }),
      event("delete", 3, { target: at(1), sender: "sophie" }),
      event("edit", 4, { target: at(1), text: "back" }),
      event("reaction", 5, { target: at(1), emoji: "👍", on: true }),
    ]);
    expect(messageAt(timeline, at(1))).toMatchObject({ text: "", reactions: {}, deleted: { by: "sophie" }, rev: 3 });
  });

  it("counts each person once per emoji and forgets an emoji that nobody holds", () => {
    const on = (seq: number, sender: string): StoredEvent => event("reaction", seq, { target: at(1), emoji: "👍", on: true, sender });
    const off = event("reaction", 9, { target: at(1), emoji: "👍", on: false, sender: "lea" });
    const begun = event("message", 1, { text: "a" });
    expect(messageAt(fold([begun, on(2, "nina"), on(3, "lea"), on(4, "lea")]), at(1))?.reactions).toEqual({ "👍": ["lea", "nina"] });
    expect(messageAt(fold([begun, on(2, "lea"), off]), at(1))?.reactions).toEqual({});
  });

  it("makes a notice of a member event", () => {
    const change = { user: "hugo", role: "learner", name: "Hugo" };
    expect(fold([event("member", 1, { change })])[0]).toMatchObject({ seq: 1, notice: change });
  });

  it("passes over amendments of what is not held", () => {
    const timeline = fold([event("message", 5, { text: "a" })]);
    expect(fold([event("edit", 6, { target: at(2), text: "?" })], timeline)).toBe(timeline);
  });

  it("ends as a fresh page does, wherever the page was taken, also when some events come twice", () => {
    const random = seeded(7);
    for (let round = 0; round < 300; round += 1) {
      const events = history(random);
      const whole = fold(events);
      const cut = Math.floor(random() * events.length);
      const page = fold(events.slice(0, cut));
      const from = Math.max(0, cut - Math.floor(random() * 3));
      expect(fold(events.slice(from), mergePage([], page))).toEqual(whole);
    }
  });
});

describe("merging a page", () => {
  it("puts older messages before newer ones and each once", () => {
    const held = mergePage([], [message(5), message(6)]);
    expect(mergePage(held, [message(3), message(4), message(5)]).map((each) => each.seq)).toEqual([3, 4, 5, 6]);
  });

  it("keeps the later revision of a message", () => {
    const held = mergePage([], [message(5, { text: "new", rev: 9 })]);
    expect(mergePage(held, [message(5, { text: "old" })])[0]?.text).toBe("new");
    expect(mergePage([message(5, { text: "old" })], held)[0]?.text).toBe("new");
  });
});

function history(random: () => number): StoredEvent[] {
  const people = ["claire", "hugo", "lea"];
  const pick = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)] as T;
  const events: StoredEvent[] = [];
  for (let seq = 1; seq <= 30; seq += 1) {
    const sender = pick(people);
    const begun = events.filter((each) => each.kind === "message").map((each) => at(each.seq));
    const what = begun.length === 0 ? 0 : Math.floor(random() * 5);
    const target = begun.length === 0 ? at(1) : pick(begun);
    if (what <= 1) events.push(event("message", seq, { text: `t${seq}`, sender, ...(random() < 0.2 ? { id: "again" } : {}) }));
    else if (what === 2) events.push(event("edit", seq, { target, text: `e${seq}`, sender }));
    else if (what === 3) events.push(event("reaction", seq, { target, emoji: pick(["👍", "✅"]), on: random() < 0.6, sender }));
    else if (random() < 0.4) events.push(event("delete", seq, { target, sender }));
    else events.push(event("member", seq, { change: { user: sender, role: "learner" }, sender }));
  }
  return events;
}

function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}
