/** A client without a browser: counted ids, a clock that tests advance, effects that tests look at. */

import type { ServerFrame, StoredEvent } from "../src/protocol/events";
import type { CommandFrame, Message } from "../src/protocol/frames";
import type { Action, Effect, ListedRoom, TimerName } from "../src/state/actions";
import type { Room, State } from "../src/state/model";
import { initialState } from "../src/state/model";
import { reduce } from "../src/state/reducer";

export const ROOM = "python";
export const ME = "amina";
export const START = Date.UTC(2026, 10, 24, 9);

export class World {
  state: State = initialState({ user: ME, name: "Amina Diallo" }, { text: "token-1", expiresAt: START + 3_600_000 });
  now = START;
  random = 0.5;
  effects: Effect[] = [];
  private ids = 0;
  private orders = 0;

  /** Acts, and returns the effects of this action alone. */
  act(action: Action): readonly Effect[] {
    const step = reduce(this.state, action, { now: this.now, id: () => `id-${++this.ids}`, random: () => this.random });
    this.state = step.state;
    this.effects.push(...step.effects);
    return step.effects;
  }

  /** A frame on the current socket; returns what the client sends because of it. */
  hear(frame: ServerFrame): readonly CommandFrame[] {
    return sent(this.act({ type: "frameArrived", number: this.state.connection.number, frame }));
  }

  ring(name: TimerName): readonly CommandFrame[] {
    return sent(this.act({ type: "timerFired", name }));
  }

  open(): readonly CommandFrame[] {
    return sent(this.act({ type: "lineOpened", number: this.state.connection.number }));
  }

  welcome(): readonly CommandFrame[] {
    const frames = this.open();
    return [
      ...frames,
      ...this.hear({
        type: "welcome",
        id: frames[0]?.id ?? "",
        user: ME,
        name: "Amina Diallo",
        node: "node-1",
        session: "s",
        version: "1",
        heartbeat_ms: 25_000,
        expires_at: START + 3_600_000,
        limits: { text_bytes: 16_384, page: 100, cursors: 500 },
      }),
    ];
  }

  close(code: number): readonly Effect[] {
    const end = code === 1006 ? {} : { code };
    return this.act({ type: "lineClosed", number: this.state.connection.number, end });
  }

  /** Signed in, connected, the room listed and followed with this page. */
  static following(page: readonly Message[] = [], cursor = "1-100-0", moreBefore = false): World {
    const world = new World();
    world.act({ type: "started", entries: [] });
    world.act({ type: "leadTaken", entries: [], held: [] });
    world.act({ type: "roomOpened", room: ROOM });
    world.welcome();
    world.act({ type: "roomsListed", rooms: [listed()] });
    world.answer("subscribe", { recovered: false, cursor, messages: page, more_before: moreBefore, receipts: [] });
    return world;
  }

  /** The ack of the last command of this type. */
  answer(type: CommandFrame["type"], fields: object = {}): readonly CommandFrame[] {
    return this.hear({ type: "ack", id: this.last(type).id, ...fields });
  }

  refuse(id: string, code: string, retryable: boolean, retryAfter?: number): readonly CommandFrame[] {
    const wait = retryAfter === undefined ? {} : { retry_after: retryAfter };
    return this.hear({ type: "error", id, code, message: code, retryable, ...wait });
  }

  last(type: CommandFrame["type"]): CommandFrame {
    const frame = this.frames(type).at(-1);
    if (frame === undefined) throw new Error(`no ${type} was sent`);
    return frame;
  }

  frames(type: CommandFrame["type"]): readonly CommandFrame[] {
    return sent(this.effects).filter((frame) => frame.type === type);
  }

  /** Writes a message and lets it become durable; returns its id. */
  write(text: string): string {
    this.act({ type: "wrote", room: ROOM, text, replyTo: null });
    return this.keep();
  }

  /** The last given command is durable now. */
  keep(): string {
    const entry = this.room.outbox.at(-1);
    if (entry === undefined) throw new Error("the outbox is empty");
    this.act({ type: "entryKept", room: ROOM, id: entry.id, order: entry.order ?? ++this.orders });
    return entry.id;
  }

  get room(): Room {
    const room = this.state.rooms[ROOM];
    if (room === undefined) throw new Error("the room is gone");
    return room;
  }

  timers(): readonly (readonly [TimerName, number])[] {
    return this.effects.flatMap((effect) => (effect.do === "start" ? [[effect.timer, effect.after] as const] : []));
  }
}

export function sent(effects: readonly Effect[]): readonly CommandFrame[] {
  return effects.flatMap((effect) => (effect.do === "send" ? [effect.frame] : []));
}

export function listed(change: Partial<ListedRoom> = {}): ListedRoom {
  return { room: ROOM, kind: "course", title: "Python", closed: false, role: "learner", last_ts: START, unread: 0, ...change };
}

type EventOf<K extends StoredEvent["kind"]> = Extract<StoredEvent, { kind: K }>;
type Own<K extends StoredEvent["kind"]> = Omit<EventOf<K>, "type" | "kind" | "room" | "epoch" | "seq" | "prev" | "cursor" | "ts" | "sender" | "id">;
interface Common {
  readonly prev?: number;
  readonly epoch?: number;
  readonly sender?: string;
  readonly id?: string;
}

export function event<K extends StoredEvent["kind"]>(kind: K, seq: number, fields: Own<K> & Common): EventOf<K> {
  const { epoch = 1, prev = seq - 1, sender = "claire", id = `c-${seq}` } = fields;
  const common = { type: "event", kind, room: ROOM, seq, cursor: `${epoch}-${seq}-0`, ts: START + seq };
  return { ...common, ...fields, epoch, prev, sender, id } as unknown as EventOf<K>;
}

export function message(seq: number, change: Partial<Message> = {}): Message {
  return { room: ROOM, epoch: 1, seq, id: `c-${seq}`, sender: "claire", ts: START + seq, text: `n° ${seq}`, rev: seq, ...change };
}

export const at = (seq: number, epoch = 1): { readonly epoch: number; readonly seq: number } => ({ epoch, seq });
