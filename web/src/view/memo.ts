import type { ComponentChild, FunctionComponent } from "preact";
import { Component, h } from "preact";

/** The component, rendered again only when one of its props has changed. */
export function memo<P extends object>(inner: FunctionComponent<P>): FunctionComponent<P> {
  class Remembered extends Component<P> {
    override shouldComponentUpdate(next: Readonly<P>): boolean {
      const props: Readonly<P> = this.props;
      const keys = new Set([...Object.keys(props), ...Object.keys(next)]) as Set<keyof P>;
      return [...keys].some((key) => props[key] !== next[key]);
    }

    override render(): ComponentChild {
      return h(inner as FunctionComponent<object>, this.props);
    }
  }
  return (props) => h(Remembered as unknown as FunctionComponent<P>, props);
}
