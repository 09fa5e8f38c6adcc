/** A browser with several windows of one person: what is durable, the channel between windows, the lock, and lines to the node. */

import type { CommandFrame } from "../src/protocol/frames";
import { Relay } from "../src/protocol/relay";
import type { Action, Effect, TimerName, Word } from "../src/state/actions";
import type { Copy } from "../src/state/copies";
import { copyOf } from "../src/state/copies";
import type { Transport } from "../src/state/ladder";
import type { Entry, State } from "../src/state/model";
import { initialState } from "../src/state/model";
import { reduce } from "../src/state/reducer";
import { durable } from "../src/state/windows";
import type { LittleNode, NodeEnd } from "./little-node";
import { listed, ME, START } from "./world";

const TOGETHER = 32;

/** A line as the client sees it; requests are requests here too. */
export class LittleLine {
  open = false;
  private readonly up: CommandFrame[] = [];
  private readonly relay = new Relay();
  private end: NodeEnd | null = null;
  private next: NodeEnd | null = null;
  private due = false;
  private replies: NodeEnd | null = null;
  /** One of the replies says: again. */
  private failed = false;

  constructor(
    readonly number: number,
    readonly transport: Transport,
    private readonly node: LittleNode,
    private readonly hear: (action: Action) => void,
  ) {}

  send(frame: CommandFrame): void {
    if (this.transport !== "websocket" && this.relay.takes(frame)) this.due = true;
    else this.up.push(frame);
  }

  close(): void {
    for (const end of [this.end, this.next]) if (end !== null) this.node.disconnect(end);
    this.end = this.next = this.replies = null;
    this.open = false;
  }

  /** Something reaches the node; `reached` is false where the way back, or there, is cut. */
  speak(refuse: boolean, reached: boolean): void {
    if (!this.open) {
      this.open = true;
      if (this.transport === "websocket") this.end = this.node.connect();
      this.hear({ type: "lineOpened", number: this.number });
    } else if (this.transport === "websocket") {
      const frame = this.up.shift();
      if (frame !== undefined) this.end?.receive(frame, refuse);
    } else if (this.due) {
      this.due = false;
      if (this.next !== null) this.node.disconnect(this.next);
      this.next = this.node.connect();
      this.next.welcome("connect", this.relay.following);
    } else this.post(refuse, reached);
  }

  listen(): void {
    const reply = this.replies?.outgoing.shift();
    if (reply !== undefined) {
      this.hear({ type: "frameArrived", number: this.number, frame: reply });
      return;
    }
    // What was to come after a command that has to go again must not overtake it.
    if (this.replies !== null && this.failed) {
      const held = this.up.splice(0);
      this.failed = false;
      this.replies = null;
      for (const { id } of held) {
        this.hear({ type: "frameArrived", number: this.number, frame: { type: "error", id, code: "out_of_order", message: "", retryable: true } });
      }
      return;
    }
    this.replies = null;
    const from = this.next !== null && this.next.outgoing.length > 0 ? this.next : this.end;
    const frame = from?.outgoing.shift();
    if (frame === undefined) return;
    if (from === this.next && this.next !== null) {
      if (this.end !== null) this.node.disconnect(this.end);
      [this.end, this.next] = [this.next, null];
    }
    const heard = this.transport === "websocket" ? [frame] : this.relay.heard(frame);
    for (const each of heard) this.hear({ type: "frameArrived", number: this.number, frame: each });
  }

  /** One request at a time; what gets no answer is excused, whether it was stored or not. */
  private post(refuse: boolean, reached: boolean): void {
    if (this.replies !== null || this.up.length === 0) return;
    const frames = this.up.splice(0, TOGETHER);
    const end = this.node.connect();
    this.node.disconnect(end);
    // What was cut off on its way is a beginning of it, if anything.
    const arrived = frames.slice(0, reached ? TOGETHER : Math.ceil(frames.length / 2));
    for (const [n, frame] of arrived.entries()) end.receive(frame, refuse && n === 0);
    this.replies = end;
    const excuse = ({ id }: CommandFrame): void => {
      end.outgoing.push({ type: "error", id, code: "unavailable", message: "", retryable: true });
    };
    if (!reached) {
      end.outgoing.length = 0;
      frames.forEach(excuse);
    }
    this.failed = end.outgoing.some((frame) => frame.type === "error");
  }
}

