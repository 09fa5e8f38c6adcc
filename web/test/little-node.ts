/** As much of a node as decides what a client sees: one room's log, idempotent commands, lanes, cursors, and all that goes wrong. */

import type { RoomEvent, ServerFrame, StoredEvent } from "../src/protocol/events";
import type { CommandFrame, Message, StoredCommand } from "../src/protocol/frames";
import type { Folded } from "../src/state/fold";
import { foldEvent } from "../src/state/fold";
import { ME, ROOM, START } from "./world";

type Stored = StoredCommand & { readonly id: string; readonly again?: true };

/** One room as a node and its stream know it, and everybody who listens. */
export class LittleNode {
  readonly log: StoredEvent[] = [];
  epoch = 1;
  seq = 100;
  private readonly ends = new Set<NodeEnd>();

  /** A new connection, or a request; nothing of an earlier one is left in it. */
  connect(): NodeEnd {
    const end = new NodeEnd(this);
    this.ends.add(end);
    return end;
  }

  disconnect(end: NodeEnd): void {
    this.ends.delete(end);
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
    for (const end of this.ends) end.dropRoom();
  }

  messages(): readonly Message[] {
    return this.log.reduce<Folded>(foldEvent, { timeline: [], amended: new Map() }).timeline;
  }

  append(fields: object, sender: string, id: string, lost: boolean): StoredEvent {
    const prev = this.log.at(-1)?.epoch === this.epoch ? (this.log.at(-1)?.seq ?? 0) : 0;
    this.seq += 3;
    const place = { type: "event", room: ROOM, epoch: this.epoch, seq: this.seq, prev, cursor: `${this.epoch}-${this.seq}-0` };
    const event = { ...fields, ...place, ts: START, sender, id } as StoredEvent;
    this.log.push(event);
    for (const end of this.ends) end.tell(event, lost);
    return event;
  }
}

/** The node's end of one connection. */
export class NodeEnd {
  /** What waits to be heard by the client. */
  readonly outgoing: ServerFrame[] = [];
  private subscribed = false;
  /** An event was told since the last page: from there on a client can find what it misses. */
  private chained = false;
  private blocked: string | null = null;

  constructor(private readonly node: LittleNode) {}

  receive(frame: CommandFrame, refuse: boolean): void {
    const { id } = frame;
    switch (frame.type) {
      case "connect":
        this.welcome(id, frame.cursors ?? {});
        return;
      case "subscribe":
        if (refuse) this.outgoing.push(error(id, "unavailable"));
        else this.subscribe(frame.cursor ?? null, (answer) => ({ type: "ack", id, room: ROOM, ...answer }));
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

  /** As `connect` is answered, and a request that listens. */
  welcome(id: string, places: Readonly<Record<string, string | null>>): void {
    this.outgoing.push(welcome(id));
    for (const cursor of Object.values(places)) {
      this.subscribe(cursor, (answer) => ({ type: "event", kind: "subscribed", room: ROOM, ...answer }) as RoomEvent);
    }
  }

  dropRoom(): void {
    if (!this.subscribed) return;
    this.subscribed = false;
    this.outgoing.push({ type: "event", kind: "unsubscribed", room: ROOM, code: "unavailable", message: "", retryable: true });
  }

  tell(event: StoredEvent, lost: boolean): void {
    if (!this.subscribed || (lost && this.chained)) return;
    this.outgoing.push(event);
    this.chained = true;
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
    const known = this.node.log.find((event) => event.sender === ME && event.id === id);
    if (known !== undefined && command.again !== true) throw new Error(`${id} came again without saying so`);
    const event = known ?? this.node.append(eventOf(command), ME, id, false);
    const ack: ServerFrame = { type: "ack", id, room: ROOM, epoch: event.epoch, seq: event.seq, ts: event.ts };
    // Ack and event come in either order.
    const last = this.outgoing.at(-1);
    if (last === event && event.seq % 2 === 0) this.outgoing.splice(-1, 0, ack);
    else this.outgoing.push(ack);
  }

  private subscribe(cursor: string | null, answer: (fields: object) => ServerFrame): void {
    this.subscribed = true;
    this.chained = false;
    const { log, epoch: current, seq: newest } = this.node;
    const [epoch, seq] = (cursor ?? "").split("-").map(Number);
    if (epoch === current && seq !== undefined) {
      this.outgoing.push(answer({ recovered: true, cursor }));
      this.outgoing.push(...log.filter((event) => event.epoch === epoch && event.seq > seq));
    } else {
      const messages = this.node.messages();
      const end = `${current}-${newest}-0`;
      this.outgoing.push(answer({ recovered: false, cursor: end, messages: messages.slice(-50), more_before: messages.length > 50 }));
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
