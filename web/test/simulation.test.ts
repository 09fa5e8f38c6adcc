/** Two windows against a little node, with everything going wrong at random: nothing is lost, doubled or turned round. */

import { describe, expect, it } from "vitest";
import type { Message } from "../src/protocol/frames";
import { undoing } from "../src/state/outbox";
import { linesOf } from "../src/state/select";
import type { LittleWindow } from "./little-browser";
import { LittleBrowser } from "./little-browser";
import { LittleNode } from "./little-node";
import { at, ME, ROOM } from "./world";

const WINDOWS = 2;

class Simulation {
  readonly node = new LittleNode();
  readonly browser: LittleBrowser;
  /** What was written in the window of each place, in order; in brackets what was promised to nobody. */
  readonly written: string[][] = Array.from({ length: WINDOWS }, () => []);
  /** No WebSocket gets through. */
  private blocked = false;
  private count = 0;

  constructor(private readonly random: () => number) {
    this.browser = new LittleBrowser(this.node, random);
    for (let place = 0; place < WINDOWS; place += 1) this.browser.open(place);
  }

  /** One thing happens. */
  step(trouble: boolean): void {
    const place = Math.floor(this.random() * WINDOWS);
    const window = this.browser.windows[place];
    if (window === undefined) return;
    const what = this.random();
    if (what < 0.25) this.speak(window, trouble);
    else if (what < 0.5) this.lineOf(window)?.listen();
    else if (what < 0.64) window.workOne();
    else if (what < 0.74) window.hearOne();
    else if (what < 0.77) {
      this.browser.lead();
      window.readOne();
    }
    else if (what < 0.8) this.browser.writeCopies();
    else if (what < 0.86) this.passTime();
    else if (trouble) this.happen(window, place);
  }

  /** Heals, and lets everything come to rest; a last event shows what was missed before it. */
  settle(): void {
    this.blocked = false;
    for (let n = 0; n < 12_000; n += 1) this.step(false);
    this.node.other("message", { text: "fin" }, false);
    for (let n = 0; n < 4_000; n += 1) this.step(false);
  }

  private chance(share: number): boolean {
    return this.random() < share;
  }

  private lineOf(window: LittleWindow): ReturnType<LittleWindow["lines"]["get"]> {
    const lines = [...window.lines.values()];
    return lines[Math.floor(this.random() * lines.length)];
  }

  private speak(window: LittleWindow, trouble: boolean): void {
    const line = this.lineOf(window);
    if (line === undefined) return;
    if (this.blocked && line.transport === "websocket") window.cut(line);
    else line.speak(trouble && this.chance(0.1), !(trouble && this.chance(0.1)));
  }

  private happen(window: LittleWindow, place: number): void {
    const what = this.random();
    if (what < 0.35) this.write(window, place);
    else if (what < 0.48) this.change(window);
    else if (what < 0.72) this.somebodyElse();
    else if (what < 0.82) this.lose(window);
    else if (what < 0.86) this.repeat();
    else if (what < 0.88) this.crash(window, place);
    else if (what < 0.9) this.browser.reload(place);
    else if (what < 0.92) this.blocked = !this.blocked;
    else if (what < 0.94) this.discard(window);
    else if (what < 0.96) this.node.raiseEpoch();
    else if (what < 0.98) window.act({ type: "historyWanted", room: ROOM });
    else window.act({ type: this.chance(0.5) ? "online" : "shown" });
  }

  private write(window: LittleWindow, place: number): void {
    if (window.state.rooms[ROOM] === undefined) return;
    const text = `${place}.${this.count++}`;
    this.written[place]?.push(text);
    window.act({ type: "wrote", room: ROOM, text, replyTo: null });
  }

  private change(window: LittleWindow): void {
    const own = window.state.rooms[ROOM]?.timeline.filter((message) => message.sender === ME) ?? [];
    const message = own[Math.floor(this.random() * own.length)];
    if (message === undefined) return;
    const target = at(message.seq, message.epoch);
    if (this.chance(0.4)) window.act({ type: "rewrote", room: ROOM, target, text: `${message.text ?? ""}'` });
    else window.act({ type: "reacted", room: ROOM, target, emoji: "👍", on: this.chance(0.5) });
  }