export class LittleWindow {
  state: State = fresh();
  readonly timers = new Map<TimerName, number>();
  readonly lines = new Map<number, LittleLine>();
  readonly inbox: Word[] = [];
  /** Transactions, in the order in which they were begun. */
  work: ({ readonly keep: Entry } | { readonly drop: Extract<Effect, { do: "drop" }> })[] = [];
  /** What was read, in the order of reading, until it is told; with the lock among it. */
  reading: Extract<Action, { type: "leadTaken" | "outboxRead" }>[] = [];
  /** Durable, and this window does not know it yet. */
  written: Entry[] = [];
  private ids = 0;

  constructor(
    readonly name: string,
    readonly browser: LittleBrowser,
  ) {}

  act = (action: Action): void => {
    const env = { now: this.browser.now, id: () => `${this.name}-${++this.ids}`, random: this.browser.random };
    const { state, effects } = reduce(this.state, action, env);
    this.state = state;
    for (const effect of effects) this.perform(effect);
  };

  /** One transaction is done, or this window hears of one. */
  workOne(): void {
    const known = this.browser.random() < 0.5 ? this.written.shift() : undefined;
    if (known !== undefined) {
      this.act({ type: "entryKept", room: known.room, id: known.id, order: known.order });
      return;
    }
    const next = this.work.shift();
    if (next === undefined) return;
    if ("keep" in next) this.keep(next.keep);
    else this.drop(next.drop);
  }

  private keep(entry: Entry): void {
    const { stored } = this.browser;
    const order = entry.order ?? ++this.browser.orders;
    // What another window has dropped since stays away.
    if (entry.order === null || stored.has(order)) stored.set(order, { ...entry, order });
    this.written.push({ ...entry, order });
  }

  private drop(drop: Extract<Effect, { do: "drop" }>): void {
    this.browser.delete(drop.id);
    this.browser.tell(this, gone(drop));
  }

  read(type: "leadTaken" | "outboxRead"): void {
    this.reading.push({ type, entries: this.browser.entries(), held: durable(this.state).map(({ id }) => id) });
  }

  readOne(): void {
    const read = this.reading.shift();
    if (read !== undefined) this.act(read);
  }

  hearOne(): void {
    const word = this.inbox.shift();
    if (word !== undefined) this.act({ type: "windowSaid", word });
  }

  /** A network that carries no WebSocket refuses it; everything else may be cut at any time. */
  cut(line: LittleLine): void {
    line.close();
    this.lines.delete(line.number);
    this.act({ type: "lineClosed", number: line.number, end: {} });
  }

  private perform(effect: Effect): void {
    switch (effect.do) {
      case "open":
        this.lines.set(effect.number, new LittleLine(effect.number, effect.transport, this.browser.node, this.act));
        break;
      case "close":
        this.lines.get(effect.number)?.close();
        this.lines.delete(effect.number);
        break;
      case "send":
        this.lines.get(effect.number)?.send(effect.frame);
        break;
      case "start":
        this.timers.set(effect.timer, this.browser.now + effect.after);
        break;
      case "cancel":
        this.timers.delete(effect.timer);
        break;
      case "listRooms":
        this.act({ type: "roomsListed", rooms: [listed()] });
        break;
      case "keep":
        this.work.push({ keep: effect.entry });
        break;
      case "drop":
        this.work.push({ drop: effect });
        this.browser.dropped.add(effect.id);
        if (effect.at === null) this.browser.tell(this, gone(effect));
        if (effect.undone === "cancelled") this.browser.cancelled.add(effect.id);
        break;
      case "tell":
        this.browser.tell(this, effect.word);
        break;
      case "readOutbox":
        this.read("outboxRead");
        break;
      case "readAgain":
        this.read("leadTaken");
        break;
      case "giveLead":
        this.browser.leave(this);
        this.browser.queue.push(this);
        break;
      case "copy":
        this.browser.copies.set(effect.room, this);
        break;
      default:
        break;
    }
  }
}

