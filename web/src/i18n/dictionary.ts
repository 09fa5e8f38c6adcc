/** Every word that the client says; one value of this type per language. */

import type { ErrorCode } from "../protocol/codes";
import type { Banner } from "../state/banner";
import type { Undone } from "../state/model";

type Words =
  | "appName" | "language"
  | "signInTitle" | "signInHint" | "signingIn" | "signInFailed" | "usersLoading" | "usersFailed" | "noDemo"
  | "revoked" | "tokenRefused" | "signOut"
  | "roleLearner" | "roleTrainer" | "roleModerator"
  | "connected" | "connecting" | "offline" | "stopped" | "tryNow" | "dismiss" | "notKept" | "notKeptHint" | "notKeptShort"
  | "rooms" | "roomsLoading" | "roomsFailed" | "noRooms" | "courses" | "directs" | "you" | "online" | "away"
  | "back" | "showMembers" | "hideMembers" | "members" | "membersLoading" | "membersLater" | "stranded" | "strandedHint" | "maybeThere" | "directFailed"
  | "pickRoom" | "pickRoomHint" | "gone" | "goneHint" | "emptyRoom" | "emptyRoomHint" | "timelineLoading"
  | "historyLoading" | "historyLater" | "historyFailed" | "historyStart" | "today" | "yesterday" | "newMessages" | "toBottom"
  | "edited" | "deletedByAuthor" | "quoteLoading" | "quoteGone" | "jump"
  | "pending" | "queued" | "keeping" | "maybeSent" | "sendNoMore" | "retrying" | "sent" | "readByPeer"
  | "failedSend" | "failedEdit" | "failedDelete" | "failedReact" | "retry" | "discard" | "remove" | "cancel"
  | "actions" | "react" | "reply" | "edit" | "confirmDelete"
  | "composeHint" | "send" | "save" | "editing" | "roomClosed";

type Counted = "retryIn" | "unread" | "onlineCount" | "readBy" | "tooLong" | "leavesUnsent";
type Named = "servedBy" | "writeTo" | "timeline" | "joined" | "left" | "deletedByOther" | "inReplyTo" | "compose" | "replyingTo";

export type Dictionary = Readonly<Record<Words, string>> &
  Readonly<Record<Counted, (n: number) => string>> &
  Readonly<Record<Named, (name: string) => string>> & {
    /** Who says what, or what happened and why. */
    readonly saying: (first: string, second: string) => string;
    readonly roleIs: (name: string, role: string) => string;
    readonly reactionBy: (emoji: string, names: string) => string;
    readonly typing: (names: readonly string[]) => string;
    /** What is the matter with the connection, and what that means. */
    readonly banner: Readonly<Record<Banner, string>>;
    readonly bannerHint: Readonly<Record<Banner, string>>;
    /** What became of what was thrown away before it was known to be stored. */
    readonly undone: Readonly<Record<"message" | "change", Readonly<Record<Undone, string>>>>;
    /** Completes "… because", one per error code. */
    readonly because: Readonly<Record<ErrorCode, string>>;
  };
