import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { clock, fullTime, roleName } from "../i18n/language";
import type { Message, Position } from "../protocol/frames";
import type { Entry, Undone } from "../state/model";
import type { Mark } from "../state/select";
import { Avatar } from "./avatar-view";
import { useSpeech } from "./context";
import { Marks } from "./marks";
import { memo } from "./memo";
import { MessageActions } from "./message-actions";
import { Reactions } from "./reactions";
import { plainLine } from "./rich-text";
import { RichText } from "./rich-text-view";

/** What a person can ask for about a message. */
export interface Wishes {
  readonly reply: (message: Message) => void;
  readonly edit: (message: Message) => void;
  readonly remove: (message: Message) => void;
  readonly react: (message: Message, emoji: string, on: boolean) => void;
  readonly retry: (id: string) => void;
  readonly discard: (id: string, accepted: Undone) => void;
  readonly jump: (at: Position) => void;
  readonly quote: (at: Position) => void;
}

export type Quote = Message | "unknown" | "gone";

interface Props {
  readonly lineKey: string;
  readonly message: Message;
  readonly mark: Mark;
  readonly entry: Entry | null;
  readonly stored: boolean;
  /** First of its author's block: shows who and when. */
  readonly begins: boolean;
  readonly name: string;
  readonly names: Readonly<Record<string, string>>;
  readonly role: string | null;
  readonly mine: boolean;
  readonly me: string;
  readonly mayModerate: boolean;
  readonly closed: boolean;
  readonly offline: boolean;
  /** What waits here does not get on. */
  readonly stuck: boolean;
  readonly quote: Quote | null;
  readonly active: boolean;
  readonly reachable: boolean;
  readonly flashed: boolean;
  readonly edited: boolean;
  readonly activate: (key: string | null) => void;
  readonly wishes: Wishes;
}

export const MessageRow = memo(function MessageRow(props: Props): JSX.Element {
  const { message, begins, mine, activate, lineKey } = props;
  const { words, language } = useSpeech();
  const classes = ["message"];
  if (begins) classes.push("begins");
  if (mine) classes.push("mine");
  if (props.active) classes.push("active");
  if (props.flashed) classes.push("flashed");
  if (props.edited) classes.push("being-edited");
  if (props.mark !== "sent") classes.push(props.mark);
  return (
    <article
      class={classes.join(" ")}
      data-key={lineKey}
      data-mark={props.mark}
      data-stored={props.stored}
      tabIndex={props.reachable ? 0 : -1}
      aria-label={`${props.name}, ${fullTime(language, message.ts)}`}
      onPointerEnter={(event) => {
        if (event.pointerType === "mouse") activate(lineKey);
      }}
      onFocusCapture={() => {
        activate(lineKey);
      }}
      onClick={() => {
        activate(lineKey);
      }}
    >
      {begins ? (
        <Avatar user={message.sender} name={props.name} />
      ) : (
        <time class="side-time" dateTime={new Date(message.ts).toISOString()}>
          {clock(language, message.ts)}
        </time>
      )}
      <div class="body">
        {begins && (
          <p class="byline">
            <span class="name">{props.name}</span>
            {props.role !== null && props.role !== "learner" && <span class="badge">{roleName(words, props.role)}</span>}
            <time dateTime={new Date(message.ts).toISOString()} title={fullTime(language, message.ts)}>
              {clock(language, message.ts)}
            </time>
          </p>
        )}
        {props.quote !== null && message.reply_to && (
          <QuoteLine quote={props.quote} at={message.reply_to} names={props.names} wishes={props.wishes} />
        )}
        <Text message={message} names={props.names} />
        {!message.deleted && <Reactions message={message} me={props.me} names={props.names} disabled={props.closed || !props.stored} react={props.wishes.react} />}
        <Marks mark={props.mark} entry={props.entry} offline={props.offline} stuck={props.stuck} wishes={props.wishes} />
      </div>
      {props.active && props.stored && !message.deleted && !props.closed && (
        <MessageActions
          message={message}
          mine={mine}
          me={props.me}
          mayDelete={mine || props.mayModerate}
          wishes={props.wishes}
        />
      )}
    </article>
  );
});

function Text({ message, names }: { readonly message: Message; readonly names: Props["names"] }): JSX.Element {
  const { words, language } = useSpeech();
  if (message.deleted) {
    const { by } = message.deleted;
    const text = by === message.sender ? words.deletedByAuthor : words.deletedByOther(names[by] || by);
    return <p class="text gone">{text}</p>;
  }
  return (
    <div class="text">
      <RichText text={message.text ?? ""} />
      {message.edited ? (
        <span class="edited" title={fullTime(language, message.edited)}>
          {" "}
          ({words.edited})
        </span>
      ) : null}
    </div>
  );
}

interface QuoteProps {
  readonly quote: Quote;
  readonly at: Position;
  readonly names: Props["names"];
  readonly wishes: Wishes;
}

function QuoteLine({ quote, at, names, wishes }: QuoteProps): JSX.Element {
  const { words } = useSpeech();
  useEffect(() => {
    if (quote === "unknown") wishes.quote(at);
  }, [quote, at, wishes]);
  if (quote === "unknown" || quote === "gone") {
    return <p class="quote muted">{quote === "gone" ? words.quoteGone : words.quoteLoading}</p>;
  }
  const name = names[quote.sender] || quote.sender;
  return (
    <button
      type="button"
      class="quote"
      title={words.jump}
      onClick={(event) => {
        event.stopPropagation();
        wishes.jump(at);
      }}
    >
      <span class="hidden">{words.saying(words.inReplyTo(name), "")}</span>
      <span class="quote-name" aria-hidden="true">
        {name}
      </span>
      <span class="quote-text">{quote.deleted ? words.deletedByAuthor : plainLine(quote.text ?? "")}</span>
    </button>
  );
}
