import type { JSX } from "preact";
import { dayName, sameDay } from "../i18n/language";
import type { Message, Position } from "../protocol/frames";
import { messageAt } from "../state/fold";
import type { Room, State } from "../state/model";
import { isAfter, positionKey } from "../state/positions";
import type { Line } from "../state/select";
import { isStuck } from "../state/select";
import { useSpeech } from "./context";
import type { Quote, Wishes } from "./message-row";
import { MessageRow } from "./message-row";
import { NoticeRow } from "./notice-row";

/** Messages of one author within this time of each other form one block. */
const BLOCK_MS = 5 * 60_000;

interface Props {
  readonly state: State;
  readonly room: Room;
  readonly lines: readonly Line[];
  readonly newFrom: Position | null;
  readonly wishes: Wishes;
  /** The message that is being edited. */
  readonly writing: string | null;
  /** The line under the pointer or the focus. */
  readonly active: string | null;
  readonly activate: (key: string | null) => void;
  readonly flashed: string | null;
}

/** Messages and notices with what stands between them: days, and where the new ones begin. */
export function TimelineRows(props: Props): JSX.Element {
  const { state, room, lines, newFrom } = props;
  const me = state.me.user;
  const firstNew = newFrom === null ? undefined : lines.find((line) => isNew(line, me, newFrom))?.key;
  const rows = lines.flatMap((line, place) => {
    const before = lines[place - 1]?.message ?? null;
    const { message, key } = line;
    const row: JSX.Element[] = [];
    if (before === null || !sameDay(before.ts, message.ts)) row.push(<Day key={`day ${key}`} time={message.ts} />);
    if (key === firstNew) row.push(<NewDivider key="new" />);
    const begins = key === firstNew || before === null || !inOneBlock(before, message);
    row.push(<Row key={key} {...props} room={room} line={line} begins={begins} last={place === lines.length - 1} />);
    return row;
  });
  return <>{rows}</>;
}

function isNew(line: Line, me: string, from: Position): boolean {
  return line.stored && line.message.sender !== me && !line.message.notice && isAfter(line.message, from);
}

function inOneBlock(before: Message, message: Message): boolean {
  return (
    !before.notice &&
    before.sender === message.sender &&
    message.ts - before.ts < BLOCK_MS &&
    sameDay(before.ts, message.ts) &&
    !message.reply_to
  );
}

interface RowProps extends Props {
  readonly line: Line;
  readonly begins: boolean;
  readonly last: boolean;
}

function Row(props: RowProps): JSX.Element {
  const { state, room, line, active } = props;
  const { message, key } = line;
  const { names, me } = state;
  const offline = state.connection.phase !== "connected";
  const { notice } = message;
  if (notice) {
    const name = notice.name || names[notice.user] || notice.user;
    return <NoticeRow lineKey={key} notice={notice} name={name} joined={hasJoined(room, message)} />;
  }
  return (
    <MessageRow
      lineKey={key}
      message={message}
      mark={line.mark}
      entry={line.entry}
      stored={line.stored}
      begins={props.begins}
      name={names[message.sender] || message.sender}
      names={names}
      role={room.members?.find((member) => member.user === message.sender)?.role ?? null}
      mine={message.sender === me.user}
      me={me.user}
      mayModerate={room.kind === "course" && room.role !== "learner"}
      closed={room.closed}
      offline={offline}
      stuck={offline || isStuck(room)}
      quote={message.reply_to ? quoteOf(room, message.reply_to) : null}
      active={active === key}
      reachable={active === null ? props.last : active === key}
      flashed={props.flashed === key}
      edited={line.stored && props.writing === positionKey(message)}
      activate={props.activate}
      wishes={props.wishes}
    />
  );
}

/** Whether a notice is the first of its person since they were away; unknown counts as no. */
function hasJoined(room: Room, message: Message): boolean {
  const user = message.notice?.user;
  const before = room.timeline.findLast((each) => each.notice?.user === user && isAfter(message, each));
  return before === undefined ? !room.moreBefore : before.notice?.role === null;
}

function quoteOf(room: Room, at: Position): Quote {
  const held = messageAt(room.timeline, at);
  if (held !== null) return held;
  const fetched = room.quotes[positionKey(at)];
  return fetched === undefined || fetched === "asked" ? "unknown" : fetched;
}

function Day({ time }: { readonly time: number }): JSX.Element {
  const { words, language } = useSpeech();
  return (
    <div class="day" role="separator">
      <span>{dayName(words, language, time, Date.now())}</span>
    </div>
  );
}

function NewDivider(): JSX.Element {
  const { words } = useSpeech();
  return (
    <div class="day new" role="separator">
      <span>{words.newMessages}</span>
    </div>
  );
}
