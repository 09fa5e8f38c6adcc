/** One way to a node, whatever carries it: frames go out and come in, and it ends once. What that means is decided elsewhere. */

import type { ServerFrame } from "../../protocol/events";
import type { CommandFrame } from "../../protocol/frames";
import type { End } from "../../state/ladder";

export interface Ears {
  /** Frames may be sent now, `connect` first. */
  readonly opened: () => void;
  readonly frame: (frame: ServerFrame) => void;
  /** It has ended by itself; nothing is heard afterwards. */
  readonly closed: (end: End) => void;
}

export interface Line {
  readonly send: (frame: CommandFrame) => void;
  /** After this nothing is heard from the line any more. */
  readonly close: () => void;
}
