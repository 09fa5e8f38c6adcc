/**
 * What makes requests look like a connection: which rooms are followed from which cursors, which commands wait for a
 * request to answer them, and the frames that the client expects in their place (`docs/protocol.md`, "Fallbacks"). Pure.
 */

import type { ServerFrame, SubscribedEvent, UnsubscribedEvent } from "./events";
import type { CommandFrame, Refusal } from "./frames";

/** Room → cursor; null where the client has none. */
export type Places = Readonly<Record<string, string | null>>;

export class Relay {
  private places: Record<string, string | null> = {};
  /** Ids of `subscribe` by room, until a request has told of the room. */
  private asked: Record<string, string> = {};
  /** Rooms that the client began with and was told nothing about yet: an answer may come before their turn. */
  private untold = new Set<string>();
  private readonly live = new Set<string>();
  private connecting: string | null = null;
  private refreshing: string | null = null;
  token = "";

  /** Rooms to follow from now on. */
  get following(): Places {
    return this.places;
  }

  /** Something waits for the state of a room, or for the welcome: without being asked a node says nothing of rooms that go on. */
  get news(): boolean {
    return this.connecting !== null || this.refreshing !== null || this.untold.size > 0 || Object.keys(this.asked).length > 0;
  }

  /** Commands that have no request of their own; true where the next request to listen has to begin now. */
  takes(frame: CommandFrame): boolean {
    switch (frame.type) {
      case "connect":
        this.token = frame.token;
        this.connecting = frame.id;
        this.places = { ...frame.cursors };
        this.untold = new Set(Object.keys(this.places));
        return true;
      case "refresh":
        this.token = frame.token;
        this.refreshing = frame.id;
        return true;
      case "subscribe":
        this.asked[frame.room] = frame.id;
        this.untold.delete(frame.room);
        this.places[frame.room] = frame.cursor ?? null;
        return true;
      default:
        return false;
    }
  }

  /** The frames that a client hears in place of this one. */
  heard(frame: ServerFrame): readonly ServerFrame[] {
    if (frame.type === "welcome") return this.welcomed(frame);
    if (frame.type !== "event") return [frame];
    switch (frame.kind) {
      case "subscribed":
        return this.subscribed(frame);
      case "unsubscribed":
        return this.unsubscribed(frame);
      case "message":
      case "edit":
      case "delete":
      case "reaction":
      case "member":
        // A room that is asked for is followed from where the client is, whatever an earlier request still tells.
        if (frame.room in this.places && !(frame.room in this.asked)) this.places[frame.room] = frame.cursor;
        return [frame];
      default:
        return [frame];
    }
  }

  /** What the node says to ask for next; rooms that it does not follow any more are missing. */
  moved(next: Places): void {
    const asked = Object.keys(this.asked).map((room) => [room, this.places[room] ?? null] as const);
    const still = Object.entries(next).filter(([room]) => room in this.places);
    this.places = { ...Object.fromEntries(still), ...Object.fromEntries(asked) };
  }

  /** A request that was to listen came to nothing, while an earlier one goes on. */
  refused(reason: Omit<Refusal, "type" | "id">): readonly Refusal[] {
    const ids = Object.values(this.asked);
    for (const room of Object.keys(this.asked)) this.leave(room);
    if (this.refreshing !== null) ids.push(this.refreshing);
    this.refreshing = null;
    return ids.map((id) => ({ type: "error", id, ...reason }));
  }

  private welcomed(frame: Extract<ServerFrame, { type: "welcome" }>): readonly ServerFrame[] {
    const heard: ServerFrame[] = [];
    if (this.connecting !== null) heard.push({ ...frame, id: this.connecting });
    if (this.refreshing !== null) heard.push({ type: "ack", id: this.refreshing, expires_at: frame.expires_at });
    this.connecting = this.refreshing = null;
    return heard;
  }

  private subscribed(event: SubscribedEvent): readonly ServerFrame[] {
    const { room } = event;
    const id = this.asked[room];
    const known = this.live.has(room);
    this.live.add(room);
    this.untold.delete(room);
    this.places[room] = event.cursor;
    if (id !== undefined) {
      Reflect.deleteProperty(this.asked, room);
      const { cursor, recovered, messages, more_before, partial, receipts } = event;
      const page = { ...(messages && { messages }), ...(partial !== undefined && { partial }), ...(more_before !== undefined && { more_before }), ...(receipts && { receipts }) };
      return [{ type: "ack", id, room, cursor, recovered, ...page }];
    }
    if (!known || !event.recovered) return [event];
    // The room goes on as before; only what passes may have been missed between two requests.
    return (event.receipts ?? []).map(({ user, at }) => ({ type: "event", kind: "read", room, sender: user, at }));
  }

  private unsubscribed(event: UnsubscribedEvent): readonly ServerFrame[] {
    const { room, code, message, retryable } = event;
    const id = this.asked[room];
    this.leave(room);
    return id === undefined ? [event] : [{ type: "error", id, code, message, retryable }];
  }

  private leave(room: string): void {
    Reflect.deleteProperty(this.asked, room);
    Reflect.deleteProperty(this.places, room);
    this.untold.delete(room);
    this.live.delete(room);
  }
}
