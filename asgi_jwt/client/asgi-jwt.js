/**
 * The browser client of AuthApp. The access token is only in memory; all tabs together send one refresh at a time.
 * Types and documentation: asgi-jwt.d.ts. All times are milliseconds.
 */

const MARGIN = 30_000; // before its end a token is renewed
const TIMEOUT = 15_000; // of a request to AuthApp, and of the wait for other tabs
const OUTAGE_TIMEOUT = 30_000; // of a caller while the server is out of reach
const LONGEST_WAIT = 300_000; // between two attempts

export class AuthError extends Error {
  constructor(status, body, retryAfter) {
    super(body?.error_description ?? `The answer was ${status}`);
    Object.assign(this, { name: "AuthError", status, error: body?.error, retryAfter });
  }
}

export function createAuth(options) {
  // A polluted Object.prototype must not add options.
  const given = { __proto__: null, ...options };
  // Kept, because after `window.fetch = auth.fetch` it would call itself.
  const send = globalThis.fetch;
  const origins = new Set([location.origin, ...(given.origins ?? []).map((one) => new URL(one).origin)]);
  const { protocol, origin, pathname } = new URL(given.base ?? "/auth", location.href);
  if (!isOwn({ protocol, origin })) throw new TypeError(`base is on an origin that origins does not list: ${origin}`);
  const root = origin + pathname.replace(/\/+$/, "");

  let onchange = given.onchange;
  let token, life, takenAt, takenTick;
  let session; // undefined until the first refresh, null without a user
  let shown;
  let refused; // the token that a server has refused
  let changes = 0;
  let failures = 0;
  let notBefore = 0;
  let pending, wake;
  let queue = Promise.resolve();

  function isOwn({ protocol, origin }) {
    return /^https?:$/.test(protocol) && origins.has(origin); // a blob: URL has an origin, too
  }

  // Sleep stops `performance.now` in some browsers, and `Date.now` may be set: the larger age counts.
  function age() {
    const passed = Date.now() - takenAt;
    return passed < -1000 ? Infinity : Math.max(passed, performance.now() - takenTick);
  }

  const isUsable = () => token && token !== refused && age() < life;
  const isDue = () => session !== null && !(isUsable() && age() < life - Math.min(MARGIN, life / 4));

  function take(answer, at) {
    const payload = answer.access_token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/");
    const claims = JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(payload), (one) => one.charCodeAt(0))));
    token = answer.access_token;
    life = answer.expires_in * 1000;
    takenAt = at;
    takenTick = performance.now() - Math.max(0, Date.now() - at);
    const scopes = Object.freeze((answer.scope ?? "").split(" ").filter(Boolean));
    change(Object.freeze({ subject: claims.sub, scopes, expiresAt: at + life, claims }));
  }

  function drop() {
    token = undefined;
    change(null);
  }

  function change(to) {
    session = to;
    refused = undefined;
    changes++;
    failures = notBefore = 0;
    wake?.();
    if (shown === to) return;
    shown = to;
    queueMicrotask(() => onchange?.(to));
  }

  // A frame in another site's page gets no cookie, and must get no token: `top.origin` throws there.
  const name = `asgi-jwt ${root}`;
  let channel;
  try {
    channel = (globalThis.top ?? globalThis).origin && new BroadcastChannel(name);
    channel.onmessage = ({ data }) => {
      if (data.answer) take(data.answer, data.at);
      else if (data.wait) notBefore = Math.max(notBefore, performance.now() + data.wait);
      else if (data.over) drop();
    };
  } catch {} // then each tab refreshes by itself, and the server settles their races

  function takeAndShare({ access_token, expires_in, scope }) {
    const message = { answer: { access_token, expires_in, scope }, at: Date.now() };
    take(message.answer, message.at);
    channel?.postMessage(message);
  }

  function dropAndShare() {
    drop();
    channel?.postMessage({ over: true });
  }

  // One login, logout or refresh runs at a time. A caller that waits too long, because a tab hangs, goes ahead.
  async function alone(work) {
    let begun;
    try {
      return await navigator.locks.request(name, { signal: AbortSignal.timeout(TIMEOUT + 5000) }, () => {
        begun = true;
        return work();
      });
    } catch (error) {
      if (begun) throw error;
    }
    return (queue = queue.then(work, work));
  }

  function sendAs(bearer, request) {
    if (bearer) request.headers.set("Authorization", `Bearer ${bearer}`);
    return given.dpop ? given.dpop(request, send) : send(request);
  }

  async function call(path, init, bearer) {
    const request = new Request(root + path, {
      __proto__: null,
      method: "POST",
      credentials: "include",
      cache: "no-store",
      redirect: "error", // a password follows no redirect
      referrer: root + path + "?asgi-jwt", // the path before any proxy
      signal: AbortSignal.timeout(TIMEOUT),
      ...init,
    });
    return read(await sendAs(bearer, request));
  }

  async function read(response) {
    if (response.ok) return response.status === 204 ? null : response.json();
    const after = response.headers.get("Retry-After");
    const seconds = after && (isNaN(after) ? (Date.parse(after) - Date.now()) / 1000 : +after);
    throw new AuthError(response.status, await response.json().catch(() => null), seconds || undefined);
  }

  const isOver = (error) => error.status === 401 && error.error === "invalid_grant";

  // Returns whether no further attempt is due.
  async function attempt() {
    if (!isDue()) return true; // another tab was faster
    if (notBefore > performance.now()) return false;
    const before = changes;
    try {
      const answer = await call("/refresh");
      if (before === changes) takeAndShare(answer);
    } catch (error) {
      if (before !== changes) return true;
      if (isOver(error)) dropAndShare();
      else if (!isUsable() && error.status < 500 && error.status !== 429 && error.status !== 408) throw error;
      else {
        const wait = Math.max(250 * 2 ** Math.min(failures++, 4), (error.retryAfter ?? 0) * 1000);
        const jittered = Math.min(wait, LONGEST_WAIT) * (1 + Math.random() / 2);
        notBefore = performance.now() + jittered;
        channel?.postMessage({ wait: jittered });
        return false;
      }
    }
    return true;
  }

  async function persist() {
    const end = performance.now() + OUTAGE_TIMEOUT;
    while (!(await alone(attempt))) {
      if (isUsable()) return;
      const wait = notBefore - performance.now();
      if (notBefore > end) throw new TypeError("The session's server is out of reach");
      await new Promise((resolve) => {
        wake = resolve;
        setTimeout(resolve, wait);
      });
    }
  }

  const renew = () => (pending ??= persist().finally(() => (pending = undefined)));

  async function fresh() {
    if (isDue()) await renew();
    return session ? [token, session.subject] : [];
  }

  // A request of one user is not sent with the token of another.
  function check(subject, now) {
    if (subject && now && now !== subject) throw new DOMException("Another user has logged in", "AbortError");
  }

  function unlessAborted(signal, promise) {
    return new Promise((resolve, reject) => {
      const abort = () => reject(signal.reason);
      if (signal.aborted) abort();
      signal.addEventListener("abort", abort);
      promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
    });
  }

  // RFC 6750 section 3. Another origin's answer may hide its challenge.
  function wantsNewToken(response) {
    if (response.status !== 401 || (response.redirected && !isOwn(new URL(response.url)))) return false;
    const challenge = response.headers.get("WWW-Authenticate");
    if (challenge === null) return response.type === "cors";
    return /(^|,)\s*(Bearer|DPoP)\b/i.test(challenge) && !/\berror=(?!"?invalid_token\b)/i.test(challenge);
  }

  async function authFetch(input, init) {
    // A Request has the URL as the browser parses it.
    const request = new Request(input, init);
    if (!isOwn(new URL(request.url)) || request.headers.has("Authorization")) return send(request);
    const subject = session?.subject;
    const again = init?.body instanceof ReadableStream ? null : request.clone();
    const [first, sender] = await unlessAborted(request.signal, fresh());
    check(subject, sender);
    if (!first || !session) return send(request);
    const response = await sendAs(first, request);
    if (!wantsNewToken(response)) return response;
    if (token === first) refused = first;
    const [second, owner] = await unlessAborted(request.signal, fresh());
    if (!again || !second || second === first || owner !== sender) return response;
    return sendAs(second, again);
  }

  function leave(path) {
    const subject = session?.subject;
    return alone(async () => {
      check(subject, session?.subject);
      try {
        await call(path, null, isUsable() && token);
      } catch (error) {
        if (isOver(error)) dropAndShare();
        throw error;
      }
      dropAndShare();
    });
  }

  // A page in the back/forward cache missed the messages of other tabs.
  const onpageshow = (event) => event.persisted && auth.refresh().catch(() => {});
  globalThis.addEventListener("pageshow", onpageshow);

  const auth = {
    get session() {
      return session ?? null;
    },
    get onchange() {
      return onchange ?? null;
    },
    set onchange(listener) {
      onchange = listener;
    },
    login: (credentials) =>
      alone(async () => {
        const fields = credentials instanceof FormData ? Object.fromEntries(credentials) : credentials;
        const headers = { "Content-Type": "application/json" };
        takeAndShare(await call("/login", { headers, body: JSON.stringify(fields) }));
        const opened = session;
        await new Promise((done) => setTimeout(done, 100)); // the message is faster than a logout that waits
        return opened;
      }),
    logout: () => leave("/logout"),
    logoutEverywhere: () => leave("/logout-all"),
    fetch: authFetch,
    token: async () => (await fresh())[0] ?? null,
    async refresh() {
      await pending?.catch(() => {}); // it may have been answered too early
      if (session === null) session = undefined; // ask again
      refused = token;
      await renew();
      return auth.session;
    },
    sessions: async () => (await read(await authFetch(`${root}/sessions`, { cache: "no-store" }))).sessions,
    async endSession(sid) {
      if (sid === session?.claims.sid) return leave("/logout");
      await read(await authFetch(`${root}/sessions/${encodeURIComponent(sid)}`, { method: "DELETE" }));
    },
    close() {
      onchange = null;
      channel?.close();
      channel = null;
      globalThis.removeEventListener("pageshow", onpageshow);
      drop();
    },
  };
  auth.ready = renew().then(
    () => auth.session,
    () => null,
  );
  return Object.freeze(auth);
}
