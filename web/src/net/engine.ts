/** Runs the reducer in a browser: keeps the state, carries out effects, reports what happens as actions. */

import type { ServerFrame } from "../protocol/events";
import { idSource } from "../protocol/ids";
import type { Action, Effect, TimerName, Word } from "../state/actions";
import { copyOf } from "../state/copies";
import type { KeptRoom } from "../state/list";
import { keptRooms } from "../state/list";
import type { Env } from "../state/env";
import type { End, Transport } from "../state/ladder";
import type { State } from "../state/model";
import { initialState } from "../state/model";
import { reduce } from "../state/reducer";
import { durable } from "../state/windows";
import type { CopyStore } from "./copy-store";
import { Copying } from "./copying";
import type { Credentials } from "./http";
import { HttpFailure, listMembers, listRooms } from "./http";
import type { ListStore } from "./list-store";
import type { OutboxStore } from "./outbox-store";
import type { Ears, Line } from "./lines/line";
import { Poll } from "./lines/poll";
import { Socket, socketAddress } from "./lines/socket";
import { Stream } from "./lines/stream";
import type { Windows } from "./windows";
import { rememberTransport, rememberedTransport } from "./session";

export type LeaveReason = Extract<Effect, { do: "leave" }>["because"];

export interface World {
  readonly outbox: OutboxStore;
  readonly copies: CopyStore;
  readonly list: ListStore;
  readonly windows: (hear: (word: Word) => void) => Windows;
  /** A fresh token for the same person; throws {@link HttpFailure}. */
  readonly renew: (user: string) => Promise<Credentials>;
  readonly left: (because: LeaveReason) => void;
}

const MEMBER_CALLS = 2;

export class Engine {
  state: State;
  private readonly listeners = new Set<() => void>();
  private readonly timers = new Map<TimerName, ReturnType<typeof setTimeout>>();
  private readonly away = new AbortController();
  private readonly makeId = idSource((bytes) => crypto.getRandomValues(bytes));
  /** Open connections by number: the current one, and for a moment one beside it. */
  private readonly lines = new Map<number, Line>();
  private readonly windows: Windows;
  private readonly copying: Copying;
  private listing = false;
  private listAgain = false;
  /** Rooms whose members are asked for, and those of them that wait for their turn. */
  private readonly memberRooms = new Set<string>();
  private readonly memberQueue: string[] = [];
  private memberCalls = 0;

  constructor(
    credentials: Credentials,
    private readonly world: World,
  ) {
    const { token, expires_at: expiresAt, user, name } = credentials;
    this.state = initialState({ user, name }, { text: token, expiresAt });
    this.copying = new Copying(world.copies, (room) => copyOf(this.state, room));
    // What is said from now on is not missed: what is loaded afterwards is as new.
    this.windows = world.windows((word) => { this.dispatch({ type: "windowSaid", word }); });
  }

  async start(): Promise<void> {
    const [entries, copies] = await Promise.all([this.world.outbox.load(), this.world.copies.load()]);
    if (this.away.signal.aborted) return;
    this.listen();
    const remembered = rememberedTransport(Date.now());
    const { untold } = this.world.outbox;
    const listed = this.world.list.load();
    this.dispatch({ type: "started", entries, untold, listed, copies, ...(remembered && { remembered }) });
    if (!navigator.onLine) this.dispatch({ type: "offline" });
    this.windows.tell({ say: "hello" });
    this.windows.lead(this.takeLead);
  }

