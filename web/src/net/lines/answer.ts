/** What an HTTP answer that is no success says, and requests with a token. */

import type { Refusal } from "../../protocol/frames";
import type { End } from "../../state/ladder";

/** The end of a line that this answer stands for; reads the body. */
export async function endOf(response: Response): Promise<End> {
  const named = retryAfter(response.headers.get("Retry-After")) ?? retryAfter(await toldBy(response));
  return { status: response.status, ...(named === null ? {} : { retryAfter: named }) };
}

/** What is told to those whose request ended so: to be asked again. */
export function refusalFor({ status, retryAfter: wait }: End): Omit<Refusal, "type" | "id"> {
  const code = status === 429 ? "rate_limited" : "unavailable";
  const again = wait === undefined ? {} : { retry_after: wait / 1000 };
  return { code, message: "the request was not answered", retryable: true, ...again };
}

function retryAfter(seconds: unknown): number | null {
  const number = typeof seconds === "string" ? Number(seconds) : seconds;
  return typeof number === "number" && Number.isFinite(number) && number >= 0 ? number * 1000 : null;
}

async function toldBy(response: Response): Promise<unknown> {
  try {
    const body = (await response.json()) as { readonly error?: { readonly retry_after?: unknown } } | null;
    return body?.error?.retry_after ?? null;
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof DOMException || error instanceof TypeError) return null;
    throw error;
  }
}

/** Null where no answer came: the network, the deadline, or `signal`. */
export async function ask(path: string, token: string, init: RequestInit): Promise<Response | null> {
  try {
    return await fetch(path, {
      cache: "no-store",
      // The front door leads by a cookie to the node that already serves this window.
      credentials: "same-origin",
      ...init,
      headers: { ...(init.headers as Record<string, string>), Authorization: `Bearer ${token}` },
    });
  } catch (error) {
    if (error instanceof TypeError || error instanceof DOMException) return null;
    throw error;
  }
}

/** The answer's JSON; null where it was cut off or is none. */
export async function jsonOf(response: Response): Promise<unknown> {
  try {
    return await response.json();
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof DOMException || error instanceof TypeError) return null;
    throw error;
  }
}

export function posted(body: unknown, signal: AbortSignal): RequestInit {
  return { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" }, signal };
}
