import type { JSX } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { roleName } from "../i18n/language";
import type { Engine } from "../net/engine";
import { HttpFailure, openDirect } from "../net/http";
import { isAway } from "../state/banner";
import type { Member, Room, State } from "../state/model";
import { Avatar } from "./avatar-view";
import { useSpeech } from "./context";
import { Icon } from "./icons";
import { roomAddress } from "./route";

interface Props {
  readonly state: State;
  readonly room: Room;
  readonly engine: Engine;
  readonly close: () => void;
}

const RANK: Readonly<Record<string, number>> = { moderator: 0, trainer: 1 };

export function MembersPanel({ state, room, engine, close }: Props): JSX.Element {
  const { words } = useSpeech();
  const [failed, setFailed] = useState(false);

  useLayoutEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      if (event.key === "Escape" && !event.defaultPrevented) close();
    };
    window.addEventListener("keydown", onKey);
    return () => {
      window.removeEventListener("keydown", onKey);
    };
  }, [close]);

  const closer = useRef<HTMLButtonElement>(null);
  useLayoutEffect(() => {
    const before = document.activeElement;
    closer.current?.focus();
    return () => {
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);

  const write = async (user: string): Promise<void> => {
    setFailed(false);
    try {
      const direct = await openDirect(engine.state.token.text, user);
      engine.dispatch({ type: "timerFired", name: "list" });
      location.hash = roomAddress(direct);
      close();
    } catch (error) {
      if (!(error instanceof HttpFailure)) throw error;
      setFailed(true);
    }
  };

  const rank = (member: Member): number => RANK[member.role] ?? 2;
  const members = [...(room.members ?? [])].sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name));
  return (
    <aside class="members" aria-label={words.members}>
      <header>
        <h2>{words.members}</h2>
        <button type="button" class="icon-button" aria-label={words.hideMembers} title={words.hideMembers} ref={closer} onClick={close}>
          <Icon name="close" />
        </button>
      </header>
      {failed && (
        <p class="notice" role="alert">
          {words.directFailed}
        </p>
      )}
      {room.members === null && <p class="muted" role="status">{isAway(state) ? words.membersLater : words.membersLoading}</p>}
      <ul>
        {members.map((member) => (
          <MemberRow key={member.user} member={member} state={state} room={room} write={write} />
        ))}
      </ul>
    </aside>
  );
}

interface RowProps {
  readonly member: Member;
  readonly state: State;
  readonly room: Room;
  readonly write: (user: string) => Promise<void>;
}

function MemberRow({ member, state, room, write }: RowProps): JSX.Element {
  const { words } = useSpeech();
  const name = member.name || state.names[member.user] || member.user;
  const present = room.online?.includes(member.user) ?? false;
  const mine = member.user === state.me.user;
  // Learners do not write to each other in private; the node decides, this only spares a refusal.
  const mayWrite = !mine && room.kind === "course" && (room.role !== "learner" || member.role !== "learner");
  return (
    <li>
      <Avatar user={member.user} name={name} {...(room.online === null ? {} : { present })} />
      <div>
        <p class="name">
          {name}
          {mine && <span class="muted"> ({words.you})</span>}
        </p>
        <p class="muted">
          {roleName(words, member.role)}
          {room.online !== null && <> · {present ? words.online : words.away}</>}
        </p>
      </div>
      {mayWrite && (
        <button type="button" class="icon-button" aria-label={words.writeTo(name)} title={words.writeTo(name)} onClick={() => void write(member.user)}>
          <Icon name="message" />
        </button>
      )}
    </li>
  );
}
