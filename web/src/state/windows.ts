/**
 * One outbox for all windows that a person has open in a browser: one leads and sends, the others show how it stands.
 *
 * What is durable is the truth. The one that leads tells every change of an entry; the others tell what is new, and ask
 * it to try again or to throw away. What is said may be lost with a window: whoever takes the lead reads what is durable.
 */

import type { Gone, Word } from "./actions";
import type { Entry, Room, State } from "./model";
import * as outbox from "./outbox";
import type { Turn } from "./turn";

/** An entry that waits for the one that leads for so long makes this window ask for the lead. */
export const LEAD_WAIT_MS = 5_000;

export function heard(turn: Turn, word: Word): void {
  const { leading } = turn.state;
  switch (word.say) {
    case "hello":
      if (!leading) break;
      turn.emit({ do: "tell", word: { say: "all", entries: durable(turn.state) } });
      // A window that was loaded again may have made durable what it had told nobody.
      turn.emit({ do: "readOutbox" });
      break;
    case "wanted":
      if (leading && !turn.connected) giveLead(turn);
      break;
    case "entry":
      if (leading) offered(turn, word.entry);
      else {
        mirror(turn, word.entry);
        hold(turn, word.entry);
      }
      break;
    case "gone":
      gone(turn, word);
      break;
    case "all":
      if (leading) break;
      for (const entry of word.entries) mirror(turn, entry);
      // What is held here beside may be done with, or too new for the one that leads.
      turn.emit({ do: "readOutbox" });
      break;
    case "retry":
      if (leading) outbox.retry(turn, word.room, word.id);
      break;
    case "discard":
      if (leading) outbox.discard(turn, word);
      break;
  }
}

/** This window sends from now on; the one before may have gone in the midst of an attempt. */
export function takeLead(turn: Turn, entries: readonly Entry[], asOf: ReadonlySet<string>): void {
  const known = new Set(entries.map(({ id }) => id));
  // What came to be held since this was read is new, or the old word of a window that has thrown it away since.
  if (durable(turn.state).some(({ id, at }) => at === null && !known.has(id) && !asOf.has(id))) {
    turn.emit({ do: "readAgain" });
    return;
  }
  turn.set({ leading: true });
  // What the window before has told of a mark need not have become durable.
  const marks = new Map(entries.map(({ id, marked }) => [id, marked]));
  for (const room of Object.values(turn.state.rooms)) {
    const { outbox: held } = turn.room(room.id) ?? room;
    const queued = outbox.withoutFlights(held).map(
      (entry): Entry => ({
        ...entry,
        stage: entry.stage === "storing" && entry.order !== null ? "queued" : entry.stage,
        marked: marks.get(entry.id) ?? entry.marked,
        attempted: entry.attempted || (marks.get(entry.id) ?? entry.marked),
      }),
    );
    turn.setRoom(room.id, { outbox: queued, paused: false });
  }
  outboxRead(turn, entries, asOf);
  // The window before told of these and was gone before it had deleted them.
  for (const entry of entries) {
    if (turn.state.gone.includes(entry.id)) outbox.drop(turn, entry.room, entry.id, outbox.seenAt(turn, entry));
  }
  // The others may still hold what the window before had done with.
  turn.emit({ do: "tell", word: { say: "all", entries: durable(turn.state) } });
}

/** A window has something to send. The word may be old: what is durable says whether that is still so. */
function offered(turn: Turn, entry: Entry): void {
  const { room, id, order } = entry;
  if (order === null && turn.state.gone.includes(id)) {
    turn.emit({ do: "tell", word: { say: "gone", room, id, at: outbox.seenAt(turn, entry) } });
  } else if (order === null) outbox.restore(turn, [entry]);
  else if (outbox.find(turn, entry.room, entry.id) === null) turn.emit({ do: "readOutbox" });
}

/** Takes in what is durable, and forgets what was held when it was read and is not. */
export function outboxRead(turn: Turn, entries: readonly Entry[], asOf: ReadonlySet<string>): void {
  const { rooms } = turn.state;
  for (const room of Object.values(rooms)) forgetOthers(turn, room, entries, asOf);
  // An older reading may have brought back what was thrown away meanwhile, and the others were told of it.
  if (turn.state.leading && turn.state.rooms !== rooms) turn.emit({ do: "tell", word: { say: "all", entries: durable(turn.state) } });
  outbox.restore(turn, entries);
  for (const entry of entries) hold(turn, entry);
  outbox.pumpAll(turn);
}

