// A page of http://site.example in this process: a clock to turn, a server, Web Locks and channels between its tabs.
import { readFileSync } from "node:fs";

const source = readFileSync(new URL("../../asgi_jwt/client/asgi-jwt.js", import.meta.url), "utf8");
export const { createAuth, AuthError } = await import(`data:text/javascript,${encodeURIComponent(source)}`);
export const SECOND = 1000;
export const LIFE = 900 * SECOND;

const { Request: RealRequest } = globalThis;
const at = { now: 1_800_000_000_000, tick: 5000 };
let timers = [];
let channels = new Set();
let listeners = [];
let locks = [];

const turn = () => new Promise((next) => setImmediate(next));

class PageRequest extends RealRequest {
  constructor(input, init) {
    super(input instanceof RealRequest ? input : new URL(input, location), init);
  }
}

class Channel {
  constructor(name) {
    this.name = name;
    channels.add(this);
  }
  postMessage(data) {
    heard.push(data);
    for (const other of channels)
      if (other !== this && other.name === this.name) setImmediate(() => other.onmessage?.({ data }));
  }
  close() {
    channels.delete(this);
  }
}

const navigatorLocks = {
  async request(name, { signal }, work) {
    const before = locks.at(-1);
    let release;
    locks.push(new Promise((free) => (release = free)));
    try {
      if (before) await Promise.race([before, new Promise((_, reject) => (signal.onabort = () => reject(signal.reason)))]);
      await turn(); // the browser hands it on later than what was said before
      return await work();
    } finally {
      release();
    }
  },
};

/** What was said on channels. */
export let heard = [];
/** What was asked: `{path, method, headers, body}`. */
export let seen = [];
/** What the next refreshes are answered, as functions, in place of the server's own answer. */
export let answers = [];
/** The server: whose session the cookie is of, and the tokens and users that the API refuses. */
export const server = {};

export function reset({ withLocks = true, withChannels = true } = {}) {
  Object.assign(at, { now: 1_800_000_000_000, tick: 5000 });
  [timers, listeners, locks, heard, seen, answers] = [[], [], [], [], [], []];
  channels = new Set();
  Object.assign(server, { user: null, number: 0, life: LIFE, refused: new Set(), held: null });
  Object.assign(globalThis, { fetch: serve, Request: PageRequest, origin: "http://site.example" });
  globalThis.location = new URL("http://site.example/page");
  globalThis.BroadcastChannel = withChannels ? Channel : undefined;
  globalThis.addEventListener = (name, listener) => listeners.push(listener);
  globalThis.removeEventListener = (name, listener) => (listeners = listeners.filter((one) => one !== listener));
  Object.defineProperty(globalThis, "navigator", { value: withLocks ? { locks: navigatorLocks } : {}, configurable: true });
  Object.defineProperty(performance, "now", { value: () => at.tick, configurable: true });
  Date.now = () => at.now;
  globalThis.setTimeout = (work, wait = 0) => timers.push({ due: at.tick + wait, work });
}

export const now = () => at.now;

/** Until nothing is under way any more. */
export async function settle() {
  for (let turns = 0; turns < 30; turns++) await turn();
}

/** So many milliseconds pass: for the device's clock, the monotonic one, and the timers. */
export async function pass(wait) {
  const end = at.tick + wait;
  await settle();
  for (let next; (next = timers.filter(({ due }) => due <= end).sort((a, b) => a.due - b.due)[0]); ) {
    timers = timers.filter((one) => one !== next);
    move(Math.max(0, next.due - at.tick));
    next.work();
    await settle();
  }
  move(end - at.tick);
}

function move(wait) {
  at.tick += wait;
  at.now += wait;
}

/** One of the clocks alone is set. */
export const set = (clock, by) => (at[clock] += by);

export function pageshow(persisted) {
  for (const listener of listeners) listener({ persisted });
}

export const asked = (path = "/auth/refresh") => seen.filter((one) => one.path === path).length;

export function tokenOf(claims, life = server.life / SECOND) {
  const payload = Buffer.from(JSON.stringify(claims)).toString("base64url");
  return { access_token: `e30.${payload}.eA`, token_type: "Bearer", expires_in: life, scope: "read write" };
}

const fresh = (user) => Response.json(tokenOf({ sub: user, jti: server.number++ }));
export const over = () => Response.json({ error: "invalid_grant" }, { status: 401 });
export const unavailable = (after) =>
  Response.json({ error: "temporarily_unavailable" }, { status: 503, headers: after ? { "Retry-After": after } : {} });

async function serve(input, init) {
  await turn();
  const request = new PageRequest(input, init);
  const { pathname } = new URL(request.url);
  const body = await request.text();
  seen.push({ path: pathname, method: request.method, headers: request.headers, body });
  request.signal.throwIfAborted();
  if (pathname.endsWith("/login")) {
    const { username } = JSON.parse(body);
    if (username === "mallory") return Response.json({ error: "invalid_grant", error_description: "No" }, { status: 401 });
    server.user = username;
    return fresh(username);
  }
  if (pathname.endsWith("/refresh")) {
    const answer = answers.length ? answers.shift()(request) : server.user ? fresh(server.user) : over();
    await server.held;
    return answer;
  }
  if (pathname.includes("/logout")) {
    server.user = null;
    return new Response(null, { status: 204 });
  }
  if (pathname === "/401") {
    const challenge = request.headers.get("X-Challenge");
    return new Response("", { status: 401, headers: challenge ? { "WWW-Authenticate": challenge } : { "WWW-Authenticate": "" } });
  }
  const token = request.headers.get("Authorization")?.replace("Bearer ", "");
  if (!token || server.refused.has(token) || server.refused.has("all"))
    return new Response("", { status: 401, headers: { "WWW-Authenticate": "Bearer" } });
  return Response.json({ method: request.method, body });
}

/** A tab whose client knows who is logged in. */
export async function tab(options) {
  const auth = createAuth(options);
  await settle();
  return auth;
}

export async function login(auth, username = "alice") {
  const entered = auth.login({ username });
  await pass(100);
  return entered;
}

/** What comes of a promise when so much time passes: its value, or its error's name. */
export async function outcome(promise, wait = 0) {
  const result = promise.then(
    (value) => value,
    (error) => error.name ?? error,
  );
  await pass(wait);
  return result;
}

export const me = (auth) => auth.fetch("/api/me").then(({ status }) => status);
