/** The browser's side of AuthApp, as an ES module without dependencies. */

export interface AuthOptions {
  /**
   * Where `AuthApp` is mounted: a path, or a URL whose origin is the page's or in `origins`. Default: `/auth`.
   * `TypeError` for another one.
   */
  base?: string;
  /** Origins besides the page's own that `fetch` sends the access token to: `["https://api.example.com"]`. */
  origins?: readonly string[];
  /** As the property of the same name. */
  onchange?: OnChange | null;
}

/** Who is logged in. Frozen; every new access token brings a new one. */
export interface Session {
  /** The user: the token's `sub`. */
  readonly subject: string;
  readonly scopes: readonly string[];
  /** When the access token expires, in milliseconds since the epoch by this device's clock. The session lives on. */
  readonly expiresAt: number;
  /** The claims of the access token, to show and not to trust: only the server verifies. */
  readonly claims: Readonly<Record<string, unknown>>;
}

export type OnChange = (session: Session | null) => void;

/** One of the user's logins, as `GET /sessions` tells of it. Times are seconds since the epoch. */
export interface Device {
  readonly sid: string;
  readonly client: { readonly user_agent: string | null; readonly address: string | null };
  readonly created_at: number;
  readonly used_at: number;
  /** Whether it is the login of this page. */
  readonly current: boolean;
}

/** What a route of `AuthApp` answered that was no success. */
export class AuthError extends Error {
  constructor(status: number, body?: { error?: string; error_description?: string } | null, retryAfter?: number);
  readonly name: "AuthError";
  readonly status: number;
  /** The answer's `error`: `invalid_grant` for wrong credentials or a session that is over. */
  readonly error?: string;
  /** The answer's `Retry-After`, in seconds. */
  readonly retryAfter?: number;
}

export interface Auth {
  /** Who is logged in; null for nobody, and until `ready`. */
  readonly session: Session | null;

  /**
   * Called when `session` has changed: once it is known, at a login and a logout in this tab or another, and with
   * every new access token. Compare the `subject` to tell them apart.
   */
  onchange: OnChange | null;

  /**
   * Settled, and never rejected, when the cookie has been tried: with who is logged in, null for nobody, and null as
   * well where the server is out of reach, in which case the next `fetch` tries again.
   */
  readonly ready: Promise<Session | null>;

  /** Logs in with what your `authenticate` reads. Rejects with an `AuthError` (401, 429), or as `fetch` does. */
  login(credentials: FormData | Readonly<Record<string, unknown>>): Promise<Session>;

  /**
   * Ends the session, here, in the other tabs and at the server. Rejects when the server could not be told: then the
   * session is still there, for the cookie would bring it back; and with an `AbortError` when another user has logged
   * in before it was sent, who stays.
   */
  logout(): Promise<void>;

  /** Ends all sessions of the user, on all devices. Rejects as `logout` does. */
  logoutEverywhere(): Promise<void>;

  /**
   * `fetch`, with the access token: for requests to the page's origin and to `origins`, unless they have an
   * `Authorization` of their own. A token that is about to expire is renewed first; after a 401 that asks for another
   * one the request is sent once more, unless its body was a stream, or another user has logged in meanwhile.
   *
   * Rejects as `fetch` does, also after half a minute in which an expired token could not be renewed because the
   * server is out of reach; with an `AbortError` when another user has logged in before the request was sent; and with
   * an `AuthError` when `AuthApp` refuses to renew an expired one for what is no end of the session, as with 403.
   */
  fetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response>;

  /** The access token, renewed when it is about to expire; null for nobody. For what is no `fetch`: a WebSocket. */
  token(): Promise<string | null>;

  /** Has the access token renewed in any case: after the user's rights have changed, or to see if they still exist. */
  refresh(): Promise<Session | null>;

  /** The user's logins, oldest first. Rejects with an `AuthError`, or as `fetch` does. */
  sessions(): Promise<Device[]>;

  /** Ends one of them; that of this page as `logout` does. */
  endSession(sid: string): Promise<void>;

  /** Lets go of the token and of the other tabs; logs nobody out. */
  close(): void;
}

/** One for each page and `AuthApp`, when the module is loaded: it asks at once who is logged in. */
export function createAuth(options?: AuthOptions): Auth;
