// The logic of the browser client, without a browser: `node --test`. Each test's name is its promise.
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import * as page from "./page.mjs";
import { LIFE, SECOND, answers, asked, createAuth, login, me, outcome, over, pass, seen, server, set, settle, tab, unavailable } from "./page.mjs";

beforeEach(() => page.reset());

async function loggedIn(options) {
  const auth = await tab(options);
  await login(auth);
  return auth;
}

const last = () => page.seen.at(-1);
const refuse = async (auth) => server.refused.add(await auth.token());

test("Claims are read as the token has them, in whatever script and with every letter of base64url", async () => {
  const auth = await loggedIn();
  const claims = { sub: "zoë", name: "Ωμέγα 名前 😀", letters: "~~~???" };
  page.answers.push(() => Response.json(page.tokenOf(claims, 60)));
  const session = await outcome(auth.refresh());
  assert.deepEqual([session.subject, session.claims, session.scopes], ["zoë", claims, ["read", "write"]]);
  assert.equal(session.expiresAt, page.now() + 60 * SECOND);
});

test("A form's fields are credentials as they are", async () => {
  const auth = await tab();
  const form = new FormData();
  form.set("username", "bob");
  const entered = auth.login(form);
  await pass(100);
  assert.equal((await entered).subject, "bob");
  assert.equal(last().body, '{"username":"bob"}');
});

test("Wrong credentials are an AuthError with what the server said, and whoever was logged in still is", async () => {
  const auth = await loggedIn();
  const error = await auth.login({ username: "mallory" }).catch((error) => error);
  assert(error instanceof page.AuthError);
  assert.deepEqual([error.name, error.status, error.error, error.message], ["AuthError", 401, "invalid_grant", "No"]);
  assert.equal(auth.session.subject, "alice");
});

test("Without a cookie there is nobody: onchange says so once, and requests go out without a token and at once", async () => {
  const changes = [];
  const auth = await tab({ onchange: (session) => changes.push(session) });
  assert.deepEqual([await me(auth), await auth.token(), changes, asked()], [401, null, [null], 1]);
});

test("An onchange that fails is the page's error, and no login fails by it", async () => {
  const errors = [];
  const { queueMicrotask } = globalThis;
  globalThis.queueMicrotask = (work) => queueMicrotask(() => { try { work(); } catch (error) { errors.push(error.message); } });
  const auth = await tab();
  auth.onchange = () => { throw new Error("mine"); };
  assert.equal((await login(auth)).subject, "alice");
  globalThis.queueMicrotask = queueMicrotask;
  assert.deepEqual(errors, ["mine"]);
});

test("What is closed knows no token and hears nothing, and has logged nobody out", async () => {
  const [first, second] = [await tab(), await tab()];
  const changes = [];
  second.onchange = (session) => changes.push(session?.subject);
  await login(first);
  await settle();
  second.close();
  assert.deepEqual([second.session, await me(second)], [null, 401]);
  await login(first, "bob");
  assert.deepEqual([await me(first), second.session, changes], [200, null, ["alice"]]);
});

test("A client that is closed right behind a call has let go of the token: the call goes out without it", async () => {
  const auth = await loggedIn();
  const called = me(auth);
  auth.close();
  assert.equal(await outcome(called), 401);
  assert.equal(last().headers.get("Authorization"), null);
});

test("Two AuthApps of one origin are strangers to each other's tabs", async () => {
  const [first, second] = [await tab(), await tab({ base: "/other/auth/" })];
  await login(first);
  await settle();
  assert.deepEqual([first.session.subject, second.session], ["alice", null]);
  await login(second, "bob");
  await second.logout();
  assert.equal(first.session.subject, "alice");
  assert.deepEqual(page.seen.map(({ path }) => path).filter((path) => path.includes("log")), [
    "/auth/login", "/other/auth/login", "/other/auth/logout",
  ]);
});

test("Tabs share the access token and its life, and nothing else of an answer", async () => {
  globalThis.fetch = async () => Response.json({ ...page.tokenOf({ sub: "alice" }), refresh_token: "secret" });
  const auth = await tab();
  await auth.logout();
  const [told, gone] = page.heard;
  assert.deepEqual(Object.keys(told), ["answer", "at"]);
  assert.deepEqual(Object.keys(told.answer), ["access_token", "expires_in", "scope"]);
  assert.deepEqual(gone, { over: true });
});

