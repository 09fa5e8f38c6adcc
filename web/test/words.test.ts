import { describe, expect, it } from "vitest";
import { en } from "../src/i18n/en";
import { fr } from "../src/i18n/fr";
import { dayName, shortTime } from "../src/i18n/language";
import { initials, tint, TINTS } from "../src/view/avatar";
import { partsOf, plainLine } from "../src/view/rich-text";
import { roomOf } from "../src/view/route";

describe("languages", () => {
  it("say the same things", () => {
    expect(Object.keys(en).sort()).toEqual(Object.keys(fr).sort());
    expect(Object.keys(en.because).sort()).toEqual(Object.keys(fr.because).sort());
  });

  it("leave nothing empty and nothing untranslated", () => {
    const same = Object.entries(en).filter(([key, said]) => typeof said === "string" && said === fr[key as keyof typeof fr]);
    // "Conversations" is both.
    expect(same.map(([key]) => key)).toEqual(["rooms"]);
    for (const said of [...Object.values(en), ...Object.values(fr)]) expect(said).not.toBe("");
  });

  it("count", () => {
    expect([fr.unread(1), fr.unread(2), en.unread(2)]).toEqual(["1 non lu", "2 non lus", "2 unread"]);
    expect(fr.typing(["Léa"])).toBe("Léa écrit…");
    expect(fr.typing(["Léa", "Hugo"])).toBe("Léa et Hugo écrivent…");
    expect(en.typing(["a", "b", "c"])).toBe("Several people are typing…");
  });

  it("name days", () => {
    const now = new Date(2026, 10, 24, 9).getTime();
    expect(dayName(fr, "fr", now - 1000, now)).toBe("Aujourd’hui");
    expect(dayName(fr, "fr", new Date(2026, 10, 23, 23, 59).getTime(), now)).toBe("Hier");
    expect(dayName(fr, "fr", new Date(2026, 10, 20).getTime(), now)).toBe("vendredi 20 novembre");
    expect(dayName(en, "en", new Date(2025, 10, 20).getTime(), now)).toContain("2025");
    expect(shortTime(fr, "fr", new Date(2026, 10, 24, 8, 5).getTime(), now)).toBe("08:05");
  });
});

describe("text", () => {
  const kinds = (text: string): string[] => partsOf(text).map((part) => `${part.kind}:${part.text}`);

  it.each([
    ["simple", ["text:simple"]],
    ["voir https://exemple.fr/a.", ["text:voir ", "link:https://exemple.fr/a", "text:."]],
    ["(https://exemple.fr/a_(b))", ["text:(", "link:https://exemple.fr/a_(b)", "text:)"]],
    ["« https://exemple.fr »", ["text:« ", "link:https://exemple.fr", "text: »"]],
    ["appeler `f(x)` ici", ["text:appeler ", "code:f(x)", "text: ici"]],
    ["`https://exemple.fr`", ["code:https://exemple.fr"]],
    ["a\n```python\nx = 1\n```\nb", ["text:a\n", "block:x = 1", "text:b"]],
    ["```x```", ["block:x"]],
    ["javascript:alert(1)", ["text:javascript:alert(1)"]],
    ["<b>gras</b>", ["text:<b>gras</b>"]],
    ["https://", ["text:https://"]],
    ["`seul", ["text:`seul"]],
  ])("of %j has its parts", (text, parts) => {
    expect(kinds(text)).toEqual(parts);
  });

  it("loses no character outside code fences", () => {
    const text = "a `b` https://x.fr/?q=1&r=2, (https://y.fr) « c » ``` d";
    expect(partsOf(text).map((part) => (part.kind === "code" ? `\`${part.text}\`` : part.text)).join("")).toBe(text);
  });

  it("links nowhere but to web addresses", () => {
    for (const part of partsOf("https://a.fr http://b.fr ftp://c.fr data:text/html,x")) {
      if (part.kind === "link") expect(part.href).toMatch(/^https?:\/\//);
    }
  });

  it("fits one line of a preview", () => {
    expect(plainLine("a\n```python\nx = 1\n```\n`b`")).toBe("a x = 1 b");
  });
});

describe("avatars", () => {
  it("show initials", () => {
    expect([initials("Claire Fontaine"), initials("léa"), initials("Jean de la Tour"), initials(""), initials("Python – premiers pas")]).toEqual(["CF", "L", "JT", "?", "PP"]);
  });

  it("have a colour that stays", () => {
    expect(tint("claire")).toBe(tint("claire"));
    expect(new Set(["claire", "karim", "sophie", "amina", "hugo", "lea"].map(tint)).size).toBeGreaterThan(3);
    expect(tint("x")).toBeLessThan(TINTS);
  });
});

describe("addresses", () => {
  it.each([["#/r/python", "python"], ["#/", null], ["", null], ["#/r/a/b", null], ["#/r/<script>", null]])("%s is room %s", (hash, room) => {
    expect(roomOf(hash)).toBe(room);
  });
});
