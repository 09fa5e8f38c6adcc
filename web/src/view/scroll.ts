/** Keeps what is being read where it is: at the end new lines push up, elsewhere nothing moves. */

import type { RefObject } from "preact";
import { useCallback, useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

/** This close to the end counts as the end. */
const END_PX = 32;
/** This close to the beginning, earlier messages are asked for. */
const BEGINNING_PX = 600;

interface Anchor {
  readonly key: string;
  /** From the top of the box to the top of the line. */
  readonly top: number;
}

interface Options {
  readonly content: RefObject<HTMLElement | null>;
  /** Whatever changes when lines do. */
  readonly lines: readonly unknown[];
  readonly more: () => void;
  /** The end is in view and the window has the person's attention. */
  readonly atEnd: () => void;
}

interface Scroll {
  readonly box: RefObject<HTMLDivElement | null>;
  readonly onScroll: () => void;
  readonly away: boolean;
  readonly toEnd: () => void;
}

export function useScroll(options: Options): Scroll {
  const box = useRef<HTMLDivElement>(null);
  const pinned = useRef(true);
  const anchor = useRef<Anchor | null>(null);
  const latest = useRef(options);
  latest.current = options;
  const [away, setAway] = useState(false);

  const look = useCallback(() => {
    const { current } = box;
    if (current === null) return;
    if (pinned.current && document.visibilityState === "visible" && document.hasFocus()) latest.current.atEnd();
    if (current.scrollTop < BEGINNING_PX) latest.current.more();
  }, []);

  const settle = useCallback(() => {
    const { current } = box;
    if (current === null) return;
    if (pinned.current) current.scrollTop = current.scrollHeight;
    else if (anchor.current !== null) restore(current, anchor.current);
    look();
  }, [look]);

  const onScroll = useCallback(() => {
    const { current } = box;
    if (current === null) return;
    pinned.current = current.scrollHeight - current.scrollTop - current.clientHeight < END_PX;
    anchor.current = firstInView(current);
    setAway(!pinned.current);
    look();
  }, [look]);

  const toEnd = useCallback(() => {
    pinned.current = true;
    setAway(false);
    settle();
  }, [settle]);

  useLayoutEffect(settle, [options.lines, settle]);
  useEffect(() => {
    const outer = box.current;
    const inner = options.content.current;
    const watch = new ResizeObserver(settle);
    if (outer !== null) watch.observe(outer);
    if (inner !== null) watch.observe(inner);
    window.addEventListener("focus", look);
    document.addEventListener("visibilitychange", look);
    return () => {
      watch.disconnect();
      window.removeEventListener("focus", look);
      document.removeEventListener("visibilitychange", look);
    };
  }, [settle, look, options.content]);

  return { box, onScroll, away, toEnd };
}

function firstInView(box: HTMLElement): Anchor | null {
  const edge = box.getBoundingClientRect().top;
  for (const line of box.querySelectorAll<HTMLElement>("[data-key]")) {
    const { top, bottom } = line.getBoundingClientRect();
    if (bottom > edge) return { key: line.dataset["key"] ?? "", top: top - edge };
  }
  return null;
}

function restore(box: HTMLElement, anchor: Anchor): void {
  const line = box.querySelector<HTMLElement>(`[data-key="${CSS.escape(anchor.key)}"]`);
  if (line === null) return;
  const moved = line.getBoundingClientRect().top - box.getBoundingClientRect().top - anchor.top;
  if (Math.abs(moved) >= 1) box.scrollTop += moved;
}
