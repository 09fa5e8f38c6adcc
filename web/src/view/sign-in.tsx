import type { JSX } from "preact";
import { useCallback, useEffect, useState } from "preact/hooks";
import { roleName } from "../i18n/language";
import type { LeaveReason } from "../net/engine";
import type { Credentials, DemoUser } from "../net/http";
import { demoToken, demoUsers, HttpFailure } from "../net/http";
import { Avatar } from "./avatar-view";
import { useSpeech } from "./context";
import { LanguageChoice } from "./language-choice";

interface Props {
  readonly because: LeaveReason | null;
  readonly signIn: (credentials: Credentials) => void;
}

type People = readonly DemoUser[] | "loading" | "failed" | "none";

export function SignIn({ because, signIn }: Props): JSX.Element {
  const { words } = useSpeech();
  const [people, setPeople] = useState<People>("loading");
  const [chosen, setChosen] = useState<string | null>(null);
  const [failed, setFailed] = useState(false);

  const load = useCallback(async () => {
    setPeople("loading");
    try {
      setPeople(await demoUsers());
    } catch (error) {
      if (!(error instanceof HttpFailure)) throw error;
      setPeople(error.refused ? "none" : "failed");
    }
  }, []);
  useEffect(() => void load(), [load]);
  useEffect(() => {
    document.title = words.appName;
  }, [words]);

  const choose = async (user: string): Promise<void> => {
    setChosen(user);
    setFailed(false);
    try {
      signIn(await demoToken(user));
    } catch (error) {
      if (!(error instanceof HttpFailure)) throw error;
      setChosen(null);
      setFailed(true);
    }
  };

  return (
    <main class="sign-in">
      <div class="sign-in-card">
        <header>
          <p class="brand">{words.appName}</p>
          <LanguageChoice />
        </header>
        <h1>{words.signInTitle}</h1>
        {because !== null && (
          <p class="notice" role="alert">
            {because === "revoked" ? words.revoked : words.tokenRefused}
          </p>
        )}
        {failed && (
          <p class="notice" role="alert">
            {words.signInFailed}
          </p>
        )}
        <Choices people={people} chosen={chosen} choose={choose} load={load} />
      </div>
    </main>
  );
}

interface ChoicesProps {
  readonly people: People;
  readonly chosen: string | null;
  readonly choose: (user: string) => Promise<void>;
  readonly load: () => Promise<void>;
}

function Choices({ people, chosen, choose, load }: ChoicesProps): JSX.Element {
  const { words } = useSpeech();
  if (people === "loading") return <p class="muted" role="status">{words.usersLoading}</p>;
  if (people === "none") return <p class="muted">{words.noDemo}</p>;
  if (people === "failed") {
    return (
      <div class="problem" role="alert">
        <p>{words.usersFailed}</p>
        <button type="button" class="primary" onClick={() => void load()}>
          {words.retry}
        </button>
      </div>
    );
  }
  return (
    <>
      <p class="muted">{words.signInHint}</p>
      <ul class="people">
        {people.map(({ user, name, role }) => (
          <li key={user}>
            <button type="button" disabled={chosen !== null} onClick={() => void choose(user)} data-user={user}>
              <Avatar user={user} name={name} />
              <span class="name">{name}</span>
              <span class="badge">{chosen === user ? words.signingIn : roleName(words, role)}</span>
            </button>
          </li>
        ))}
      </ul>
    </>
  );
}
