import type { JSX, TargetedKeyboardEvent } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { saveDraft, savedDraft } from "../net/session";
import type { Message } from "../protocol/frames";
import type { Room } from "../state/model";
import { useDispatch, useSpeech } from "./context";
import { Icon } from "./icons";
import { plainLine } from "./rich-text";
import { hasPointer } from "./pointer";
import { roomTitle } from "./room-row";

export type Writing =
  | { readonly mode: "new" }
  | { readonly mode: "reply"; readonly to: Message }
  | { readonly mode: "edit"; readonly of: Message };

interface Props {
  readonly room: Room;
  readonly me: string;
  readonly names: Readonly<Record<string, string>>;
  /** Bytes of UTF-8 that a text may have. */
  readonly limit: number;
  readonly writing: Writing;
  readonly finish: () => void;
  readonly editLast: () => void;
}

export function Composer(props: Props): JSX.Element {
  const { words } = useSpeech();
  if (props.room.closed) return <p class="composer closed">{words.roomClosed}</p>;
  return <OpenComposer {...props} />;
}

function OpenComposer({ room, me, names, limit, writing, finish, editLast }: Props): JSX.Element {
  const { words } = useSpeech();
  const dispatch = useDispatch();
  const [draft, setDraft] = useState(() => savedDraft(me, room.id));
  const [revision, setRevision] = useState("");
  const field = useRef<HTMLTextAreaElement>(null);
  const editing = writing.mode === "edit";
  const text = editing ? revision : draft;
  const over = new TextEncoder().encode(text.trim()).length - limit;
  const label = words.compose(roomTitle(room));

  // Before anybody can type: after the paint it would put back what was typed meanwhile.
  useLayoutEffect(() => {
    if (editing) setRevision(writing.of.text ?? "");
    if (writing.mode !== "new") field.current?.focus();
  }, [writing]);

  useEffect(() => {
    // Who is at a message when the room is opened to writing again stays there.
    if (hasPointer() && !document.activeElement?.closest("[data-key]")) field.current?.focus({ preventScroll: true });
  }, []);

  useLayoutEffect(() => {
    const { current } = field;
    if (current === null) return;
    current.style.height = "auto";
    current.style.height = `${current.scrollHeight}px`;
  }, [text]);

  const change = (value: string): void => {
    if (editing) {
      setRevision(value);
      return;
    }
    setDraft(value);
    saveDraft(me, room.id, value);
    dispatch({ type: "typed", room: room.id, active: value.trim() !== "" });
  };

  const submit = (): void => {
    const body = text.trim();
    if (body === "" || over > 0) return;
    if (editing) {
      const { epoch, seq } = writing.of;
      if (body !== writing.of.text) dispatch({ type: "rewrote", room: room.id, target: { epoch, seq }, text: body });
    } else {
      const replyTo = writing.mode === "reply" ? { epoch: writing.to.epoch, seq: writing.to.seq } : null;
      dispatch({ type: "wrote", room: room.id, text: body, replyTo });
      setDraft("");
      saveDraft(me, room.id, "");
    }
    finish();
    field.current?.focus();
  };

  const onKeyDown = (event: TargetedKeyboardEvent<HTMLTextAreaElement>): void => {
    // While an input method composes, Enter chooses a candidate.
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      submit();
    } else if (event.key === "Escape" && writing.mode !== "new") {
      event.preventDefault();
      finish();
    } else if (event.key === "ArrowUp" && text === "" && writing.mode === "new") {
      event.preventDefault();
      editLast();
    }
  };

  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      {writing.mode !== "new" && <Context writing={writing} names={names} cancel={finish} />}
      <div class="field">
        <textarea
          ref={field}
          rows={1}
          value={text}
          aria-label={label}
          aria-describedby="compose-hint"
          placeholder={label}
          enterkeyhint="send"
          onInput={(event) => {
            change(event.currentTarget.value);
          }}
          onKeyDown={onKeyDown}
          onBlur={() => {
            dispatch({ type: "typed", room: room.id, active: false });
          }}
        />
        <button type="submit" class="send" disabled={text.trim() === "" || over > 0} aria-label={editing ? words.save : words.send} title={editing ? words.save : words.send}>
          <Icon name={editing ? "check" : "send"} />
        </button>
      </div>
      {over > 0 && (
        <p class="too-long" role="alert">
          {words.tooLong(over)}
        </p>
      )}
      <p class="hidden" id="compose-hint">
        {words.composeHint}
      </p>
    </form>
  );
}

interface ContextProps {
  readonly writing: Exclude<Writing, { readonly mode: "new" }>;
  readonly names: Props["names"];
  readonly cancel: () => void;
}

/** What is being answered or edited, and the way out. */
function Context({ writing, names, cancel }: ContextProps): JSX.Element {
  const { words } = useSpeech();
  const message = writing.mode === "reply" ? writing.to : writing.of;
  const title = writing.mode === "reply" ? words.replyingTo(names[message.sender] || message.sender) : words.editing;
  return (
    <div class="writing">
      <Icon name={writing.mode === "reply" ? "reply" : "edit"} />
      <p>
        <strong>{title}</strong>
        <span class="muted">{plainLine(message.text ?? "")}</span>
      </p>
      <button type="button" class="icon-button" aria-label={words.cancel} title={words.cancel} onClick={cancel}>
        <Icon name="close" />
      </button>
    </div>
  );
}
