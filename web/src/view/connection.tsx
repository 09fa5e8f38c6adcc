import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { Dictionary } from "../i18n/dictionary";
import type { Banner } from "../state/banner";
import { bannerOf, mayInsist } from "../state/banner";
import { transportOf } from "../state/ladder";
import type { Connection, State } from "../state/model";
import { useDispatch, useSpeech } from "./context";
import type { IconName } from "./icons";
import { Icon } from "./icons";

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
    <p
      class={`connection ${connection.phase}`}
      title={node}
      data-phase={connection.phase}
      data-node={connection.node}
      data-transport={transportOf(connection.ladder)}
    >
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

const ICONS: Readonly<Record<Banner, IconName>> = {
  offline: "cloudOff",
  waiting: "cloudOff",
  connecting: "clock",
  stopped: "cloudOff",
  delayed: "clock",
  partial: "alert",
  slow: "route",
};

/** What is the matter and what it means for the person; announced when it begins, when it changes and when it is over. */
export function ConnectionBanner({ state }: { readonly state: State }): JSX.Element {
  const { words } = useSpeech();
  const dispatch = useDispatch();
  const banner = bannerOf(state);
  const [dismissed, dismiss] = useState(false);
  useEffect(() => {
    if (banner !== "slow" && banner !== null) dismiss(false);
  }, [banner]);
  const shown = banner === "slow" && dismissed ? null : banner;
  return (
    <div class={shown === null ? "hidden" : `banner ${shown}`} data-banner={shown ?? undefined}>
      <Icon name={ICONS[shown ?? "slow"]} />
      <p role="status">
        {shown === null ? (
          label(words, state.connection)
        ) : (
          <>
            <strong>{words.banner[shown]}</strong> <span class="hint">{words.bannerHint[shown]}</span>
          </>
        )}
      </p>
      {shown === "waiting" && <Countdown until={state.connection.retryAt} />}
      {shown !== null && mayInsist(state) && (
        <button
          type="button"
          onClick={() => {
            dispatch({ type: "connectNow" });
          }}
        >
          {words.tryNow}
        </button>
      )}
      {shown === "slow" && (
        <button
          type="button"
          class="icon-button"
          aria-label={words.dismiss}
          title={words.dismiss}
          onClick={() => {
            dismiss(true);
          }}
        >
          <Icon name="close" />
        </button>
      )}
    </div>
  );
}

/** Seconds go by in silence: read aloud they would drown everything else. */
function Countdown({ until }: { readonly until: number }): JSX.Element {
  const { words } = useSpeech();
  return (
    <span class="countdown" aria-hidden="true">
      {words.retryIn(useSecondsUntil(until))}
    </span>
  );
}
