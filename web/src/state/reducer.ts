/** The client's one decision function: (state, action) → (state, effects). It awaits nothing and reads no clock. */

import type { ServerFrame } from "../protocol/events";
import type { Ack, Refusal } from "../protocol/frames";
import type { Action, Step, TimerName } from "./actions";
import * as connection from "./connection";
import * as copies from "./copies";
import type { Env } from "./env";
import * as following from "./following";
import * as history from "./history";
import * as list from "./list";
import type { State } from "./model";
import * as outbox from "./outbox";
import * as rooms from "./rooms";
import { Turn } from "./turn";
import * as windows from "./windows";

export function reduce(state: State, action: Action, env: Env): Step<State> {
  const turn = new Turn(state, env);
  apply(turn, action);
  windows.publish(turn, state);
  copies.noteChanges(turn, state);
  list.noteList(turn, state);
  return { state: turn.state, effects: turn.effects };
}

function apply(turn: Turn, action: Action): void {
  switch (action.type) {
    case "started":
      copies.restoreCopies(turn, action.copies ?? []);
      list.restoreList(turn, action.listed ?? []);
      outbox.restore(turn, action.entries);
      turn.set({ restored: action.entries.filter((entry) => turn.room(entry.room) === null) });
      for (const entry of action.entries) if (action.untold?.includes(entry.id)) windows.handOver(turn, entry);
      rooms.reopen(turn);
      connection.start(turn, action.remembered ?? null);
      break;
    case "lineOpened":
      if (isHeard(turn, action.number)) connection.greet(turn, action.number);
      break;
    case "frameArrived":
      if (isHeard(turn, action.number)) receive(turn, action.number, action.frame);
      break;
    case "lineClosed":
      if (isHeard(turn, action.number)) connection.closed(turn, action.number, action.end);
      break;
    case "timerFired":
      ring(turn, action.name);
      break;
    case "roomsListed":
      rooms.roomsListed(turn, action.rooms);
      break;
    case "listFailed":
      rooms.listFailed(turn);
      break;
    case "membersListed":
      rooms.membersListed(turn, action.room, action.members);
      break;
    case "membersFailed":
      rooms.membersFailed(turn, action.room, action.refused);
      break;
    case "tokenArrived":
      connection.tokenArrived(turn, action.token.text, action.token.expiresAt);
      break;
    case "tokenFailed":
      connection.tokenFailed(turn, action.refused);
      break;
    case "entryKept":
      outbox.kept(turn, action.room, action.id, action.order);
      break;
    case "leadTaken":
      windows.takeLead(turn, action.entries, new Set(action.held));
      break;
    case "outboxRead":
      windows.outboxRead(turn, action.entries, new Set(action.held));
      break;
    case "windowSaid":
      windows.heard(turn, action.word);
      break;
    case "roomOpened":
      rooms.openRoom(turn, action.room);
      break;
    case "wrote":
      rooms.typed(turn, action.room, false);
      outbox.put(turn, {
        type: "send",
        room: action.room,
        text: action.text,
        ...(action.replyTo === null ? {} : { reply_to: action.replyTo }),
      });
      break;
    case "rewrote":
      outbox.put(turn, { type: "edit", room: action.room, target: action.target, text: action.text });
      break;
    case "removed":
      outbox.put(turn, { type: "delete", room: action.room, target: action.target });
      break;
    case "reacted": {
      const { room, target, emoji, on } = action;
      outbox.put(turn, { type: "react", room, target, emoji, on });
      break;
    }
    case "retried":
      outbox.retry(turn, action.room, action.id);
      break;
    case "discarded":
      outbox.discard(turn, action);
      break;
    case "typed":
      rooms.typed(turn, action.room, action.active);
      break;
    case "seen":
      rooms.seen(turn, action.room);
      break;
    case "historyWanted":
      history.wantHistory(turn, action.room);
      break;
    case "quoteWanted":
      history.wantQuote(turn, action.room, action.at);
      break;
    case "online":
      connection.online(turn);
      break;
    case "offline":
      connection.offline(turn);
      break;
    case "shown":
      connection.shown(turn);
      break;
    case "connectNow":
      connection.insist(turn);
      break;
  }
}

function isHeard(turn: Turn, number: number): boolean {
  const { phase, number: current, probe } = turn.state.connection;
  return number === probe || (number === current && (phase === "connecting" || phase === "connected"));
}