test("No message of another version changes anything", async () => {
  const auth = await loggedIn();
  new BroadcastChannel("asgi-jwt http://site.example/auth").postMessage({ later: "unknown" });
  await settle();
  assert.equal(auth.session.subject, "alice");
});

test("What is handed out is frozen", async () => {
  const auth = await createAuth();
  await login(auth);
  for (const bend of [
    () => (auth.fetch = fetch),
    () => (auth.session = null),
    () => (auth.session.subject = "bob"),
    () => auth.session.scopes.push("admin"),
  ])
    assert.throws(bend, TypeError);
});

test("base is on the page's origin or a listed one, or there is no client", async () => {
  for (const base of [
    "//127.0.0.1:1/auth", "/\\127.0.0.1:1", "http://127.0.0.1:1/auth", "https://user@127.0.0.1:1/", "javascript:alert(1)",
    "data:,x", "blob:http://site.example/x", "file:///auth", "about:blank", "http://",
  ])
    assert.throws(() => createAuth({ base }), TypeError, base);
  for (const origins of [["nowhere"], "https://a.example"]) assert.throws(() => createAuth({ origins }), TypeError);
  for (const base of ["/auth/", "auth", "/x/../auth//", "http://site.example/auth?q#f", "http://a:b@site.example/auth"]) {
    await tab({ base });
    assert.equal(last().path, "/auth/refresh", base);
  }
  await tab({ base: "/" });
  assert.equal(last().path, "/refresh");
});

test("A polluted Object.prototype names no origin, no base and no listener", async () => {
  const polluted = { origins: ["http://evil.example"], base: "http://evil.example/auth", onchange: () => assert.fail() };
  Object.assign(Object.prototype, polluted);
  try {
    const auth = createAuth({});
    await login(auth);
    await outcome(auth.fetch("http://evil.example/api/me"));
    assert.equal(last().headers.get("Authorization"), null);
  } finally {
    for (const name of Object.keys(polluted)) delete Object.prototype[name];
  }
  assert(page.seen.slice(0, -1).every(({ path }) => path.startsWith("/auth/")));
});

// `auth.fetch`

const BODIES = [
  ["some text", () => "some text"],
  ["some", () => new Uint8Array([115, 111, 109, 101])],
  ["some text", () => new Blob(["some text"])],
  ["some=text", () => new URLSearchParams({ some: "text" })],
];

for (const isRefused of [false, true])
  test(`A request goes out as fetch would send it${isRefused ? ", and once more after a 401" : ""}`, async () => {
    const auth = await loggedIn();
    for (const [text, body] of BODIES)
      for (const call of [
        () => auth.fetch("/api/me", { method: "PUT", body: body() }),
        () => auth.fetch(new Request("/api/me", { method: "PUT", body: body() })),
        () => auth.fetch(new Request("/api/me", { method: "POST" }), { method: "PUT", body: body() }),
      ]) {
        if (isRefused) await refuse(auth);
        assert.deepEqual(await (await call()).json(), { method: "PUT", body: text });
      }
    assert.equal(asked() - 1, isRefused ? 12 : 0);
  });

test("A form with a file is sent once more, whole", async () => {
  const auth = await loggedIn();
  await refuse(auth);
  const form = new FormData();
  form.set("file", new File(["its content"], "name.txt"));
  const answer = await (await auth.fetch("/api/me", { method: "POST", body: form })).json();
  assert(answer.body.includes("its content"));
  assert.equal(asked("/api/me"), 2);
});

test("A body that was a stream is gone: the 401 is handed on, and the token renewed for the next request", async () => {
  const auth = await loggedIn();
  const before = await auth.token();
  server.refused.add(before);
  const body = new Blob(["some text"]).stream();
  assert.equal((await auth.fetch("/api/me", { method: "POST", body, duplex: "half" })).status, 401);
  assert.equal(asked("/api/me"), 1);
  assert.notEqual(await auth.token(), before);
});

