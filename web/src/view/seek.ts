/** Going to a message that a reply quotes, loading earlier pages until it is there. */

import type { RefObject } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Position } from "../protocol/frames";
import { messageAt } from "../state/fold";
import type { Room } from "../state/model";

const PAGES_MAX = 40;
const FLASH_MS = 1_500;

interface Options {
  readonly room: Room;
  readonly sought: Position | null;
  readonly found: () => void;
  readonly more: () => void;
  readonly content: RefObject<HTMLElement | null>;
}

/** The key of the line that was just gone to. */
export function useSeek({ room, sought, found, more, content }: Options): string | null {
  const [flashed, setFlashed] = useState<string | null>(null);
  const pages = useRef(0);

  useEffect(() => {
    pages.current = 0;
  }, [sought]);

  useEffect(() => {
    if (sought === null) return;
    const message = messageAt(room.timeline, sought);
    if (message === null) {
      if (!room.moreBefore || room.history === "failed" || pages.current >= PAGES_MAX) found();
      else if (room.history === "idle") {
        pages.current += 1;
        more();
      }
      return;
    }
    const key = `${message.sender}:${message.id}`;
    const line = content.current?.querySelector<HTMLElement>(`[data-key="${CSS.escape(key)}"]`);
    line?.scrollIntoView({ block: "center" });
    line?.focus({ preventScroll: true });
    setFlashed(key);
    found();
  }, [sought, room.timeline, room.history, room.moreBefore]);

  useEffect(() => {
    if (flashed === null) return;
    const timer = setTimeout(() => {
      setFlashed(null);
    }, FLASH_MS);
    return () => {
      clearTimeout(timer);
    };
  }, [flashed]);

  return flashed;
}
