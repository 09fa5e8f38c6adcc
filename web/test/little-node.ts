/** As much of a node as decides what a client sees: one room's log, idempotent commands, lanes, cursors, and all that goes wrong. */

import type { RoomEvent, ServerFrame, StoredEvent } from "../src/protocol/events";
import type { CommandFrame, Message, StoredCommand } from "../src/protocol/frames";
import type { Folded } from "../src/state/fold";
import { foldEvent } from "../src/state/fold";
import { ME, ROOM, START } from "./world";

type Stored = StoredCommand & { readonly id: string; readonly again?: true };

export class LittleNode {
  readonly log: StoredEvent[] = [];
  epoch = 1;
  /** What waits to be heard by the client's current connection. */
  outgoing: ServerFrame[] = [];
  private subscribed = false;
  /** An event was told since the last page: from there on a client can find what it misses. */
  private chained = false;
  private blocked: string | null = null;
  private seq = 100;

  /** A new connection: nothing of the old one is left. */
  connect(): void {
    this.outgoing = [];
    this.subscribed = false;
    this.blocked = null;
  }

  receive(frame: CommandFrame, refuse: boolean): void {
    const { id } = frame;
    switch (frame.type) {
      case "connect":
        this.outgoing.push(welcome(id));
        for (const cursor of Object.values(frame.cursors ?? {})) {
          this.subscribe(cursor, (answer) => ({ type: "event", kind: "subscribed", room: ROOM, ...answer }) as RoomEvent);
        }
        return;
      case "subscribe":
        if (refuse) this.outgoing.push(error(id, "unavailable"));
        else this.subscribe(frame.cursor, (answer) => ({ type: "ack", id, room: ROOM, ...answer }));
        return;
      case "send":
      case "edit":
      case "delete":
      case "react":
        this.store(frame, refuse);
        return;
      default:
        this.outgoing.push({ type: "ack", id });
    }
  }

  /** Somebody else does something; a lost one is stored but not told. */
  other(kind: StoredEvent["kind"], fields: object, lost: boolean): void {
    this.append({ kind, ...fields }, "claire", `o-${this.log.length}`, lost);
  }

  /** A publish that was stuck comes out a second time. */
  repeat(event: StoredEvent): void {
    this.append(event, event.sender, event.id, false);
  }

  /** A restore: the numbers begin anew in a new epoch, the messages stay. */
  raiseEpoch(): void {
    this.epoch += 1;
    this.seq = 10;
    this.subscribed = false;
    this.outgoing.push({ type: "event", kind: "unsubscribed", room: ROOM, code: "unavailable", message: "", retryable: true });
  }

  messages(): readonly Message[] {
    return this.log.reduce<Folded>(foldEvent, { timeline: [], amended: new Map() }).timeline;
  }

  private store(command: Stored, refuse: boolean): void {
    const { id } = command;
    const blocked = this.blocked !== null && this.blocked !== id;
    if (refuse || blocked) {
      this.blocked ??= id;
      this.outgoing.push(error(id, blocked ? "out_of_order" : "unavailable"));
      return;
    }
    this.blocked = null;
    const known = this.log.find((event) => event.sender === ME && event.id === id);
    if (known !== undefined && command.again !== true) throw new Error(`${id} came again without saying so`);
    const event = known ?? this.append(eventOf(command), ME, id, false);
    const ack: ServerFrame = { type: "ack", id, room: ROOM, epoch: event.epoch, seq: event.seq, ts: event.ts };
    // Ack and event come in either order.
    const last = this.outgoing.at(-1);
    if (last === event && event.seq % 2 === 0) this.outgoing.splice(-1, 0, ack);
    else this.outgoing.push(ack);
  }

  private append(fields: object, sender: string, id: string, lost: boolean): StoredEvent {
    const prev = this.log.at(-1)?.epoch === this.epoch ? (this.log.at(-1)?.seq ?? 0) : 0;
    this.seq += 3;
    const place = { type: "event", room: ROOM, epoch: this.epoch, seq: this.seq, prev, cursor: `${this.epoch}-${this.seq}-0` };
    const event = { ...fields, ...place, ts: START, sender, id } as StoredEvent;
    this.log.push(event);
    if (this.subscribed && !(lost && this.chained)) {
      this.outgoing.push(event);
      this.chained = true;
    }
    return event;
  }

  private subscribe(cursor: string | undefined, answer: (fields: object) => ServerFrame): void {
    this.subscribed = true;
    this.chained = false;
    const [epoch, seq] = (cursor ?? "").split("-").map(Number);
    if (epoch === this.epoch && seq !== undefined) {
      this.outgoing.push(answer({ recovered: true, cursor }));
      this.outgoing.push(...this.log.filter((event) => event.epoch === epoch && event.seq > seq));
    } else {
      const end = `${this.epoch}-${this.seq}-0`;
      this.outgoing.push(answer({ recovered: false, cursor: end, messages: this.messages().slice(-50), more_before: this.messages().length > 50 }));
    }
  }
}

function eventOf(command: Stored): object {
  switch (command.type) {
    case "send":
      return { kind: "message", text: command.text };
    case "edit":
      return { kind: "edit", target: command.target, text: command.text };
    case "delete":
      return { kind: "delete", target: command.target };
    case "react":
      return { kind: "reaction", target: command.target, emoji: command.emoji, on: command.on };
  }
}

function welcome(id: string): ServerFrame {
  const limits = { text_bytes: 16_384, page: 100, cursors: 500 };
  const who = { user: ME, name: "Amina", node: "n", session: "s", version: "1" };
  return { type: "welcome", id, ...who, heartbeat_ms: 25_000, expires_at: START + 10 ** 9, limits };
}

function error(id: string, code: string): ServerFrame {
  return { type: "error", id, code, message: code, retryable: true };
}
