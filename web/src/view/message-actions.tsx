import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Message } from "../protocol/frames";
import { useSpeech } from "./context";
import type { IconName } from "./icons";
import { Icon } from "./icons";
import type { Wishes } from "./message-row";

export const EMOJI = ["👍", "❤️", "😄", "🎉", "🤔", "✅"] as const;

interface Props {
  readonly message: Message;
  readonly mine: boolean;
  readonly me: string;
  readonly mayDelete: boolean;
  readonly wishes: Wishes;
}

type Face = "all" | "emoji" | "delete";

/** What can be done with the message under the pointer or the focus. Escape goes back. */
export function MessageActions({ message, mine, me, mayDelete, wishes }: Props): JSX.Element {
  const { words } = useSpeech();
  const [face, setFace] = useState<Face>("all");
  const bar = useRef<HTMLDivElement>(null);
  const byKeyboard = useRef(false);

  useEffect(() => {
    if (byKeyboard.current) bar.current?.querySelector("button")?.focus();
  }, [face]);

  const turn = (to: Face): void => {
    byKeyboard.current = bar.current?.contains(document.activeElement) ?? false;
    setFace(to);
  };

  return (
    <div
      class="actions"
      role="toolbar"
      aria-label={words.actions}
      ref={bar}
      onKeyDown={(event) => {
        if (event.key !== "Escape") return;
        event.preventDefault();
        event.stopPropagation();
        if (face === "all") bar.current?.closest<HTMLElement>("article")?.focus();
        else turn("all");
      }}
    >
      {face === "all" && (
        <>
          <Action icon="smile" label={words.react} act={() => { turn("emoji"); }} />
          <Action icon="reply" label={words.reply} act={() => { wishes.reply(message); }} />
          {mine && <Action icon="edit" label={words.edit} act={() => { wishes.edit(message); }} />}
          {mayDelete && <Action icon="trash" label={words.remove} act={() => { turn("delete"); }} />}
        </>
      )}
      {face === "emoji" && EMOJI.map((emoji) => {
        const on = message.reactions?.[emoji]?.includes(me) ?? false;
        return (
          <button
            key={emoji}
            type="button"
            class="icon-button emoji"
            aria-pressed={on}
            onClick={() => {
              wishes.react(message, emoji, !on);
              turn("all");
            }}
          >
            {emoji}
          </button>
        );
      })}
      {face === "delete" && (
        <>
          <span class="question">{words.confirmDelete}</span>
          <button
            type="button"
            class="danger"
            onClick={() => {
              // The button goes with the message's text; who uses the keyboard stays where they were.
              bar.current?.closest<HTMLElement>("article")?.focus();
              wishes.remove(message);
            }}
          >
            {words.remove}
          </button>
          <button type="button" class="quiet" onClick={() => { turn("all"); }}>
            {words.cancel}
          </button>
        </>
      )}
    </div>
  );
}

function Action({ icon, label, act }: { readonly icon: IconName; readonly label: string; readonly act: () => void }): JSX.Element {
  return (
    <button type="button" class="icon-button" aria-label={label} title={label} onClick={act}>
      <Icon name={icon} />
    </button>
  );
}
