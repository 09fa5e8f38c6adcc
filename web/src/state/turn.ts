import type { CommandFrame, PassingCommand } from "../protocol/frames";
import type { Effect } from "./actions";
import type { Env } from "./env";
import type { Connection, Entry, Question, Room, State } from "./model";
import { without } from "./record";

/** One decision in the making: the state so far and the effects so far. Values stay immutable; the turn holds the latest. */
export class Turn {
  readonly effects: Effect[] = [];

  constructor(
    public state: State,
    readonly env: Env,
  ) {}

  set(change: Partial<State>): void {
    this.state = { ...this.state, ...change };
  }

  setConnection(change: Partial<Connection>): void {
    this.set({ connection: { ...this.state.connection, ...change } });
  }

  room(id: string): Room | null {
    return this.state.rooms[id] ?? null;
  }

  /** Changes a room that exists; nothing otherwise. */
  setRoom(id: string, change: Partial<Room>): void {
    const room = this.room(id);
    if (room !== null) this.set({ rooms: { ...this.state.rooms, [id]: { ...room, ...change } } });
  }

  setEntry(roomId: string, id: string, change: Partial<Entry>): void {
    const room = this.room(roomId);
    if (room === null) return;
    this.setRoom(roomId, { outbox: room.outbox.map((entry) => (entry.id === id ? { ...entry, ...change } : entry)) });
  }

  emit(effect: Effect): void {
    this.effects.push(effect);
  }

  get connected(): boolean {
    return this.state.connection.phase === "connected";
  }

  /** Sends a frame on the current socket and remembers what its reply will be about. */
  ask(frame: CommandFrame, question: Question): void {
    this.set({ questions: { ...this.state.questions, [frame.id]: question } });
    this.emit({ do: "send", number: this.state.connection.number, frame });
  }

  /** Sends a frame whose reply tells nothing that matters. */
  tell(command: PassingCommand): void {
    this.emit({ do: "send", number: this.state.connection.number, frame: { ...command, id: this.env.id() } });
  }

  /** What the reply with this id is about; asked once. */
  answered(id: string): Question | null {
    const question = this.state.questions[id];
    if (question === undefined) return null;
    this.set({ questions: without(this.state.questions, id) });
    return question;
  }

  isAsked(about: Question["about"]): boolean {
    return Object.values(this.state.questions).some((question) => question.about === about);
  }
}