test("Headers go along, a broken request is rejected and not thrown, and Request objects are used up", async () => {
  const auth = await loggedIn();
  await auth.fetch("/api/me", { headers: { "X-Mine": "yes" } });
  assert.equal(last().headers.get("X-Mine"), "yes");
  assert.equal(await outcome(auth.fetch("https://")), "TypeError");
  assert.equal(await outcome(auth.fetch("/api/me", { method: "GET", body: "x" })), "TypeError");
  assert.equal((await auth.fetch(new URL("/api/me", location))).status, 200);
  const one = new Request("/api/me", { method: "POST", body: "x" });
  await auth.fetch(one);
  assert(one.bodyUsed);
});

test("An Authorization of the caller's is left alone, and its refusal handed on", async () => {
  const auth = await loggedIn();
  for (const headers of [{ authorization: "Basic YTpi" }, new Headers({ Authorization: "Bearer x" })]) {
    server.refused.add("x").add("Basic YTpi");
    assert.equal((await auth.fetch("/api/me", { headers })).status, 401);
  }
  assert.deepEqual(page.seen.slice(-2).map(({ headers }) => headers.get("Authorization")), ["Basic YTpi", "Bearer x"]);
  assert.equal(asked(), 1);
});

test("50 parallel calls with an expired token cause one refresh, and so do 50 whose token is refused", async () => {
  const auth = await loggedIn();
  await pass(LIFE);
  const many = () => Promise.all([...Array(50)].map(() => me(auth)));
  assert((await many()).every((status) => status === 200));
  assert.deepEqual([asked(), asked("/api/me")], [2, 50]);
  await refuse(auth);
  assert((await many()).every((status) => status === 200));
  assert.deepEqual([asked(), asked("/api/me")], [3, 150]);
});

test("A token is renewed in its last half minute, before the request, and not earlier", async () => {
  const auth = await loggedIn();
  const first = await auth.token();
  await pass(865 * SECOND);
  assert.equal(await auth.token(), first);
  await pass(10 * SECOND);
  assert.equal(await me(auth), 200);
  assert.equal(last().headers.get("Authorization"), `Bearer ${await auth.token()}`);
  assert.notEqual(await auth.token(), first);
});

test("A token that lives for seconds is renewed in its last quarter, and not at every call", async () => {
  server.life = 20 * SECOND;
  const auth = await loggedIn();
  for (const refreshes of [1, 2]) {
    await pass(refreshes === 1 ? 12 * SECOND : 4 * SECOND);
    assert.deepEqual([await me(auth), await me(auth), asked()], [200, 200, refreshes]);
  }
});

test("A server that refuses every token gets each request twice, by one refresh each, and the page its 401", async () => {
  const auth = await loggedIn();
  server.refused.add("all");
  for (const [calls, refreshes] of [[2, 2], [4, 3]]) {
    assert.equal(await me(auth), 401);
    assert.deepEqual([asked("/api/me"), asked()], [calls, refreshes]);
  }
  assert.equal(auth.session.subject, "alice");
});

const CHALLENGES = {
  'Bearer realm="api", error="invalid_token", error_description="expired"': true,
  bearer: true,
  "Bearer error=invalid_token": true,
  'DPoP algs="ES256", Bearer realm="y"': true,
  'Bearer realm="api", error="insufficient_scope", scope="a"': false,
  'Bearer error="invalid_request"': false,
  'DPoP algs="ES256", error="invalid_token"': true,
  'Bearer realm="y", DPoP algs="ES256", error="invalid_dpop_proof"': false,
  BearerToken: false,
  "": false,
};

test("Only a 401 that asks for another token has it renewed", async () => {
  const auth = await loggedIn();
  for (const [challenge, asks] of Object.entries(CHALLENGES)) {
    const [calls, refreshes] = [asked("/401"), asked()];
    assert.equal((await auth.fetch("/401", { method: "POST", headers: { "X-Challenge": challenge } })).status, 401);
    assert.deepEqual([asked("/401") - calls, asked() - refreshes], asks ? [2, 1] : [1, 0], challenge);
  }
});

