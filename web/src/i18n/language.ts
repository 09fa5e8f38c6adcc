/** Which language is spoken, and the forms that depend on it. */

import type { Dictionary } from "./dictionary";
import { en } from "./en";
import { fr } from "./fr";

export type Language = "fr" | "en";

export const DICTIONARIES: Readonly<Record<Language, Dictionary>> = { fr, en };
export const LANGUAGE_NAMES: Readonly<Record<Language, string>> = { fr: "Français", en: "English" };

export function roleName(words: Dictionary, role: string): string {
  switch (role) {
    case "learner":
      return words.roleLearner;
    case "trainer":
      return words.roleTrainer;
    case "moderator":
      return words.roleModerator;
    default:
      return role;
  }
}

const DAY_MS = 86_400_000;

function dayNumber(time: number): number {
  const date = new Date(time);
  return Math.round(Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) / DAY_MS);
}

export function sameDay(a: number, b: number): boolean {
  return dayNumber(a) === dayNumber(b);
}

/** "Aujourd’hui", "Hier", "lundi 23 novembre", and the year where it is another one. */
export function dayName(words: Dictionary, language: Language, time: number, now: number): string {
  const age = dayNumber(now) - dayNumber(time);
  if (age === 0) return words.today;
  if (age === 1) return words.yesterday;
  const year = new Date(time).getFullYear() === new Date(now).getFullYear() ? {} : { year: "numeric" as const };
  return format(language, { weekday: "long", day: "numeric", month: "long", ...year }, time);
}

export function clock(language: Language, time: number): string {
  return format(language, { hour: "2-digit", minute: "2-digit" }, time);
}

export function fullTime(language: Language, time: number): string {
  return format(language, { dateStyle: "long", timeStyle: "short" }, time);
}

/** As short as a list has room for: the hour today, "hier", the weekday within six days, else the date. */
export function shortTime(words: Dictionary, language: Language, time: number, now: number): string {
  const age = dayNumber(now) - dayNumber(time);
  if (age <= 0) return clock(language, time);
  if (age === 1) return words.yesterday;
  if (age < 7) return format(language, { weekday: "short" }, time);
  return format(language, { day: "2-digit", month: "2-digit" }, time);
}

const formats = new Map<string, Intl.DateTimeFormat>();

function format(language: Language, options: Intl.DateTimeFormatOptions, time: number): string {
  const key = language + JSON.stringify(options);
  let made = formats.get(key);
  if (made === undefined) {
    made = new Intl.DateTimeFormat(language === "fr" ? "fr-FR" : "en-GB", options);
    formats.set(key, made);
  }
  return made.format(time);
}