  private somebodyElse(): void {
    const begun = this.node.messages();
    const target = begun[Math.floor(this.random() * begun.length)];
    const lost = this.chance(0.15);
    if (target === undefined || this.chance(0.5)) this.node.other("message", { text: "autre" }, lost);
    else this.node.other("reaction", { target: at(target.seq, target.epoch), emoji: "✅", on: this.chance(0.7) }, lost);
  }

  private repeat(): void {
    // Whoever does not know the first copy cannot tell a second one: a page is longer than this, and tells of messages.
    const log = this.node.log.slice(-20).filter((event) => event.kind === "message");
    const event = log[Math.floor(this.random() * log.length)];
    if (event !== undefined) this.node.repeat(event);
  }

  private lose(window: LittleWindow): void {
    const line = this.lineOf(window);
    if (line !== undefined) window.cut(line);
  }

  /** The window is closed or crashes, and is opened again: only what is durable is left. */
  private crash(window: LittleWindow, place: number): void {
    for (const each of window.work) {
      if ("keep" in each && each.keep.order === null && each.keep.command.type === "send") this.forget(each.keep.command.text);
    }
    this.browser.open(place);
  }

  private discard(window: LittleWindow): void {
    const entry = window.state.rooms[ROOM]?.outbox.find((held) => undoing(held) !== null);
    const accepted = entry && undoing(entry);
    if (entry === undefined || !accepted) return;
    if (entry.command.type === "send") this.forget(entry.command.text);
    window.act({ type: "discarded", room: ROOM, id: entry.id, accepted });
  }

  private forget(text: string): void {
    for (const texts of this.written) {
      const place = texts.indexOf(text);
      if (place >= 0) texts.splice(place, 1, `(${text})`);
    }
  }

  private passTime(): void {
    const due = this.browser.windows.flatMap((window) => [...window.timers].map(([name, time]) => ({ window, name, time })));
    const next = due.filter(({ name }) => name !== "heartbeat" && name !== "token").sort((a, b) => a.time - b.time)[0];
    if (next === undefined) return;
    this.browser.now = Math.max(this.browser.now, next.time);
    next.window.timers.delete(next.name);
    next.window.act({ type: "timerFired", name: next.name });
  }
}

function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const facts = ({ epoch, seq, id, text, reactions = {} }: Message): object => ({ epoch, seq, id, text, reactions });

describe("whatever goes wrong", () => {
  it.each(Array.from({ length: 60 }, (_, seed) => seed))("everything is stored once, in order, and shown as stored (seed %i)", (seed) => {
    const simulation = new Simulation(seeded(seed));
    for (let n = 0; n < 3000; n += 1) simulation.step(true);
    simulation.settle();

    const stored = simulation.node.messages();
    const mine = stored.filter((message) => message.sender === ME).map((message) => (message.text ?? "").replace(/'+$/, ""));
    for (const [place, written] of simulation.written.entries()) {
      // What was promised to nobody may be there or not.
      const texts = mine.filter((text) => text.startsWith(`${place}.`) && written.includes(text));
      expect(texts).toEqual(written.filter((text) => !text.startsWith("(")));
    }
    expect(new Set(mine).size).toBe(mine.length);
    // What was said to be cancelled was given to no node.
    expect(simulation.node.log.filter(({ id }) => simulation.browser.cancelled.has(id))).toEqual([]);
    for (const { state } of simulation.browser.windows) {
      const room = state.rooms[ROOM];
      expect(room?.outbox).toEqual([]);
      if (room === undefined) return;
      const shown = linesOf(room, ME).map((line) => line.message);
      expect(shown.map(facts)).toEqual(stored.slice(-shown.length).map(facts));
      expect(shown.length).toBeGreaterThanOrEqual(Math.min(30, stored.length));
    }
    expect(simulation.browser.stored.size).toBe(0);
  });
});
