import type { ComponentChildren, JSX } from "preact";
import type { IconName } from "./icons";
import { Icon } from "./icons";

interface Props {
  readonly icon: IconName;
  readonly title: string;
  readonly hint: string;
  readonly busy?: boolean;
  readonly children?: ComponentChildren;
}

export function EmptyPane({ icon, title, hint, busy, children }: Props): JSX.Element {
  return (
    <div class="empty" role="status" aria-busy={busy ?? false}>
      <Icon name={icon} />
      <p class="title">{title}</p>
      {hint !== "" && <p class="muted">{hint}</p>}
      {children}
    </div>
  );
}