function ring(turn: Turn, name: TimerName): void {
  switch (name) {
    case "ladder":
      connection.ticked(turn);
      return;
    case "rise":
      connection.rise(turn, "now");
      return;
    case "lead":
      windows.leadDue(turn);
      return;
    case "heartbeat":
      connection.beat(turn);
      return;
    case "pong":
      connection.silent(turn);
      return;
    case "token":
      connection.tokenDue(turn);
      return;
    case "list":
      turn.emit({ do: "listRooms" });
      return;
    default:
      ringRoom(turn, name);
  }
}

function ringRoom(turn: Turn, name: Extract<TimerName, `${string} ${string}`>): void {
  const [what, room] = name.split(" ", 2) as ["outbox" | "follow" | "members" | "presence" | "typing" | "whole", string];
  switch (what) {
    case "outbox":
      outbox.resume(turn, room);
      break;
    case "follow":
      following.followAgain(turn, room);
      break;
    case "members":
      rooms.needMembers(turn, room);
      break;
    case "presence":
      rooms.askPresence(turn, room);
      break;
    case "typing":
      rooms.typingExpired(turn, room);
      break;
    case "whole":
      following.wholeAgain(turn, room);
      break;
  }
}

function receive(turn: Turn, number: number, frame: ServerFrame): void {
  switch (frame.type) {
    case "welcome":
      connection.welcome(turn, number, frame);
      return;
    case "ack":
      acknowledge(turn, frame);
      connection.rise(turn, "idle");
      return;
    case "error":
      refuse(turn, frame);
      connection.rise(turn, "idle");
      return;
    case "reconnect":
      connection.moveLater(turn, number, frame);
      return;
    case "event":
      break;
  }
  switch (frame.kind) {
    case "subscribed":
      following.subscribed(turn, frame.room, frame);
      break;
    case "unsubscribed":
      following.notSubscribed(turn, frame.room, frame);
      break;
    case "typing":
      rooms.typingArrived(turn, frame);
      break;
    case "read":
      following.receiptArrived(turn, frame.room, { user: frame.sender, at: frame.at });
      break;
    case "presence":
      rooms.presenceChanged(turn, frame);
      break;
    case "membership":
      rooms.membershipChanged(turn, frame);
      break;
    case "whole":
      following.wholeAgain(turn, frame.room);
      break;
    case "delayed":
      turn.setConnection({ delayed: frame.on });
      break;
    default:
      following.eventArrived(turn, frame);
  }
}

function acknowledge(turn: Turn, ack: Ack): void {
  const question = turn.answered(ack.id);
  switch (question?.about) {
    case undefined:
    case "connect":
      break;
    case "ping":
      if (!turn.isAsked("ping")) turn.emit({ do: "cancel", timer: "pong" });
      break;
    case "refresh":
      if (ack.expires_at !== undefined) connection.tokenLasts(turn, ack.expires_at);
      break;
    case "subscribe":
      following.subscribed(turn, question.room, ack);
      break;
    case "presence":
      rooms.presenceTold(turn, question.room, ack);
      break;
    case "history":
      history.historyArrived(turn, question.room, ack);
      break;
    case "quote":
      history.quoteArrived(turn, question.room, question.at, ack);
      break;
    case "read":
      rooms.reported(turn, question.room, question.at);
      break;
    case "stored":
      outbox.stored(turn, question.room, ack);
      break;
  }
}

function refuse(turn: Turn, refusal: Refusal): void {
  const question = refusal.id === undefined ? null : turn.answered(refusal.id);
  switch (question?.about) {
    case undefined:
    case "connect":
      break;
    case "presence":
      if (refusal.retryable) turn.emit({ do: "start", timer: `presence ${question.room}`, after: retryAfter(refusal) });
      break;
    case "ping":
      if (!turn.isAsked("ping")) turn.emit({ do: "cancel", timer: "pong" });
      break;
    case "refresh":
      connection.tokenFailed(turn, !refusal.retryable);
      break;
    case "subscribe":
      following.notSubscribed(turn, question.room, refusal);
      break;
    case "history":
      history.historyFailed(turn, question.room);
      break;
    case "quote":
      history.quoteArrived(turn, question.room, question.at, null);
      break;
    case "read":
      rooms.notReported(turn, question.room);
      break;
    case "stored":
      outbox.refused(turn, question.room, refusal);
      break;
  }
}

/** Milliseconds until a refused question is put again. */
function retryAfter(refusal: Refusal): number {
  return Math.round((refusal.retry_after ?? 2) * 1000);
}