export class LittleBrowser {
  now = START;
  orders = 0;
  readonly stored = new Map<number, Entry>();
  /** Ids of what is to be deleted; every window knows them. */
  readonly dropped = new Set<string>();
  /** Ids of what was stored and is not any more. */
  readonly done = new Set<string>();
  /** Ids of what its person was told to be cancelled. */
  readonly cancelled = new Set<string>();
  /** The lock's holder, then those who wait for it. */
  readonly queue: LittleWindow[] = [];
  readonly windows: LittleWindow[] = [];
  /** Copies that are to be written, by room, and those that were. */
  readonly copies = new Map<string, LittleWindow>();
  private readonly written = new Map<string, Copy>();
  private opened = 0;

  constructor(
    readonly node: LittleNode,
    readonly random: () => number,
  ) {}

  /** A window in this place; what was there before is gone as by a crash. */
  open(place: number, untold: readonly string[] = []): void {
    const before = this.windows[place];
    if (before !== undefined) {
      for (const line of before.lines.values()) line.close();
      this.leave(before);
    }
    for (const id of this.dropped) this.delete(id);
    const window = new LittleWindow(`w${++this.opened}`, this);
    this.windows[place] = window;
    window.act({ type: "started", entries: this.entries(), untold, copies: [...this.written.values()] });
    window.act({ type: "roomOpened", room: "python" });
    this.tell(window, { say: "hello" });
    this.queue.push(window);
  }

  /** The window in this place is loaded again: what it had given is written now, what it had dropped is deleted. */
  reload(place: number): void {
    const before = this.windows[place];
    if (before === undefined) return;
    const untold: string[] = [];
    const given = before.work.flatMap((each) => ("keep" in each ? [each.keep] : []));
    for (const id of this.dropped) this.delete(id);
    for (const entry of [...before.written, ...given]) {
      if (this.done.has(entry.id)) continue;
      untold.push(entry.id);
      if (entry.order !== null || [...this.stored.values()].some(({ id }) => id === entry.id)) continue;
      this.orders += 1;
      this.stored.set(this.orders, { ...entry, order: this.orders });
    }
    this.open(place, untold);
  }

  leave(window: LittleWindow): void {
    window.reading = window.reading.filter(({ type }) => type === "outboxRead");
    const at = this.queue.indexOf(window);
    if (at >= 0) this.queue.splice(at, 1);
  }

  tell(from: LittleWindow, word: Word): void {
    for (const window of this.windows) if (window !== from) window.inbox.push(word);
  }

  /** The lock's holder reads what is durable, and some time later knows it. */
  lead(): void {
    const [first] = this.queue;
    if (first === undefined || first.state.leading || first.reading.some(({ type }) => type === "leadTaken")) return;
    first.read("leadTaken");
  }

  writeCopies(): void {
    for (const [room, window] of this.copies) {
      const copy = this.windows.includes(window) ? copyOf(window.state, room) : null;
      if (copy !== null) this.written.set(room, copy);
    }
    this.copies.clear();
  }

  delete(id: string): void {
    for (const [order, entry] of this.stored) if (entry.id === id) this.stored.delete(order);
    this.dropped.delete(id);
    this.done.add(id);
  }

  entries(): readonly Entry[] {
    const rows = [...this.stored].sort(([a], [b]) => a - b).map(([, entry]) => entry);
    return rows.filter(({ id }) => !this.dropped.has(id));
  }
}

function gone({ room, id, at, undone }: Extract<Effect, { do: "drop" }>): Word {
  return { say: "gone", room, id, at, ...(undone && { undone }) };
}

function fresh(): State {
  return initialState({ user: ME, name: "Amina" }, { text: "t", expiresAt: START + 10 ** 9 });
}
