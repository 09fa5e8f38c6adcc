/** The open room is in the address, so that Back, reload and bookmarks work. */

import { useEffect, useState } from "preact/hooks";

const ROOM = /^#\/r\/([A-Za-z0-9_-]{1,64})$/;

export const LIST_ADDRESS = "#/";

export function roomAddress(room: string): string {
  return `#/r/${room}`;
}

export function roomOf(hash: string): string | null {
  return ROOM.exec(hash)?.[1] ?? null;
}

export function useRoute(): string | null {
  const [room, setRoom] = useState(() => roomOf(location.hash));
  useEffect(() => {
    const update = (): void => {
      setRoom(roomOf(location.hash));
    };
    window.addEventListener("hashchange", update);
    return () => {
      window.removeEventListener("hashchange", update);
    };
  }, []);
  return room;
}
