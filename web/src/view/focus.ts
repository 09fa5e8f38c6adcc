/** Where the focus goes when what had it is gone, so that who uses the keyboard stays where they were. */

import type { RefObject } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { hasPointer } from "./pointer";

/** The line itself; else the first after it that is still there; null where there is none. */
export function lineAfter(before: readonly string[], now: ReadonlySet<string>, key: string): string | null {
  return before.slice(Math.max(0, before.indexOf(key))).find((each) => now.has(each)) ?? null;
}

interface Options {
  readonly content: RefObject<HTMLElement | null>;
  /** Keys of the lines, in order. */
  readonly keys: readonly string[];
  /** Where to go when no line comes after. */
  readonly onward: () => void;
}

/** Lines that lose what has the focus (a button that was pressed, a message that was thrown away) keep it among them. */
export function useKeptFocus({ content, keys, onward }: Options): void {
  const shown = useRef(keys);
  // As it is before what is rendered here takes the place of what is there.
  const focused = document.activeElement;
  const line = content.current?.contains(focused) === true ? focused?.closest<HTMLElement>("[data-key]") : null;
  const key = line?.dataset["key"] ?? null;
  useLayoutEffect(() => {
    const before = shown.current;
    shown.current = keys;
    if (key === null || document.activeElement !== document.body) return;
    const next = lineAfter(before, new Set(keys), key);
    const place = next === null ? null : content.current?.querySelector<HTMLElement>(`article[data-key="${CSS.escape(next)}"]`);
    if (place) place.focus({ preventScroll: true });
    else onward();
  });
}

/** To the composer; without a pointer that would open a keyboard over what is read, so to the last line then. */
export function goOn(content: HTMLElement | null): void {
  const lines = content?.querySelectorAll<HTMLElement>("article[data-key]");
  const last = lines?.[lines.length - 1];
  const composer = content?.closest(".conversation")?.querySelector("textarea");
  const place = (hasPointer() ? composer : null) ?? last ?? composer;
  place?.focus({ preventScroll: true });
}