function giveLead(turn: Turn): void {
  turn.set({ leading: false });
  turn.emit({ do: "giveLead" });
}

/** Something was written here that another window is to send. */
export function handOver(turn: Turn, entry: Entry): void {
  turn.emit({ do: "tell", word: { say: "entry", entry } });
  // The one that leads says of what is durable alone how it stands.
  if (entry.order === null) turn.setEntry(entry.room, entry.id, { attempted: true });
  turn.emit({ do: "start", timer: "lead", after: LEAD_WAIT_MS });
}

/** The one that leads seems to be cut off: it gives way to a window that is not. */
export function leadDue(turn: Turn): void {
  const waits = (room: Room): boolean => room.outbox.some(({ stage, at }) => stage === "queued" && at === null);
  if (turn.state.leading || !Object.values(turn.state.rooms).some(waits)) return;
  if (turn.connected) turn.emit({ do: "tell", word: { say: "wanted" } });
  turn.emit({ do: "start", timer: "lead", after: LEAD_WAIT_MS });
}

/** Tells the other windows what this decision has changed. */
export function publish(turn: Turn, before: State): void {
  if (!turn.state.leading || turn.state.rooms === before.rooms) return;
  for (const room of Object.values(turn.state.rooms)) {
    const held = before.rooms[room.id]?.outbox;
    if (held === room.outbox) continue;
    for (const entry of room.outbox) {
      if (entry.order !== null && held?.includes(entry) !== true) turn.emit({ do: "tell", word: { say: "entry", entry } });
    }
  }
}

/** What this window holds of what is durable. */
export function durable(state: State): readonly Entry[] {
  return Object.values(state.rooms).flatMap((room) => room.outbox.filter((entry) => entry.order !== null));
}

/** How an entry of the one that leads stands. What was seen as stored here is known better here. */
function mirror(turn: Turn, entry: Entry): void {
  const held = outbox.find(turn, entry.room, entry.id);
  if (entry.at !== null) {
    if (held !== null) stored(turn, held, entry.at);
  } else if ((held === null || held.at === null) && outbox.seenAt(turn, entry) === null) {
    outbox.place(turn, entry);
    if (entry.stage === "queued") turn.emit({ do: "start", timer: "lead", after: LEAD_WAIT_MS });
  }
}

function gone(turn: Turn, { room: roomId, id, at, undone }: Gone): void {
  outbox.isGone(turn, id);
  const entry = outbox.find(turn, roomId, id) ?? turn.state.restored.find((held) => held.id === id);
  turn.set({ restored: turn.state.restored.filter((held) => held.id !== id) });
  if (entry === undefined) return;
  // What is not durable is kept by this window alone.
  if (entry.order === null) outbox.drop(turn, roomId, id, at);
  if (at !== null) stored(turn, entry, at);
  else if (undone !== undefined) outbox.undo(turn, entry, undone);
  else outbox.keepOnly(turn, roomId, (held) => held.id !== id);
  outbox.pump(turn, roomId);
}

/** Another window knows that it is stored; here its event may be still to come, and until then it is shown as sent. */
function stored(turn: Turn, entry: Entry, at: NonNullable<Entry["at"]>): void {
  if (turn.state.leading || outbox.seenAt(turn, entry) !== null) {
    outbox.settleEntry(turn, entry, at);
    return;
  }
  turn.setEntry(entry.room, entry.id, { stage: "sent", at, problem: null, refusals: 0 });
  const last = turn.room(entry.room)?.last ?? null;
  if (last !== null) outbox.settle(turn, entry.room, last);
}

/** Entries of a room that is not known yet wait for the list of rooms. */
function hold(turn: Turn, entry: Entry): void {
  const { restored } = turn.state;
  if (turn.room(entry.room) !== null || restored.some(({ id }) => id === entry.id)) return;
  turn.set({ restored: [...restored, entry] });
}

/** What was durable once and is not any more was stored or thrown away. */
function forgetOthers(turn: Turn, room: Room, entries: readonly Entry[], asOf: ReadonlySet<string>): void {
  const known = new Set(entries.map(({ id }) => id));
  outbox.keepOnly(
    turn,
    room.id,
    ({ id, order, stage }) => order === null || stage === "sent" || known.has(id) || !asOf.has(id),
  );
}
