import type { JSX } from "preact";
import { roleName } from "../i18n/language";
import type { MemberChange } from "../protocol/frames";
import { useSpeech } from "./context";
import { memo } from "./memo";

interface Props {
  readonly lineKey: string;
  readonly notice: MemberChange;
  readonly name: string;
  /** They were not in the room before. */
  readonly joined: boolean;
}

/** Somebody joined, left or changed role. */
export const NoticeRow = memo(function NoticeRow({ lineKey, notice, name, joined }: Props): JSX.Element {
  const { words } = useSpeech();
  const role = notice.role === null ? "" : roleName(words, notice.role);
  const text = role === "" ? words.left(name) : joined ? words.joined(name) : words.roleIs(name, role);
  return (
    <p class="notice-row" data-key={lineKey}>
      {text}
    </p>
  );
});
