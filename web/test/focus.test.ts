import { expect, it } from "vitest";
import { lineAfter } from "../src/view/focus";

it.each([
  ["stays on a line that is still there", ["a", "b", "c"], ["a", "b", "c"], "b", "b"],
  ["goes to the next line", ["a", "b", "c"], ["a", "c"], "b", "c"],
  ["goes past others that are gone", ["a", "b", "c", "d"], ["a", "d"], "b", "d"],
  ["goes nowhere from the last line", ["a", "b"], ["a"], "b", null],
  ["goes to a line that came behind meanwhile only where it was known", ["a", "b"], ["a", "x"], "b", null],
])("the focus of a line %s", (_, before, now, key, next) => {
  expect(lineAfter(before, new Set(now), key)).toBe(next);
});