  /** Ends everything; the engine is not used again. */
  stop(): void {
    this.away.abort();
    this.windows.leave();
    this.copying.stop();
    this.world.list.stop();
    for (const line of this.lines.values()) line.close();
    this.lines.clear();
    for (const timer of this.timers.values()) clearTimeout(timer);
    this.timers.clear();
    this.listeners.clear();
  }

  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => {
      this.listeners.delete(listener);
    };
  }

  dispatch = (action: Action): void => {
    if (this.away.signal.aborted) return;
    const { state, effects } = reduce(this.state, action, this.env());
    const changed = state !== this.state;
    this.state = state;
    for (const effect of effects) this.perform(effect);
    if (changed) for (const listener of this.listeners) listener();
  };

  private readonly rooms = (): readonly KeptRoom[] => keptRooms(this.state);

  private readonly takeLead = (): void => {
    this.readOutbox("leadTaken");
  };

  private readOutbox(type: "leadTaken" | "outboxRead"): void {
    const held = durable(this.state).map(({ id }) => id);
    void this.world.outbox.load().then((entries) => {
      this.dispatch({ type, entries, held });
    });
  }

  private env(): Env {
    return { now: Date.now(), id: this.makeId, random: Math.random };
  }

  private listen(): void {
    const { signal } = this.away;
    window.addEventListener("online", () => { this.dispatch({ type: "online" }); }, { signal });
    window.addEventListener("offline", () => { this.dispatch({ type: "offline" }); }, { signal });
    document.addEventListener(
      "visibilitychange",
      () => {
        if (document.visibilityState === "visible") this.dispatch({ type: "shown" });
        else {
          this.copying.flush();
          this.world.list.flush(this.rooms);
        }
      },
      { signal },
    );
  }

  private perform(effect: Effect): void {
    switch (effect.do) {
      case "open":
        this.open(effect.number, effect.transport);
        break;
      case "close":
        this.lines.get(effect.number)?.close();
        this.lines.delete(effect.number);
        break;
      case "send":
        this.lines.get(effect.number)?.send(effect.frame);
        break;
      case "remember":
        rememberTransport(effect.transport, Date.now());
        break;
      case "start":
        clearTimeout(this.timers.get(effect.timer));
        this.timers.set(effect.timer, setTimeout(() => { this.ring(effect.timer); }, effect.after));
        break;
      case "cancel":
        clearTimeout(this.timers.get(effect.timer));
        this.timers.delete(effect.timer);
        break;
      case "listRooms":
        void this.listRooms();
        break;
      case "listMembers":
        if (this.memberRooms.has(effect.room)) break;
        this.memberRooms.add(effect.room);
        this.memberQueue.push(effect.room);
        void this.listMembers();
        break;
      case "renewToken":
        void this.renewToken();
        break;
      case "keep": {
        const { entry } = effect;
        void this.world.outbox.keep(entry).catch(ignoreRefusal).then((order) => {
          this.dispatch({ type: "entryKept", room: entry.room, id: entry.id, order });
        });
        break;
      }
      case "drop": {
        const { room, id, at, undone } = effect;
        const gone: Word = { say: "gone", room, id, at, ...(undone && { undone }) };
        // This window may be left before it is done, and the next one to lead would send what was thrown away.
        if (at === null) this.windows.tell(gone);
        void this.world.outbox.drop(id).catch(ignoreRefusal).then(() => {
          this.windows.tell(gone);
        });
        break;
      }
      case "copy":
        this.copying.soon(effect.room);
        break;
      case "forgetCopy":
        this.copying.forget(effect.room);
        break;
      case "keepList":
        this.world.list.soon(this.rooms);
        break;
      case "tell":
        this.windows.tell(effect.word);
        break;
      case "readOutbox":
        this.readOutbox("outboxRead");
        break;
      case "readAgain":
        this.readOutbox("leadTaken");
        break;
      case "giveLead":
        this.windows.giveLead();
        this.windows.lead(this.takeLead);
        break;
      case "leave":
        this.world.left(effect.because);
        break;
    }
  }

  private open(number: number, transport: Transport): void {
    const ears = {
      opened: () => { this.dispatch({ type: "lineOpened", number }); },
      frame: (frame: ServerFrame) => { this.dispatch({ type: "frameArrived", number, frame }); },
      closed: (end: End) => { this.dispatch({ type: "lineClosed", number, end }); },
    };
    this.lines.set(number, lineOf(transport, ears));
  }

  private ring(name: TimerName): void {
    this.timers.delete(name);
    this.dispatch({ type: "timerFired", name });
  }

  private async listRooms(): Promise<void> {
    if (this.listing) {
      this.listAgain = true;
      return;
    }
    this.listing = true;
    try {
      const rooms = await listRooms(this.state.token.text);
      this.dispatch({ type: "roomsListed", rooms });
    } catch (error) {
      if (!(error instanceof HttpFailure)) throw error;
      this.dispatch({ type: "listFailed" });
    } finally {
      this.listing = false;
    }
    if (this.listAgain) {
      this.listAgain = false;
      await this.listRooms();
    }
  }

  private async listMembers(): Promise<void> {
    if (this.memberCalls >= MEMBER_CALLS) return;
    const room = this.memberQueue.shift();
    if (room === undefined) return;
    this.memberCalls += 1;
    try {
      const members = await listMembers(this.state.token.text, room);
      this.dispatch({ type: "membersListed", room, members });
    } catch (error) {
      if (!(error instanceof HttpFailure)) throw error;
      this.dispatch({ type: "membersFailed", room, refused: error.refused });
    } finally {
      this.memberRooms.delete(room);
      this.memberCalls -= 1;
    }
    await this.listMembers();
  }

  private async renewToken(): Promise<void> {
    try {
      const { token, expires_at: expiresAt } = await this.world.renew(this.state.me.user);
      this.dispatch({ type: "tokenArrived", token: { text: token, expiresAt } });
    } catch (error) {
      if (!(error instanceof HttpFailure)) throw error;
      this.dispatch({ type: "tokenFailed", refused: error.refused });
    }
  }
}

function lineOf(transport: Transport, ears: Ears): Line {
  switch (transport) {
    case "websocket":
      return new Socket(socketAddress(location), ears);
    case "sse":
      return new Stream(ears);
    case "poll":
      return new Poll(ears);
  }
}

/** A full or lost database must not keep a message from being sent. */
function ignoreRefusal(error: unknown): null {
  if (!(error instanceof DOMException)) throw error;
  return null;
}
