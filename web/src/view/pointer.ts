/** A mouse or the like; without one a focused text field would open a keyboard over what is to be read. */
export function hasPointer(): boolean {
  return matchMedia("(hover: hover)").matches;
}
