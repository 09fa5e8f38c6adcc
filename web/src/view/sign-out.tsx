import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { useSpeech } from "./context";

interface Props {
  /** What this person has given and is not stored yet. */
  readonly waiting: number;
  readonly signOut: () => void;
}

/** The way out; who leaves something unsent is told so first. */
export function SignOut({ waiting, signOut }: Props): JSX.Element {
  const { words } = useSpeech();
  const [asked, ask] = useState(false);
  const first = useRef<HTMLButtonElement>(null);
  const way = useRef<HTMLButtonElement>(null);
  const before = useRef(false);
  useEffect(() => {
    if (asked) first.current?.focus();
    else if (before.current && document.activeElement === document.body) way.current?.focus();
    before.current = asked;
  }, [asked]);
  useEffect(() => {
    if (waiting === 0) ask(false);
  }, [waiting]);
  if (!asked || waiting === 0) {
    return (
      <button
        type="button"
        class="quiet"
        ref={way}
        onClick={() => {
          if (waiting > 0) ask(true);
          else signOut();
        }}
      >
        {words.signOut}
      </button>
    );
  }
  return (
    <div
      class="leaving"
      role="group"
      aria-label={words.signOut}
      onKeyDown={(event) => {
        if (event.key === "Escape") ask(false);
      }}
    >
      <p role="alert">{words.leavesUnsent(waiting)}</p>
      <button type="button" class="link" ref={first} onClick={() => { ask(false); }}>
        {words.cancel}
      </button>
      <button type="button" class="link" onClick={signOut}>
        {words.signOut}
      </button>
    </div>
  );
}
