import type { JSX } from "preact";
import type { Entry } from "../state/model";
import { undoing } from "../state/outbox";
import { useDispatch, useSpeech } from "./context";

interface Props {
  readonly entries: readonly Entry[];
}

/** What was written for conversations that are none of this person's any more: to be copied, and thrown away. */
export function Stranded({ entries }: Props): JSX.Element | null {
  const { words } = useSpeech();
  const dispatch = useDispatch();
  const written = entries.flatMap((entry) => {
    const accepted = undoing(entry);
    return accepted !== null && "text" in entry.command ? [{ entry, accepted, text: entry.command.text }] : [];
  });
  if (written.length === 0) return null;
  return (
    <section class="stranded">
      <h2>{words.stranded}</h2>
      <p class="muted" role="alert">{words.strandedHint}</p>
      <ul>
        {written.map(({ entry, accepted, text }) => (
          <li key={entry.id}>
            <p class="stranded-text">{text}</p>
            <p class="mark failed">
              {accepted === "maybe" && <span>{words.maybeThere}</span>}
              <button
                type="button"
                class="link"
                onClick={() => {
                  dispatch({ type: "discarded", room: entry.room, id: entry.id, accepted });
                }}
              >
                {words.remove}
              </button>
            </p>
          </li>
        ))}
      </ul>
    </section>
  );
}
