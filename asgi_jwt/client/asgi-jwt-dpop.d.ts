/** DPoP (RFC 9449) for the browser client: an ES module without dependencies. */

import type { Auth } from "./asgi-jwt.js";

/**
 * The option `dpop` of `createAuth`: `createAuth({ dpop })`. Every page of the origin that uses the session needs it.
 *
 * A login is bound to a key of this browser. No script can read the key; the tabs share it in IndexedDB, and a logout
 * deletes it. A browser that keeps no key, because IndexedDB or `crypto.subtle` is missing, logs in without one: the
 * session is then not bound, and `DPOP=required` refuses the login with an `AuthError` `invalid_dpop_proof`.
 * `session.claims.cnf` is there if the session is bound. A browser that has lost the key of its session has no session.
 *
 * A device's wrong clock is corrected by the `Date` of AuthApp's answer.
 */
export function dpop(request: Request, send: typeof fetch): Promise<Response>;

/**
 * The subprotocols of a WebSocket: `new WebSocket(url, await subprotocols(auth, url))`. They are `dpop`, the access
 * token and its proof for a bound session, else `bearer` and the access token. Empty without a user. They serve one
 * connection.
 */
export function subprotocols(auth: Auth, url: string | URL): Promise<string[]>;