test("A call that is aborted while it waits for a new token is rejected at once; the others still get theirs", async () => {
  const auth = await loggedIn();
  await pass(LIFE);
  let free;
  server.held = new Promise((done) => (free = done));
  const control = new AbortController();
  const aborted = auth.fetch("/api/me", { signal: control.signal }).catch((error) => error);
  const other = me(auth);
  control.abort("my reason");
  assert.equal(await aborted, "my reason");
  free();
  assert.equal(await other, 200);
  assert.equal(await outcome(auth.fetch(new Request("/api/me", { signal: AbortSignal.abort() }))), "AbortError");
  assert.equal(asked("/api/me"), 1);
});

test("`fetch = auth.fetch` ends in the browser's", async () => {
  const auth = await tab();
  globalThis.fetch = auth.fetch;
  await login(auth);
  assert.equal((await fetch("/api/me")).status, 200);
});

/** Alice's tab, where `ask` was begun and waits for the lock, behind a login of Bob's in another tab. */
async function bobComesFirst(ask) {
  const [alices, bobs] = [await loggedIn(), await tab()];
  let free;
  navigator.locks.request("", { signal: {} }, () => new Promise((done) => (free = done)));
  const entered = bobs.login({ username: "bob" });
  await settle();
  const result = ask(alices).then((value) => value, (error) => error.name);
  await settle();
  free();
  await pass(100);
  await entered;
  return [await result, alices];
}

test("What Alice asked for is not done in Bob's name, who logs in in another tab while her request waits", async () => {
  const [result, alices] = await bobComesFirst((auth) => {
    set("now", LIFE);
    return me(auth);
  });
  assert.deepEqual([result, asked("/api/me"), alices.session.subject], ["AbortError", 0, "bob"]);
  assert.equal(await me(alices), 200);
});

test("Alice's request that was refused is not sent once more with Bob's token", async () => {
  const [result] = await bobComesFirst(async (auth) => {
    await refuse(auth);
    return me(auth);
  });
  assert.deepEqual([result, asked("/api/me")], [401, 1]);
});

for (const asks of [(auth) => auth.logout(), (auth) => auth.logoutEverywhere()])
  test(`Alice's logout, which waited behind a login of Bob's, logs nobody out: ${asks}`, async () => {
    const [result, alices] = await bobComesFirst(asks);
    assert.deepEqual([result, alices.session.subject, server.user], ["AbortError", "bob", "bob"]);
  });

// How a session is kept alive

test("After a 503 the server is left alone as long as it asks for, then for longer each time, up to a bound", async () => {
  const auth = await loggedIn();
  await pass(LIFE);
  const begun = asked();
  page.answers.push(() => unavailable("7"), ...Array(50).fill(() => unavailable()));
  const waiting = auth.fetch("/api/me").catch((error) => error.name);
  await pass(6900);
  assert.equal(asked(), begun + 1);
  await pass(3700);
  assert(asked() > begun + 1);
  await pass(35 * SECOND);
  assert.equal(await waiting, "TypeError");
  assert(asked() - begun >= 6 && asked() - begun <= 10, `${asked() - begun}`);
  assert.equal(auth.session.subject, "alice");
  page.answers.splice(0);
  await pass(15 * SECOND);
  assert.equal(await me(auth), 200);
});

test("A server that asks for two minutes gets them, from all tabs: what needs a new token meanwhile is rejected", async () => {
  const [first, second] = [await loggedIn(), await tab()];
  await pass(LIFE);
  const before = asked();
  page.answers.push(...Array(9).fill(() => unavailable("120")));
  for (const each of [first, second, first]) assert.equal(await outcome(me(each)), "TypeError");
  assert.equal(asked(), before + 1);
  page.answers.splice(0);
  await pass(181 * SECOND);
  assert.deepEqual([await me(first), await me(second)], [200, 200]);
});

for (const after of ["1000000000", "Fri, 31 Dec 2100 00:00:00 GMT", "Infinity"])
  test(`Nobody waits for more than five minutes, and half as much for jitter: ${after}`, async () => {
    const auth = await loggedIn();
    await pass(LIFE);
    const before = asked();
    page.answers.push(() => unavailable(after));
    assert.equal(await outcome(me(auth)), "TypeError");
    await pass(250 * SECOND);
    assert.equal(await outcome(me(auth)), "TypeError");
    assert.equal(asked(), before + 1);
    await pass(210 * SECOND);
    assert.equal(await me(auth), 200);
  });

