import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { transportOf } from "../state/ladder";
import type { Connection } from "../state/model";
import { useDispatch, useSpeech } from "./context";
import type { Dictionary } from "../i18n/dictionary";

function label(words: Dictionary, connection: Connection): string {
  switch (connection.phase) {
    case "connected":
      return words.connected;
    case "idle":
    case "connecting":
      return words.connecting;
    case "waiting":
      return words.offline;
    case "stopped":
      return words.stopped;
  }
}

/** Always in view: whether what one writes now leaves now. */
export function ConnectionState({ connection }: { readonly connection: Connection }): JSX.Element {
  const { words } = useSpeech();
  const node = connection.phase === "connected" ? words.servedBy(connection.node) : undefined;
  return (
    <p class={`connection ${connection.phase}`} role="status" title={node} data-phase={connection.phase} data-node={connection.node} data-transport={transportOf(connection.ladder)}>
      <span class="dot" aria-hidden="true" />
      <span class="label">{label(words, connection)}</span>
    </p>
  );
}

function useSecondsUntil(time: number): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    setNow(Date.now());
    const timer = setInterval(() => {
      setNow(Date.now());
    }, 500);
    return () => {
      clearInterval(timer);
    };
  }, [time]);
  return Math.max(0, Math.ceil((time - now) / 1000));
}

/** What to know and what to do while there is no connection. */
export function ConnectionBanner({ connection }: { readonly connection: Connection }): JSX.Element | null {
  const shown = connection.phase === "waiting" || connection.phase === "stopped" || connection.attempt > 1;
  if (!shown || connection.phase === "connected") return null;
  return <Banner connection={connection} />;
}

function Banner({ connection }: { readonly connection: Connection }): JSX.Element {
  const { words } = useSpeech();
  const dispatch = useDispatch();
  const seconds = useSecondsUntil(connection.retryAt);
  const waits = connection.phase === "waiting";
  return (
    <div class="offline-banner">
      <p>
        <strong>{label(words, connection)}</strong>
        {waits && <span class="countdown"> · {words.retryIn(seconds)}</span>}
        <span class="hint">{words.offlineHint}</span>
      </p>
      {connection.phase !== "connecting" && (
        <button
          type="button"
          onClick={() => {
            dispatch({ type: "connectNow" });
          }}
        >
          {words.tryNow}
        </button>
      )}
    </div>
  );
}
