import type { JSX } from "preact";
import { memo } from "./memo";
import { partsOf } from "./rich-text";

/** A message's text as elements made of text nodes. */
export const RichText = memo(function RichText({ text }: { readonly text: string }): JSX.Element {
  return (
    <>
      {partsOf(text).map((part, place) => {
        switch (part.kind) {
          case "text":
            return part.text;
          case "code":
            return <code key={place}>{part.text}</code>;
          case "block":
            return (
              <pre key={place} tabIndex={0}>
                <code>{part.text}</code>
              </pre>
            );
          case "link":
            return (
              <a key={place} href={part.href} target="_blank" rel="noopener noreferrer">
                {part.text}
              </a>
            );
        }
      })}
    </>
  );
});
