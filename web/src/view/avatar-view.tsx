import type { JSX } from "preact";
import { initials, tint } from "./avatar";

interface Props {
  readonly user: string;
  readonly name: string;
  readonly square?: boolean;
  readonly present?: boolean;
}

/** Decoration: the name stands beside it in words. */
export function Avatar({ user, name, square, present }: Props): JSX.Element {
  const shape = square ? "avatar square" : "avatar";
  return (
    <span class={`${shape} tint-${tint(user)}`} aria-hidden="true">
      {initials(name || user)}
      {present !== undefined && <span class={present ? "presence here" : "presence"} />}
    </span>
  );
}
