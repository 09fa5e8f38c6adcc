import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { Engine } from "../net/engine";
import { isAway } from "../state/banner";
import { unreadOf } from "../state/select";
import { ConnectionBanner } from "./connection";
import { DispatchContext, useEngine, useSpeech } from "./context";
import { Conversation } from "./conversation";
import { EmptyPane } from "./empty";
import { MembersPanel } from "./members";
import { Rail } from "./rail";
import { LIST_ADDRESS, useRoute } from "./route";

interface Props {
  readonly engine: Engine;
  readonly signOut: () => void;
}

/** The signed-in person's window: rooms at the left, the open one beside, its members when asked for. */
export function Chat({ engine, signOut }: Props): JSX.Element {
  const state = useEngine(engine);
  const route = useRoute();
  const { words } = useSpeech();
  const [membersShown, showMembers] = useState(false);
  const { dispatch } = engine;

  useEffect(() => {
    dispatch({ type: "roomOpened", room: route });
  }, [route, dispatch]);

  const unread = Object.values(state.rooms).reduce((sum, room) => sum + unreadOf(room, state.me.user), 0);
  useEffect(() => {
    document.title = unread > 0 ? `(${unread}) ${words.appName}` : words.appName;
  }, [unread, words]);

  const room = route === null ? null : (state.rooms[route] ?? null);
  return (
    <DispatchContext.Provider value={dispatch}>
      <div class="frame">
        <ConnectionBanner state={state} />
        <div class={`chat${route === null ? " at-list" : " at-room"}${membersShown && room ? " with-members" : ""}`}>
        <Rail state={state} open={route} signOut={signOut} />
        <main class="pane">
          {room !== null && (
            <Conversation
              key={room.id}
              state={state}
              room={room}
              membersShown={membersShown}
              toggleMembers={() => {
                showMembers(!membersShown);
              }}
            />
          )}
          {room === null && <NoRoom state={state} route={route} />}
        </main>
        {room !== null && membersShown && (
          <MembersPanel
            state={state}
            room={room}
            engine={engine}
            close={() => {
              showMembers(false);
            }}
          />
        )}
        </div>
      </div>
    </DispatchContext.Provider>
  );
}

function NoRoom({ state, route }: { readonly state: Engine["state"]; readonly route: string | null }): JSX.Element {
  const { words } = useSpeech();
  if (route === null) return <EmptyPane icon="message" title={words.pickRoom} hint={words.pickRoomHint} />;
  if (state.list !== "ready" && isAway(state)) {
    return <EmptyPane icon="cloudOff" title={words.notKept} hint={words.notKeptHint} />;
  }
  if (state.list !== "ready") return <EmptyPane icon="message" title={words.roomsLoading} hint="" busy />;
  return (
    <EmptyPane icon="lock" title={words.gone} hint={words.goneHint}>
      <a class="primary" href={LIST_ADDRESS}>
        {words.back}
      </a>
    </EmptyPane>
  );
}
