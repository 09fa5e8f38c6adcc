import type { JSX } from "preact";
import { roleName } from "../i18n/language";
import type { MemberChange } from "../protocol/frames";
import { useSpeech } from "./context";
import { memo } from "./memo";

interface Props {
  readonly lineKey: string;
  readonly notice: MemberChange;
  readonly name: string;
}

/** Somebody joined, left or changed role. */
export const NoticeRow = memo(function NoticeRow({ lineKey, notice, name }: Props): JSX.Element {
  const { words } = useSpeech();
  const text = notice.role === null ? words.left(name) : words.roleIs(name, roleName(words, notice.role));
  return (
    <p class="notice-row" data-key={lineKey}>
      {text}
    </p>
  );
});
