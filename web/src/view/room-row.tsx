import type { JSX } from "preact";
import type { Dictionary } from "../i18n/dictionary";
import { shortTime } from "../i18n/language";
import type { Message } from "../protocol/frames";
import type { Room } from "../state/model";
import { activityOf, isKept, unreadOf } from "../state/select";
import { Avatar } from "./avatar-view";
import { useSpeech } from "./context";
import { memo } from "./memo";
import { plainLine } from "./rich-text";
import { roomAddress } from "./route";

interface Props {
  readonly room: Room;
  readonly me: string;
  readonly names: Readonly<Record<string, string>>;
  readonly current: boolean;
  /** Nothing can be loaded now. */
  readonly away: boolean;
}

export function roomTitle(room: Room): string {
  return room.kind === "direct" ? room.peerName || room.peer || room.title : room.title;
}

export const RoomRow = memo(function RoomRow({ room, me, names, current, away }: Props): JSX.Element {
  const { words, language } = useSpeech();
  const unread = unreadOf(room, me);
  const title = roomTitle(room);
  const active = activityOf(room);
  const present = room.kind === "direct" && room.online !== null ? isPresent(room) : undefined;
  return (
    <a
      class={unread > 0 ? "room-row has-unread" : "room-row"}
      href={roomAddress(room.id)}
      aria-current={current ? "page" : undefined}
      data-room={room.id}
    >
      <Avatar
        user={room.kind === "direct" ? (room.peer ?? room.id) : room.id}
        name={title}
        square={room.kind === "course"}
        {...(present === undefined ? {} : { present })}
      />
      <span class="room-title">{title}</span>
      {present !== undefined && <span class="hidden">{present ? words.online : words.away}</span>}
      {active > 0 && <time dateTime={new Date(active).toISOString()}>{shortTime(words, language, active, Date.now())}</time>}
      <span class="preview">{preview(room, me, names, words) || (away && !isKept(room) ? words.notKeptShort : "")}</span>
      {unread > 0 && (
        <span class="unread" data-unread={unread}>
          <span aria-hidden="true">{unread > 99 ? "99+" : unread}</span>
          <span class="hidden">{words.unread(unread)}</span>
        </span>
      )}
    </a>
  );
});

export function isPresent(room: Room): boolean {
  return room.peer !== null && (room.online?.includes(room.peer) ?? false);
}

function preview(room: Room, me: string, names: Props["names"], words: Dictionary): string {
  const typing = Object.keys(room.typing);
  if (typing.length > 0) return words.typing(typing.map((user) => firstName(names[user] || user)));
  const waiting = room.outbox.findLast((entry) => entry.command.type === "send")?.command;
  if (waiting?.type === "send") return words.saying(words.you, plainLine(waiting.text));
  const message = room.timeline.findLast((each) => !each.notice);
  return message === undefined ? "" : previewOf(message, room, me, names, words);
}

function previewOf(message: Message, room: Room, me: string, names: Props["names"], words: Dictionary): string {
  if (message.deleted) return words.deletedByAuthor;
  const text = plainLine(message.text ?? "");
  if (message.sender === me) return words.saying(words.you, text);
  return room.kind === "direct" ? text : words.saying(firstName(names[message.sender] || message.sender), text);
}

function firstName(name: string): string {
  return name.split(" ")[0] ?? name;
}
