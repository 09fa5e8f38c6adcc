/** The client against a little node, with everything going wrong at random: nothing is lost, doubled or turned round. */

import { describe, expect, it } from "vitest";
import type { CommandFrame, Message } from "../src/protocol/frames";
import type { Action, Effect, TimerName } from "../src/state/actions";
import { initialState } from "../src/state/model";
import type { Entry, State } from "../src/state/model";
import { reduce } from "../src/state/reducer";
import { linesOf } from "../src/state/select";
import { LittleNode } from "./little-node";
import { at, listed, ME, ROOM, START } from "./world";

class Simulation {
  readonly node = new LittleNode();
  readonly written: string[] = [];
  state: State = fresh();
  now = START;
  private readonly timers = new Map<TimerName, number>();
  private readonly durable = new Map<string, Entry>();
  private keeping: Entry[] = [];
  private incoming: CommandFrame[] = [];
  private open = false;
  private opening = false;
  private ids = 0;
  private orders = 0;

  constructor(private readonly random: () => number) {
    this.act({ type: "started", entries: [] });
    this.act({ type: "leadTaken", entries: [], held: [] });
  }

  act(action: Action): void {
    const env = { now: this.now, id: () => `id-${++this.ids}`, random: this.random };
    const { state, effects } = reduce(this.state, action, env);
    this.state = state;
    for (const effect of effects) this.perform(effect);
  }

  chance(share: number): boolean {
    return this.random() < share;
  }

  /** One thing happens. */
  step(trouble: boolean): void {
    const what = this.random();
    if (what < 0.3) this.deliverToNode(trouble && this.chance(0.1));
    else if (what < 0.6) this.deliverToClient();
    else if (what < 0.7) this.keepOne();
    else if (what < 0.8) this.passTime();
    else if (trouble) this.happen();
  }

  /** Heals, and lets everything come to rest; a last event shows what was missed before it. */
  settle(): void {
    for (let n = 0; n < 10_000; n += 1) this.step(false);
    this.node.other("message", { text: "fin" }, false);
    for (let n = 0; n < 2_000; n += 1) this.step(false);
  }

  private happen(): void {
    const what = this.random();
    if (what < 0.35) this.write();
    else if (what < 0.5) this.change();
    else if (what < 0.75) this.somebodyElse();
    else if (what < 0.85) this.lose();
    else if (what < 0.9) this.repeat();
    else if (what < 0.95) this.reload();
    else if (what < 0.97) this.node.raiseEpoch();
    else this.act({ type: "historyWanted", room: ROOM });
  }

  private write(): void {
    if (this.state.rooms[ROOM] === undefined) return;
    const text = `m${this.written.length}`;
    this.written.push(text);
    this.act({ type: "wrote", room: ROOM, text, replyTo: null });
  }

