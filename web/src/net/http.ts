/** The node's HTTP interface, as far as this client needs it. Same origin, JSON, every call with a deadline. */

import type { ListedRoom } from "../state/actions";
import type { Member } from "../state/model";

const DEADLINE_MS = 10_000;

/** A request came to nothing: `status` 0 when no answer came, else what the node answered. */
export class HttpFailure extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }

  /** Asking again as it is will be refused again. */
  get refused(): boolean {
    return this.status >= 400 && this.status < 500 && this.status !== 408 && this.status !== 429;
  }
}

export interface DemoUser {
  readonly user: string;
  readonly name: string;
  readonly role: string;
}

export interface Credentials {
  readonly token: string;
  readonly user: string;
  readonly name: string;
  readonly expires_at: number;
}

export async function demoUsers(): Promise<readonly DemoUser[]> {
  const answer = await request<{ readonly users: readonly DemoUser[] }>("GET", "/v1/demo/users");
  return answer.users;
}

export function demoToken(user: string): Promise<Credentials> {
  return request("POST", "/v1/demo/token", { body: { user } });
}

export async function listRooms(token: string): Promise<readonly ListedRoom[]> {
  const answer = await request<{ readonly rooms: readonly ListedRoom[] }>("GET", "/v1/rooms", { token });
  return answer.rooms;
}

export async function listMembers(token: string, room: string): Promise<readonly Member[]> {
  const path = `/v1/rooms/${encodeURIComponent(room)}`;
  const answer = await request<{ readonly members: readonly Member[] }>("GET", path, { token });
  return answer.members;
}

/** The room of this person and `user`, made where there was none. */
export async function openDirect(token: string, user: string): Promise<string> {
  const answer = await request<{ readonly room: string }>("POST", "/v1/direct", { token, body: { user } });
  return answer.room;
}

interface Options {
  readonly token?: string;
  readonly body?: unknown;
}

async function request<T>(method: string, path: string, options: Options = {}): Promise<T> {
  const headers: Record<string, string> = { Accept: "application/json" };
  if (options.token !== undefined) headers["Authorization"] = `Bearer ${options.token}`;
  if (options.body !== undefined) headers["Content-Type"] = "application/json";
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      headers,
      cache: "no-store",
      // The front door leads by a cookie to the node that already serves this window.
      credentials: "same-origin",
      signal: AbortSignal.timeout(DEADLINE_MS),
      ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }),
    });
  } catch (error) {
    throw new HttpFailure(0, "unavailable", `${method} ${path}: ${error instanceof Error ? error.message : "no answer"}`);
  }
  if (!response.ok) throw new HttpFailure(response.status, await codeOf(response), `${method} ${path}: ${response.status}`);
  try {
    return (await response.json()) as T;
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof DOMException) {
      throw new HttpFailure(0, "unavailable", `${method} ${path}: the answer was cut off or is no JSON`);
    }
    throw error;
  }
}

async function codeOf(response: Response): Promise<string> {
  try {
    const body = (await response.json()) as { readonly error?: { readonly code?: string } };
    return body.error?.code ?? "internal";
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof DOMException) return "internal";
    throw error;
  }
}
