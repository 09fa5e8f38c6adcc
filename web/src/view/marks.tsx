import type { JSX } from "preact";
import type { Dictionary } from "../i18n/dictionary";
import type { Entry } from "../state/model";
import { undoing } from "../state/outbox";
import type { Mark } from "../state/select";
import { useSpeech } from "./context";
import { Icon } from "./icons";
import type { Wishes } from "./message-row";

interface Props {
  readonly mark: Mark;
  readonly entry: Entry | null;
  readonly offline: boolean;
  /** What waits does not get on. */
  readonly stuck: boolean;
  readonly wishes: Wishes;
}

/** How a command of one's own stands: a small mark, always in words too. */
export function Marks({ mark, entry, offline, stuck, wishes }: Props): JSX.Element | null {
  const { words } = useSpeech();
  if (entry === null || mark === "sent") return null;
  const send = entry.command.type === "send";
  const undone = mark === "failed" || stuck ? undoing(entry) : null;
  const text = mark === "failed" ? failure(words, entry) : mark === "retrying" ? words.retrying : waiting(words, entry, offline);
  return (
    <p class={`mark ${mark}`}>
      <Icon name={mark === "failed" ? "alert" : "clock"} />
      <span class="mark-text">{text}</span>
      {mark !== "pending" && (
        <button
          type="button"
          class="link"
          onClick={() => {
            wishes.retry(entry.id);
          }}
        >
          {words.retry}
        </button>
      )}
      {undone !== null && (
        <button
          type="button"
          class="link"
          onClick={() => {
            wishes.discard(entry.id, undone);
          }}
        >
          {undone === "maybe" ? words.sendNoMore : send ? words.remove : words.discard}
        </button>
      )}
    </p>
  );
}

function waiting(words: Dictionary, { stage, order, attempted }: Entry, offline: boolean): string {
  if (!offline) return words.pending;
  if (attempted) return words.maybeSent;
  return stage === "storing" && order === null ? words.keeping : words.queued;
}

function failure(words: Dictionary, entry: Entry): string {
  const what = { send: words.failedSend, edit: words.failedEdit, delete: words.failedDelete, react: words.failedReact };
  const happened = what[entry.command.type];
  return entry.problem === null ? happened : `${words.saying(happened, words.because[entry.problem])}.`;
}
