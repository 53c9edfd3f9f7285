/** The browser client of AuthApp: an ES module without dependencies. */

export interface AuthOptions {
  /**
   * Where `AuthApp` is mounted: a path, or a URL whose origin is the page's or in `origins`. Default: `/auth`.
   * `createAuth` throws a `TypeError` for a URL of another origin.
   */
  base?: string;
  /** Further origins to which `fetch` sends the access token: `["https://api.example.com"]`. */
  origins?: readonly string[];
  /** See `Auth.onchange`. */
  onchange?: OnChange | null;
  /** Binds sessions to a key of this browser: `import { dpop } from "/auth/asgi-jwt-dpop.js"`. */
  dpop?: (request: Request, send: typeof fetch) => Promise<Response>;
}

/** The logged-in user, by the present access token. It is frozen: every new access token makes a new object. */
export interface Session {
  /** The user: the token's `sub`. */
  readonly subject: string;
  readonly scopes: readonly string[];
  /** When the access token expires, in milliseconds since the epoch, by this device's clock. The session goes on. */
  readonly expiresAt: number;
  /** The claims of the access token. They may be shown, but not trusted: only the server verifies them. */
  readonly claims: Readonly<Record<string, unknown>>;
}

export type OnChange = (session: Session | null) => void;

/** One of the user's sessions, as `GET /sessions` lists it. Times are seconds since the epoch. */
export interface Device {
  readonly sid: string;
  readonly client: { readonly user_agent: string | null; readonly address: string | null };
  readonly created_at: number;
  readonly used_at: number;
  /** Whether it is the session of this page. */
  readonly current: boolean;
}

/** An answer of `AuthApp` that is no success. */
export class AuthError extends Error {
  constructor(status: number, body?: { error?: string; error_description?: string } | null, retryAfter?: number);
  readonly name: "AuthError";
  readonly status: number;
  /** The answer's `error`: `invalid_grant` for wrong credentials, or if the session is over. */
  readonly error?: string;
  /** The answer's `Retry-After`, in seconds. */
  readonly retryAfter?: number;
}

export interface Auth {
  /** The logged-in user. Null: there is none, or `ready` is still pending. */
  readonly session: Session | null;

  /**
   * Called when `session` has changed: when it is known for the first time, after a login or logout in this tab or
   * another, and for every new access token. Compare the `subject` to see whether the user has changed.
   */
  onchange: OnChange | null;

  /**
   * Resolves with the session after the first refresh with the cookie; null if there is no user. It never rejects: if
   * the server is out of reach, it resolves with null, and the next `fetch` tries again.
   */
  readonly ready: Promise<Session | null>;

  /** Logs in with the fields that your `authenticate` reads. Rejects with an `AuthError` (401, 429), or like `fetch`. */
  login(credentials: FormData | Readonly<Record<string, unknown>>): Promise<Session>;

  /**
   * Ends the session at the server and in all tabs. Rejects if the server can't be reached: the session then goes on,
   * because the cookie would restore it. Rejects with an `AbortError` if another user has logged in before the request
   * was sent; that user stays logged in.
   */
  logout(): Promise<void>;

  /** Ends all sessions of the user, on all devices. Rejects like `logout`. */
  logoutEverywhere(): Promise<void>;

  /**
   * `fetch` with the access token, for requests to the page's origin and to `origins`. A request with an
   * `Authorization` header of its own is sent unchanged. A token that is about to expire is renewed first. After a 401
   * that asks for a new token the request is sent once more, unless its body was a stream, or another user has logged
   * in meanwhile.
   *
   * Rejects like the browser's `fetch`, also if the server is out of reach and an expired token could not be renewed
   * for half a minute. Rejects with an `AbortError` if another user has logged in before the request was sent. Rejects
   * with an `AuthError` if `AuthApp` refuses to renew an expired token although the session goes on, as with 403.
   */
  fetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response>;

  /** The access token, renewed if it is about to expire; null without a user. It is for WebSockets and the like. */
  token(): Promise<string | null>;

  /** Renews the access token, even if it is fresh: after the user's rights have changed, or to test the session. */
  refresh(): Promise<Session | null>;

  /** The user's sessions, the oldest first. Rejects with an `AuthError`, or like `fetch`. */
  sessions(): Promise<Device[]>;

  /** Ends one of the user's sessions. The session of this page ends as with `logout`. */
  endSession(sid: string): Promise<void>;

  /** Drops the token and the connection to other tabs. The session goes on. */
  close(): void;
}

/** Makes the client, once for each page and `AuthApp`. It asks the server at once for the session. */
export function createAuth(options?: AuthOptions): Auth;