test("AuthError tells of Retry-After in seconds, whether it was those or a date; what is neither is ignored", async () => {
  let value = "0";
  globalThis.fetch = async () => Response.json({}, { status: 429, headers: { "Retry-After": value } });
  const auth = await tab();
  const after = (given) => {
    value = given;
    return auth.login({}).catch((error) => error.retryAfter);
  };
  assert.equal(await after("7"), 7);
  assert.equal(await after(new Date(page.now() + 60 * SECOND).toUTCString()), 60);
  assert.deepEqual([await after("soon"), await after("0"), await after("")], [undefined, undefined, undefined]);
});

for (const status of [503, 403])
  test(`In its last half minute a token that can't be renewed is used on, without waiting: ${status}`, async () => {
    const auth = await loggedIn();
    await pass(LIFE - 20 * SECOND);
    const before = asked();
    page.answers.push(...Array(2).fill(() => Response.json({}, { status, headers: { "Retry-After": "10" } })));
    assert.deepEqual([await me(auth), await me(auth), asked()], [200, 200, before + 1]);
  });

const OTHER_ANSWERS = {
  "a proxy's 401": () => new Response(null, { status: 401 }),
  "another error's 401": () => Response.json({ error: "invalid_token" }, { status: 401 }),
  "a captive portal": () => new Response("<h1>Log in to our WiFi</h1>"),
  "JSON of something else": () => Response.json(null),
  "an empty 204": () => new Response(null, { status: 204 }),
  "no JWT": () => Response.json({ access_token: "opaque", expires_in: 60, scope: "" }),
  "a 400": () => Response.json({ error: "invalid_request" }, { status: 400 }),
  "a 403": () => Response.json({ error: "invalid_grant" }, { status: 403 }),
  "a 404": () => new Response(null, { status: 404 }),
  "a 429": () => new Response(null, { status: 429 }),
  "a 500": () => Response.json({ error: "invalid_grant" }, { status: 500 }),
  "no answer": () => { throw new TypeError("failed"); },
};

for (const [name, answer] of Object.entries(OTHER_ANSWERS))
  test(`Whatever else than invalid_grant a refresh is answered, the session stays: ${name}`, async () => {
    const auth = await loggedIn();
    page.answers.push(answer);
    await outcome(auth.refresh(), SECOND);
    assert.deepEqual([auth.session?.subject, page.answers.length, await me(auth)], ["alice", 0, 200]);
    page.answers.push(over);
    assert.deepEqual([await outcome(auth.refresh()), auth.session], [null, null]);
  });

for (const status of [408, 429, 500, 503])
  test(`What a server answers that is busy or broken for the moment is no answer: the client asks again: ${status}`, async () => {
    const auth = await loggedIn();
    page.answers.push(() => new Response(null, { status }));
    assert.equal((await outcome(auth.refresh(), SECOND)).subject, "alice");
    assert.equal(asked(), 3);
  });

test("Nobody is known to be logged in while the server is out of reach, and the next call brings the session back", async () => {
  server.user = "alice";
  const changes = [];
  page.answers.push(() => unavailable("60"));
  const auth = await tab({ onchange: (session) => changes.push(session?.subject) });
  assert.deepEqual([await auth.ready, changes], [null, []]);
  await pass(95 * SECOND);
  assert.deepEqual([await me(auth), changes], [200, ["alice"]]);
});

const CLOCKS = {
  "sleep past the token's end": () => pass(8 * 3600 * SECOND),
  "sleep has stopped the monotonic clock": () => set("now", 1000 * SECOND),
  "the clock was set back, and the token has expired": () => [set("now", -86_400 * SECOND), set("tick", 1000 * SECOND)],
  "the clock was set back while the monotonic clock stood still": () => set("now", -5 * SECOND),
  "the clock was set forward": () => set("now", 86_400 * SECOND),
};

for (const [name, happens] of Object.entries(CLOCKS))
  test(`Whatever happens to the device's clocks: on doubt the token is renewed, once, and then relied on: ${name}`, async () => {
    const auth = await loggedIn();
    await happens();
    assert.deepEqual([await me(auth), asked("/api/me"), asked()], [200, 1, 2]);
    assert.deepEqual([await me(auth), asked("/api/me"), asked()], [200, 2, 2]);
  });

