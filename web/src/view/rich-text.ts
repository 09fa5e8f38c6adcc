/** What a message's text holds: plain text, links, code. Pure; nothing here makes HTML. */

export type Part =
  | { readonly kind: "text" | "code" | "block"; readonly text: string }
  | { readonly kind: "link"; readonly text: string; readonly href: string };

const FENCE = /```(?:[A-Za-z0-9+#-]*\n)?([\s\S]+?)```\n?/g;
const INLINE = /`([^`\n]+)`|\bhttps?:\/\/[^\s<>"«»`]+/g;
const TRAILING = /[.,;:!?…'’*_~]$/;

export function partsOf(text: string): readonly Part[] {
  return split(text, FENCE, (match) => [{ kind: "block", text: (match[1] ?? "").replace(/\n$/, "") }], inlineParts);
}

function inlineParts(text: string): Part[] {
  return split(text, INLINE, inlineMatch, (plain) => [{ kind: "text", text: plain }]);
}

function inlineMatch(match: RegExpExecArray): Part[] {
  if (match[1] !== undefined) return [{ kind: "code", text: match[1] }];
  const [address, rest] = withoutTrailing(match[0]);
  const href = hrefOf(address);
  const link: Part = href === null ? { kind: "text", text: address } : { kind: "link", text: address, href };
  return rest === "" ? [link] : [link, { kind: "text", text: rest }];
}

/** Punctuation after an address belongs to the sentence, and so does a bracket that was not opened in it. */
function withoutTrailing(address: string): [string, string] {
  let end = address.length;
  for (;;) {
    const kept = address.slice(0, end);
    const last = kept.at(-1) ?? "";
    if (TRAILING.test(kept) || (last === ")" && count(kept, ")") > count(kept, "(")) || last === "]") end -= 1;
    else return [kept, address.slice(end)];
  }
}

function count(text: string, character: string): number {
  return text.split(character).length - 1;
}

function hrefOf(address: string): string | null {
  if (!URL.canParse(address)) return null;
  const url = new URL(address);
  return (url.protocol === "https:" || url.protocol === "http:") && url.hostname !== "" ? url.href : null;
}

function split(
  text: string,
  pattern: RegExp,
  matched: (match: RegExpExecArray) => Part[],
  between: (plain: string) => Part[],
): Part[] {
  const parts: Part[] = [];
  let from = 0;
  for (const match of text.matchAll(pattern)) {
    if (match.index > from) parts.push(...between(text.slice(from, match.index)));
    parts.push(...matched(match));
    from = match.index + match[0].length;
  }
  if (from < text.length) parts.push(...between(text.slice(from)));
  return parts;
}

/** One line for a preview or a quotation. */
export function plainLine(text: string): string {
  return text.replace(/```[A-Za-z0-9+#-]*\n?/g, " ").replace(/`/g, "").replace(/\s+/g, " ").trim();
}
