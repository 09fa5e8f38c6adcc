import type { JSX } from "preact";
import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Message, Position } from "../protocol/frames";
import { BEGINNING, positionKey } from "../state/positions";
import type { Room, State } from "../state/model";
import { lastOwn, linesOf, unreadOf } from "../state/select";
import { Avatar } from "./avatar-view";
import type { Writing } from "./composer";
import { Composer } from "./composer";
import { ConnectionState } from "./connection";
import { useDispatch, useSpeech } from "./context";
import { Icon } from "./icons";
import type { Wishes } from "./message-row";
import { hasPointer } from "./pointer";
import { isPresent, roomTitle } from "./room-row";
import { LIST_ADDRESS } from "./route";
import { Timeline } from "./timeline";

interface Props {
  readonly state: State;
  readonly room: Room;
  readonly membersShown: boolean;
  readonly toggleMembers: () => void;
}

/** One room: who it is with, what was said, and what is being written. Made anew for each room. */
export function Conversation({ state, room, membersShown, toggleMembers }: Props): JSX.Element {
  const dispatch = useDispatch();
  const me = state.me.user;
  const [writing, setWriting] = useState<Writing>({ mode: "new" });
  const [sought, seek] = useState<Position | null>(null);
  // The divider stays where it was when the room was opened.
  const [newFrom] = useState(() => (unreadOf(room, me) > 0 ? (room.read ?? BEGINNING) : null));
  const lines = useMemo(() => linesOf(room, me), [room.timeline, room.outbox, me]);

  const finish = useCallback(() => {
    setWriting({ mode: "new" });
  }, []);

  const wishes = useMemo<Wishes>(
    () => ({
      reply: (message) => {
        setWriting({ mode: "reply", to: message });
      },
      edit: (message) => {
        setWriting({ mode: "edit", of: message });
      },
      remove: (message) => {
        dispatch({ type: "removed", room: room.id, target: placeOf(message) });
      },
      react: (message, emoji, on) => {
        dispatch({ type: "reacted", room: room.id, target: placeOf(message), emoji, on });
      },
      retry: (id) => {
        dispatch({ type: "retried", room: room.id, id });
      },
      discard: (id, accepted) => {
        dispatch({ type: "discarded", room: room.id, id, accepted });
      },
      jump: seek,
      quote: (at) => {
        dispatch({ type: "quoteWanted", room: room.id, at });
      },
    }),
    [dispatch, room.id],
  );

  return (
    <section class="conversation" aria-label={roomTitle(room)}>
      <Head state={state} room={room} membersShown={membersShown} toggleMembers={toggleMembers} />
      <Timeline
        state={state}
        room={room}
        lines={lines}
        newFrom={newFrom}
        wishes={wishes}
        sought={sought}
        found={() => {
          seek(null);
        }}
        writing={writing.mode === "edit" ? positionKey(writing.of) : null}
      />
      <UndoneLine room={room} />
      <TypingLine room={room} names={state.names} />
      <Composer
        room={room}
        me={me}
        names={state.names}
        limit={state.connection.textBytes}
        writing={writing}
        finish={finish}
        editLast={() => {
          const last = lastOwn(room, me);
          if (last !== null) setWriting({ mode: "edit", of: last });
        }}
      />
    </section>
  );
}

function placeOf(message: Message): Position {
  return { epoch: message.epoch, seq: message.seq };
}

function Head({ state, room, membersShown, toggleMembers }: Props): JSX.Element {
  const { words } = useSpeech();
  const title = roomTitle(room);
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    if (!hasPointer()) heading.current?.focus();
  }, []);
  return (
    <header class="pane-head">
      <a class="icon-button back" href={LIST_ADDRESS} aria-label={words.back}>
        <Icon name="back" />
      </a>
      <Avatar user={room.kind === "direct" ? (room.peer ?? room.id) : room.id} name={title} square={room.kind === "course"} />
      <div class="heading">
        <h1 ref={heading} tabIndex={-1}>
          {title}
        </h1>
        <p class="muted">{presence(room, words)}</p>
      </div>
      <ConnectionState connection={state.connection} />
      <button
        type="button"
        class="icon-button"
        aria-label={words.showMembers}
        title={words.showMembers}
        aria-expanded={membersShown}
        onClick={toggleMembers}
      >
        <Icon name="people" />
      </button>
    </header>
  );
}

function presence(room: Room, words: ReturnType<typeof useSpeech>["words"]): string {
  if (room.kind === "direct") return room.online === null ? "" : isPresent(room) ? words.online : words.away;
  return room.onlineCount > 0 ? words.onlineCount(room.onlineCount) : "";
}

/** What became of what was thrown away here last. */
function UndoneLine({ room: { undone } }: { readonly room: Room }): JSX.Element {
  const { words } = useSpeech();
  return (
    <p class="undone" role="status">
      {undone === null ? "" : words.undone[undone.what][undone.how]}
    </p>
  );
}

function TypingLine({ room, names }: { readonly room: Room; readonly names: State["names"] }): JSX.Element {
  const { words } = useSpeech();
  const typing = Object.keys(room.typing).map((user) => names[user] || user);
  return (
    <p class="typing" role="status" aria-live="polite">
      {typing.length > 0 ? words.typing(typing) : ""}
    </p>
  );
}
