import type { JSX, TargetedKeyboardEvent } from "preact";
import { useMemo, useRef, useState } from "preact/hooks";
import type { Position } from "../protocol/frames";
import { isAway } from "../state/banner";
import { samePosition } from "../state/positions";
import type { Room, State } from "../state/model";
import type { Line } from "../state/select";
import { isKept, readersOf } from "../state/select";
import { useDispatch, useSpeech } from "./context";
import { EmptyPane } from "./empty";
import { goOn, useKeptFocus } from "./focus";
import { Icon } from "./icons";
import type { Wishes } from "./message-row";
import { roomTitle } from "./room-row";
import { useScroll } from "./scroll";
import { useSeek } from "./seek";
import { TimelineRows } from "./timeline-rows";

interface Props {
  readonly state: State;
  readonly room: Room;
  readonly lines: readonly Line[];
  /** Where this person had read to when the room was opened, if there was more. */
  readonly newFrom: Position | null;
  readonly wishes: Wishes;
  readonly sought: Position | null;
  readonly found: () => void;
  /** The message that is being edited. */
  readonly writing: string | null;
}

export function Timeline(props: Props): JSX.Element {
  const { state, room, lines } = props;
  const { words } = useSpeech();
  const dispatch = useDispatch();
  const content = useRef<HTMLDivElement>(null);
  const [active, setActive] = useState<string | null>(null);
  const missing = room.following !== "live" && room.timeline.length === 0;
  const notKept = missing && isAway(state) && !isKept(room);
  const loading = missing && !notKept;
  const more = (): void => {
    if (room.history === "idle") dispatch({ type: "historyWanted", room: room.id });
  };
  const scroll = useScroll({
    content,
    lines,
    more,
    atEnd: () => {
      dispatch({ type: "seen", room: room.id });
    },
  });
  const keys = useMemo(() => lines.map((line) => line.key), [lines]);
  useKeptFocus({
    content,
    keys,
    onward: () => {
      goOn(content.current);
    },
  });
  const flash = useSeek({ room, sought: props.sought, found: props.found, more, content });

  const walk = (event: TargetedKeyboardEvent<HTMLDivElement>): void => {
    if (event.key !== "ArrowUp" && event.key !== "ArrowDown") return;
    if (!(event.target instanceof HTMLElement) || event.target.dataset["key"] === undefined) return;
    const at = lines.findIndex((line) => line.key === active);
    const next = lines[at + (event.key === "ArrowUp" ? -1 : 1)];
    if (next === undefined) return;
    event.preventDefault();
    setActive(next.key);
    content.current?.querySelector<HTMLElement>(`[data-key="${CSS.escape(next.key)}"]`)?.focus();
  };

  return (
    <div class="timeline-frame">
      <div
        class="timeline"
        role="log"
        aria-label={words.timeline(roomTitle(room))}
        aria-busy={room.history === "loading" || loading}
        aria-relevant="additions"
        ref={scroll.box}
        onScroll={scroll.onScroll}
        onKeyDown={walk}
        onPointerLeave={(event) => {
          if (event.pointerType === "mouse") setActive(null);
        }}
      >
        <div class="timeline-content" ref={content}>
          <Top
            room={room}
            connected={state.connection.phase === "connected"}
            retry={() => {
              dispatch({ type: "historyWanted", room: room.id });
            }}
          />
          {loading && <EmptyPane icon="message" title={words.timelineLoading} hint="" busy />}
          {notKept && <EmptyPane icon="cloudOff" title={words.notKept} hint={words.notKeptHint} />}
          {!missing && lines.length === 0 && <EmptyPane icon="message" title={words.emptyRoom} hint={words.emptyRoomHint} />}
          <TimelineRows {...props} active={active} activate={setActive} flashed={flash} />
          <Readers room={room} lines={lines} me={state.me.user} />
        </div>
      </div>
      {scroll.away && (
        <button type="button" class="to-bottom" aria-label={words.toBottom} title={words.toBottom} onClick={scroll.toEnd}>
          <Icon name="down" />
        </button>
      )}
      <div class="hidden" role="status">
        {lines.some((line) => line.mark === "failed") ? words.failedSend : ""}
      </div>
    </div>
  );
}

interface TopProps {
  readonly room: Room;
  readonly connected: boolean;
  readonly retry: () => void;
}

function Top({ room, connected, retry }: TopProps): JSX.Element | null {
  const { words } = useSpeech();
  if (room.history === "failed") {
    return (
      <div class="top" role="alert">
        <span>{words.historyFailed}</span>
        <button type="button" class="link" onClick={retry}>
          {words.retry}
        </button>
      </div>
    );
  }
  if (room.moreBefore) return <div class="top">{connected ? words.historyLoading : words.historyLater}</div>;
  return room.timeline.length > 0 ? <div class="top start">{words.historyStart}</div> : null;
}

/** How far the others have read, where the last thing that somebody said is one's own; who came or went since does not matter. */
function Readers({ room, lines, me }: { readonly room: Room; readonly lines: readonly Line[]; readonly me: string }): JSX.Element | null {
  const { words } = useSpeech();
  const last = lines.findLast((line) => !line.message.notice);
  if (last === undefined || last.message.sender !== me || last.mark !== "sent") return null;
  const inTimeline = room.timeline.some((message) => samePosition(message, last.message));
  const readers = inTimeline ? readersOf(room, last.message) : [];
  const text = readers.length === 0 ? words.sent : room.kind === "direct" ? words.readByPeer : words.readBy(readers.length);
  return (
    <p class="readers" data-readers={readers.length}>
      <Icon name={readers.length > 0 ? "checks" : "check"} />
      {text}
    </p>
  );
}