  private change(): void {
    const own = this.state.rooms[ROOM]?.timeline.filter((message) => message.sender === ME) ?? [];
    const message = own[Math.floor(this.random() * own.length)];
    if (message === undefined) return;
    const target = at(message.seq, message.epoch);
    if (this.chance(0.4)) this.act({ type: "rewrote", room: ROOM, target, text: `${message.text ?? ""}'` });
    else this.act({ type: "reacted", room: ROOM, target, emoji: "👍", on: this.chance(0.5) });
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

  private lose(): void {
    if (!this.open) return;
    this.drop();
    this.act({ type: "lineClosed", number: this.state.connection.number, end: {} });
  }

  /** The page is loaded again: only what is durable is left. */
  private reload(): void {
    this.drop();
    this.timers.clear();
    // What was not durable yet was not promised to anybody.
    for (const entry of this.keeping) if (entry.command.type === "send") this.forget(entry.command.text);
    this.keeping = [];
    this.state = fresh();
    this.act({ type: "started", entries: [...this.durable.values()] });
    this.act({ type: "leadTaken", entries: [...this.durable.values()], held: [] });
  }

  private forget(text: string): void {
    const place = this.written.indexOf(text);
    if (place >= 0 && ![...this.durable.values()].some((entry) => "text" in entry.command && entry.command.text === text)) {
      this.written.splice(place, 1, `(${text})`);
    }
  }

  private drop(): void {
    this.open = false;
    this.opening = false;
    this.incoming = [];
    this.node.connect();
  }

  private deliverToNode(refuse: boolean): void {
    if (this.opening) {
      this.opening = false;
      this.open = true;
      this.node.connect();
      this.act({ type: "lineOpened", number: this.state.connection.number });
      return;
    }
    const frame = this.incoming.shift();
    if (frame !== undefined && this.open) this.node.receive(frame, refuse);
  }

  private deliverToClient(): void {
    const frame = this.open ? this.node.outgoing.shift() : undefined;
    if (frame !== undefined) this.act({ type: "frameArrived", number: this.state.connection.number, frame });
  }

  private keepOne(): void {
    const entry = this.keeping.shift();
    if (entry === undefined) return;
    const order = entry.order ?? ++this.orders;
    this.durable.set(entry.id, { ...entry, order });
    this.act({ type: "entryKept", room: entry.room, id: entry.id, order });
  }

  private passTime(): void {
    const due = [...this.timers].filter(([name]) => name !== "heartbeat" && name !== "token");
    const next = due.sort(([, a], [, b]) => a - b)[0];
    if (next === undefined) return;
    this.now = Math.max(this.now, next[1]);
    this.timers.delete(next[0]);
    this.act({ type: "timerFired", name: next[0] });
  }

  private perform(effect: Effect): void {
    switch (effect.do) {
      case "open":
        // What is tried beside the connection never answers here.
        if (effect.number !== this.state.connection.number) break;
        this.drop();
        this.opening = true;
        break;
      case "close":
        if (effect.number === this.state.connection.number) this.drop();
        break;
      case "send":
        if (this.open) this.incoming.push(effect.frame);
        break;
      case "start":
        this.timers.set(effect.timer, this.now + effect.after);
        break;
      case "cancel":
        this.timers.delete(effect.timer);
        break;
      case "listRooms":
        this.act({ type: "roomsListed", rooms: [listed()] });
        break;
      case "keep":
        this.keeping.push(effect.entry);
        break;
      case "drop":
        this.durable.delete(effect.id);
        this.keeping = this.keeping.filter((entry) => entry.id !== effect.id);
        break;
      default:
        break;
    }
  }
}

function fresh(): State {
  return initialState({ user: ME, name: "Amina" }, { text: "t", expiresAt: START + 10 ** 9 });
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

describe("whatever goes wrong", () => {
  it.each(Array.from({ length: 30 }, (_, seed) => seed))("everything is stored once, in order, and shown as stored (seed %i)", (seed) => {
    const simulation = new Simulation(seeded(seed));
    for (let n = 0; n < 1500; n += 1) simulation.step(true);
    simulation.settle();

    const { node, state } = simulation;
    const room = state.rooms[ROOM];
    expect(room).toBeDefined();
    if (room === undefined) return;
    expect(room.outbox).toEqual([]);

    const mine = node.messages().filter((message) => message.sender === ME);
    const texts = mine.map((message) => (message.text ?? "").replace(/'+$/, ""));
    expect(texts).toEqual(simulation.written.filter((text) => !text.startsWith("(") || texts.includes(text)));

    const shown = linesOf(room, ME).map((line) => line.message);
    const stored = node.messages().slice(-shown.length);
    const facts = ({ epoch, seq, id, text, reactions = {} }: Message): object => ({ epoch, seq, id, text, reactions });
    expect(shown.map(facts)).toEqual(stored.map(facts));
    expect(shown.length).toBeGreaterThanOrEqual(Math.min(30, node.messages().length));
  });
});
