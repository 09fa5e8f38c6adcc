import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { isAway } from "../state/banner";
import { byActivity, strandedOf, waitingOf } from "../state/select";
import type { Room, State } from "../state/model";
import { Avatar } from "./avatar-view";
import { ConnectionState } from "./connection";
import { useSpeech } from "./context";
import { LanguageChoice } from "./language-choice";
import { RoomRow } from "./room-row";
import { SignOut } from "./sign-out";
import { Stranded } from "./stranded";

interface Props {
  readonly state: State;
  readonly open: string | null;
  readonly signOut: () => void;
}

export function Rail({ state, open, signOut }: Props): JSX.Element {
  const { words } = useSpeech();
  const rooms = byActivity(state);
  const { me } = state;
  const rail = useRef<HTMLElement>(null);
  const before = useRef(open);
  useEffect(() => {
    // Back from a conversation, the focus is where it was in the list.
    if (open === null && before.current !== null) {
      rail.current?.querySelector<HTMLElement>(`[data-room="${before.current}"]`)?.focus();
    }
    before.current = open;
  }, [open]);
  return (
    <nav class="rail" aria-label={words.rooms} ref={rail}>
      <header class="rail-head">
        <Avatar user={me.user} name={me.name} />
        <div class="who">
          <p class="name">{me.name}</p>
          <SignOut waiting={waitingOf(state)} signOut={signOut} />
        </div>
        <LanguageChoice />
      </header>
      <div class="rooms">
        <RoomGroup state={state} title={words.courses} rooms={rooms.filter((room) => room.kind === "course")} open={open} />
        <RoomGroup state={state} title={words.directs} rooms={rooms.filter((room) => room.kind === "direct")} open={open} />
        {rooms.length === 0 && <NoRooms list={state.list} />}
        <Stranded entries={strandedOf(state)} />
      </div>
      <footer class="rail-foot">
        <ConnectionState connection={state.connection} />
      </footer>
    </nav>
  );
}

interface GroupProps {
  readonly state: State;
  readonly title: string;
  readonly rooms: readonly Room[];
  readonly open: string | null;
}

function RoomGroup({ state, title, rooms, open }: GroupProps): JSX.Element | null {
  if (rooms.length === 0) return null;
  const away = isAway(state);
  return (
    <section>
      <h2>{title}</h2>
      <ul>
        {rooms.map((room) => (
          <li key={room.id}>
            <RoomRow room={room} me={state.me.user} names={state.names} current={room.id === open} away={away} />
          </li>
        ))}
      </ul>
    </section>
  );
}

function NoRooms({ list }: { readonly list: State["list"] }): JSX.Element {
  const { words } = useSpeech();
  if (list === "ready") return <p class="rail-note">{words.noRooms}</p>;
  if (list === "failed") return <p class="rail-note" role="alert">{words.roomsFailed}</p>;
  return (
    <div class="skeletons" role="status" aria-label={words.roomsLoading}>
      <span />
      <span />
      <span />
    </div>
  );
}
