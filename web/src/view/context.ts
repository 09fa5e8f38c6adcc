import { createContext } from "preact";
import { useContext, useLayoutEffect, useState } from "preact/hooks";
import type { Dictionary } from "../i18n/dictionary";
import { fr } from "../i18n/fr";
import type { Language } from "../i18n/language";
import type { Engine } from "../net/engine";
import type { Action } from "../state/actions";
import type { State } from "../state/model";

export interface Speech {
  readonly language: Language;
  readonly words: Dictionary;
  readonly choose: (language: Language) => void;
}

export const SpeechContext = createContext<Speech>({ language: "fr", words: fr, choose: () => undefined });

export function useSpeech(): Speech {
  return useContext(SpeechContext);
}

export type Dispatch = (action: Action) => void;

export const DispatchContext = createContext<Dispatch>(() => undefined);

export function useDispatch(): Dispatch {
  return useContext(DispatchContext);
}

/** The engine's state, now and whenever it changes. */
export function useEngine(engine: Engine): State {
  const [state, setState] = useState(engine.state);
  useLayoutEffect(() => {
    const update = (): void => {
      setState(engine.state);
    };
    update();
    return engine.subscribe(update);
  }, [engine]);
  return state;
}
