import type { JSX } from "preact";
import type { Message } from "../protocol/frames";
import { useSpeech } from "./context";

interface Props {
  readonly message: Message;
  readonly me: string;
  readonly names: Readonly<Record<string, string>>;
  readonly disabled: boolean;
  readonly react: (message: Message, emoji: string, on: boolean) => void;
}

/** Who reacted how; a press adds or takes back one's own. */
export function Reactions({ message, me, names, disabled, react }: Props): JSX.Element | null {
  const { words } = useSpeech();
  const reactions = Object.entries(message.reactions ?? {});
  if (reactions.length === 0) return null;
  return (
    <div class="reactions">
      {reactions.map(([emoji, users]) => {
        const mine = users.includes(me);
        const by = users.map((user) => (user === me ? words.you : names[user] || user)).join(", ");
        return (
          <button
            key={emoji}
            type="button"
            class="reaction"
            aria-pressed={mine}
            aria-label={words.reactionBy(emoji, by)}
            title={by}
            disabled={disabled}
            onClick={() => {
              react(message, emoji, !mine);
            }}
          >
            <span class="emoji">{emoji}</span> {users.length}
          </button>
        );
      })}
    </div>
  );
}
