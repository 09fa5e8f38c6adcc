import type { JSX } from "preact";
import type { Language } from "../i18n/language";
import { LANGUAGE_NAMES } from "../i18n/language";
import { useSpeech } from "./context";

const LANGUAGES: readonly Language[] = ["fr", "en"];

export function LanguageChoice(): JSX.Element {
  const { words, language, choose } = useSpeech();
  return (
    <div class="languages" role="group" aria-label={words.language}>
      {LANGUAGES.map((each) => (
        <button
          key={each}
          type="button"
          lang={each}
          aria-pressed={each === language}
          aria-label={LANGUAGE_NAMES[each]}
          title={LANGUAGE_NAMES[each]}
          onClick={() => {
            choose(each);
          }}
        >
          {each.toUpperCase()}
        </button>
      ))}
    </div>
  );
}