test("A device whose clock is years off needs no refresh the sooner", async () => {
  set("now", -(10 ** 11));
  const auth = await loggedIn();
  assert.deepEqual([await me(auth), asked("/api/me"), asked()], [200, 1, 1]);
});

/** A refresh whose answer is held back until `free()`. */
async function heldRefresh(auth) {
  let free;
  server.held = new Promise((done) => (free = done));
  const refreshed = auth.refresh();
  await settle();
  return [refreshed, free];
}

test("No late answer undoes a login in another tab: the login waits for it, and what comes after is Bob's", async () => {
  const [first, second] = [await loggedIn(), await tab()];
  const [refreshed, free] = await heldRefresh(first);
  const entered = second.login({ username: "bob" });
  await settle();
  assert.equal(asked("/auth/login"), 1);
  free();
  await refreshed;
  await pass(100);
  await entered;
  assert.deepEqual([first.session.subject, second.session.subject], ["bob", "bob"]);
});

test("No late answer undoes a logout, in this tab or another, and no waiting refresh asks again", async () => {
  const [first, second] = [await loggedIn(), await tab()];
  const before = asked();
  const [refreshed, free] = await heldRefresh(first);
  const left = first.logout();
  const other = second.refresh();
  await settle();
  free();
  await left;
  await Promise.all([refreshed, other]);
  assert.deepEqual([first.session, second.session, asked()], [null, null, before + 1]);
});

test("Without Web Locks a logout in one tab has the late answer of another's refresh dropped", async () => {
  page.reset({ withLocks: false });
  const [first, second] = [await loggedIn(), await tab()];
  const [refreshed, free] = await heldRefresh(second);
  await first.logout();
  await settle();
  free();
  assert.deepEqual([await refreshed, first.session, second.session], [null, null, null]);
});

test("Without Web Locks a refusal that comes after a login in another tab is the old session's, and ends nothing", async () => {
  page.reset({ withLocks: false });
  const [first, second] = [await loggedIn(), await tab()];
  page.answers.push(over);
  const [refreshed, free] = await heldRefresh(second);
  await login(first, "bob");
  await settle();
  free();
  assert.equal((await refreshed)?.subject, "bob");
  assert.deepEqual([first.session.subject, second.session.subject], ["bob", "bob"]);
});

test("A tab that never gives the lock back holds the others up for 20 s, and then no longer", async () => {
  const { timeout } = AbortSignal;
  const control = new AbortController();
  AbortSignal.timeout = (wait) => (wait === 20_000 ? control.signal : timeout.call(AbortSignal, wait));
  const [first, second] = [await loggedIn(), await tab()];
  navigator.locks.request("", { signal: {} }, () => new Promise(() => {}));
  const refreshed = second.refresh();
  await settle();
  const before = asked();
  control.abort();
  await pass(0);
  AbortSignal.timeout = timeout;
  assert.deepEqual([(await refreshed).subject, asked(), first.session.subject], ["alice", before + 1, "alice"]);
});

test("A refresh without an answer is given up after 15 s, and tried again", async () => {
  const auth = await loggedIn();
  const { timeout } = AbortSignal;
  const control = new AbortController();
  AbortSignal.timeout = (wait) => (wait === 15_000 ? control.signal : timeout.call(AbortSignal, wait));
  page.answers.push(({ signal }) => new Promise((_, reject) => (signal.onabort = () => reject(signal.reason))));
  const refreshed = auth.refresh();
  await settle();
  AbortSignal.timeout = timeout;
  assert.equal(asked(), 2);
  control.abort();
  assert.equal((await outcome(refreshed, SECOND)).subject, "alice");
  assert.equal(asked(), 3);
});

test("A page that comes out of the back/forward cache asks the server again who is logged in", async () => {
  const auth = await loggedIn();
  page.answers.push(over);
  page.pageshow(true);
  await settle();
  assert.equal(auth.session, null);
  page.pageshow(false);
  await settle();
  assert.equal(asked(), 2);
});
