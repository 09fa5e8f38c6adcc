import type { JSX } from "preact";
import { useCallback, useEffect, useLayoutEffect, useMemo, useState } from "preact/hooks";
import type { Language } from "../i18n/language";
import { DICTIONARIES } from "../i18n/language";
import type { LeaveReason, World } from "../net/engine";
import { Engine } from "../net/engine";
import type { Credentials } from "../net/http";
import { demoToken } from "../net/http";
import { openCopies } from "../net/copy-store";
import { ListStore } from "../net/list-store";
import { openOutbox } from "../net/outbox-store";
import { chooseLanguage, chosenLanguage, savedCredentials, saveCredentials } from "../net/session";
import { ofBrowser } from "../net/storage";
import { BrowserWindows } from "../net/windows";
import { Chat } from "./chat";
import { SpeechContext } from "./context";
import { SignIn } from "./sign-in";

/** Either somebody is signed in in this window, or they are asked who they are. */
export function App(): JSX.Element {
  const [language, setLanguage] = useState<Language>(chosenLanguage);
  const [credentials, setCredentials] = useState<Credentials | null>(savedCredentials);
  const [because, setBecause] = useState<LeaveReason | null>(null);

  const choose = useCallback((chosen: Language) => {
    chooseLanguage(chosen);
    setLanguage(chosen);
  }, []);
  const speech = useMemo(() => ({ language, words: DICTIONARIES[language], choose }), [language, choose]);

  useLayoutEffect(() => {
    document.documentElement.lang = language;
  }, [language]);

  const signIn = useCallback((fresh: Credentials) => {
    saveCredentials(fresh);
    setBecause(null);
    setCredentials(fresh);
  }, []);
  const leave = useCallback((reason: LeaveReason | null) => {
    const user = savedCredentials()?.user;
    // What is kept on this device to be read stays only as long as its reader.
    if (user !== undefined) {
      new ListStore(ofBrowser, user).wipe();
      void openCopies(user).then((copies) => copies.wipe());
    }
    saveCredentials(null);
    location.hash = "";
    setBecause(reason);
    setCredentials(null);
  }, []);

  return (
    <SpeechContext.Provider value={speech}>
      {credentials === null ? (
        <SignIn because={because} signIn={signIn} />
      ) : (
        <SignedIn key={credentials.user} credentials={credentials} leave={leave} />
      )}
    </SpeechContext.Provider>
  );
}

interface SignedInProps {
  readonly credentials: Credentials;
  readonly leave: (because: LeaveReason | null) => void;
}

function SignedIn({ credentials, leave }: SignedInProps): JSX.Element | null {
  const [engine, setEngine] = useState<Engine | null>(null);

  useEffect(() => {
    const { user } = credentials;
    let made: Engine | null = null;
    let gone = false;
    const begin = async (): Promise<void> => {
      const [outbox, copies] = await Promise.all([openOutbox(user), openCopies(user)]);
      if (gone) return;
      const windows: World["windows"] = (hear) => new BrowserWindows(user, hear);
      const list = new ListStore(ofBrowser, user);
      made = new Engine(credentials, { outbox, copies, list, windows, renew, left: leave });
      setEngine(made);
      await made.start();
    };
    void begin();
    return () => {
      gone = true;
      made?.stop();
    };
    // One engine per person and window: a renewed token does not make another.
  }, [credentials.user]);

  return engine === null ? null : <Chat engine={engine} signOut={() => { leave(null); }} />;
}

async function renew(user: string): Promise<Credentials> {
  const fresh = await demoToken(user);
  saveCredentials(fresh);
  return fresh;
}
