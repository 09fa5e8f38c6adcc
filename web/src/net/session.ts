/** Who is signed in in this window (two windows can be two people), and what the browser remembers of preferences. */

import type { Credentials } from "./http";

const CREDENTIALS = "chat.credentials";

export function savedCredentials(): Credentials | null {
  const text = sessionStorage.getItem(CREDENTIALS);
  if (text === null) return null;
  const saved = JSON.parse(text) as Partial<Credentials>;
  const { token, user, name, expires_at } = saved;
  if (token === undefined || user === undefined || name === undefined || expires_at === undefined) return null;
  return { token, user, name, expires_at };
}

export function saveCredentials(credentials: Credentials | null): void {
  if (credentials === null) sessionStorage.removeItem(CREDENTIALS);
  else sessionStorage.setItem(CREDENTIALS, JSON.stringify(credentials));
}

const draftKey = (user: string, room: string): string => `chat.draft.${user}.${room}`;

export function savedDraft(user: string, room: string): string {
  return sessionStorage.getItem(draftKey(user, room)) ?? "";
}

export function saveDraft(user: string, room: string, text: string): void {
  if (text === "") sessionStorage.removeItem(draftKey(user, room));
  else sessionStorage.setItem(draftKey(user, room), text);
}
