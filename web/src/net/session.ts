/** Who is signed in in this window (two windows can be two people), and what the browser remembers of preferences. */

import type { Language } from "../i18n/language";
import type { Remembered } from "../state/actions";
import type { Transport } from "../state/ladder";
import { LADDER } from "../state/ladder";
import type { Credentials } from "./http";
import { ofBrowser, ofWindow } from "./storage";

const CREDENTIALS = "chat.credentials";

export function savedCredentials(): Credentials | null {
  const text = ofWindow.get(CREDENTIALS);
  if (text === null) return null;
  const saved = JSON.parse(text) as Partial<Credentials>;
  const { token, user, name, expires_at } = saved;
  if (token === undefined || user === undefined || name === undefined || expires_at === undefined) return null;
  return { token, user, name, expires_at };
}

export function saveCredentials(credentials: Credentials | null): void {
  ofWindow.set(CREDENTIALS, credentials && JSON.stringify(credentials));
}

const draftKey = (user: string, room: string): string => `chat.draft.${user}.${room}`;

export function savedDraft(user: string, room: string): string {
  return ofWindow.get(draftKey(user, room)) ?? "";
}

export function saveDraft(user: string, room: string, text: string): void {
  ofWindow.set(draftKey(user, room), text === "" ? null : text);
}

const TRANSPORT = "chat.transport";

/** The transport that was open last in this browser, in whichever window. */
export function rememberedTransport(now: number): Remembered | null {
  const [name, since] = (ofBrowser.get(TRANSPORT) ?? "").split(" ");
  const transport = LADDER.find((each) => each === name);
  const age = now - Number(since);
  return transport === undefined || !(age >= 0) ? null : { transport, age };
}

export function rememberTransport(transport: Transport, now: number): void {
  ofBrowser.set(TRANSPORT, `${transport} ${now}`);
}

const LANGUAGE = "chat.language";

/** The person's choice; French where none was made. */
export function chosenLanguage(): Language {
  return ofBrowser.get(LANGUAGE) === "en" ? "en" : "fr";
}

export function chooseLanguage(language: Language): void {
  ofBrowser.set(LANGUAGE, language);
}
