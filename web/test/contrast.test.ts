import { describe, expect, it } from "vitest";
import css from "../src/view/styles/base.css?raw";

type Rgb = readonly [number, number, number];

/** Custom properties of the first `:root` block after this text. */
function colours(after: string): ReadonlyMap<string, string> {
  const block = /:root\s*\{([^}]*)\}/.exec(css.slice(css.indexOf(after)))?.[1] ?? "";
  return new Map([...block.matchAll(/--([a-z-]+):\s*([^;]+);/g)].map((match) => [match[1] ?? "", match[2] ?? ""]));
}

const light = colours(":root");
const dark = new Map([...light, ...colours("prefers-color-scheme: dark")]);

function hex(value: string | undefined): Rgb {
  const digits = /^#([0-9a-f]{6})$/.exec(value ?? "")?.[1];
  if (digits === undefined) throw new Error(`not a colour: ${String(value)}`);
  return [0, 2, 4].map((at) => parseInt(digits.slice(at, at + 2), 16)) as unknown as Rgb;
}

function hsl(hue: number, saturation: number, lightness: number): Rgb {
  const channel = (n: number): number => {
    const k = (n + hue / 30) % 12;
    return 255 * (lightness - saturation * Math.min(lightness, 1 - lightness) * Math.max(-1, Math.min(k - 3, 9 - k, 1)));
  };
  return [channel(0), channel(8), channel(4)];
}

/** WCAG 2.2, relative luminance. */
function luminance(colour: Rgb): number {
  const [r, g, b] = colour.map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  }) as unknown as Rgb;
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a: Rgb, b: Rgb): number {
  const [lower, higher] = [luminance(a), luminance(b)].sort((x, y) => x - y) as [number, number];
  return (higher + 0.05) / (lower + 0.05);
}

const PAIRS = [
  ["ink", "paper"], ["ink", "rail"], ["ink", "hover"], ["ink", "code"], ["ink", "accent-soft"], ["ink", "warn-soft"],
  ["muted", "paper"], ["muted", "rail"], ["muted", "hover"], ["muted", "accent-soft"],
  ["accent", "paper"], ["accent", "rail"], ["accent", "hover"], ["accent", "accent-soft"], ["on-accent", "accent"],
  ["danger", "paper"], ["danger", "rail"], ["danger", "danger-soft"], ["paper", "danger"],
  ["warn", "warn-soft"],
] as const;

describe.each([["light", light], ["dark", dark]] as const)("in %s", (_, palette) => {
  it.each(PAIRS)("%s on %s can be read", (text, ground) => {
    expect(contrast(hex(palette.get(text)), hex(palette.get(ground)))).toBeGreaterThanOrEqual(4.5);
  });

  it("initials on every tint can be read", () => {
    const hues = [...css.matchAll(/--hue: (\d+)/g)].map((match) => Number(match[1]));
    expect(hues).toHaveLength(12);
    const share = (name: string): number => parseFloat(palette.get(name) ?? "") / 100;
    for (const hue of hues) {
      const ratio = contrast(hsl(hue, 0.45, share("tint-dark")), hsl(hue, 0.38, share("tint-light")));
      expect(ratio, `hue ${hue}`).toBeGreaterThanOrEqual(4.5);
    }
  });
});
