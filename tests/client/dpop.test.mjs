// The DPoP module of the browser client, without a browser: `node --test`. Each test's name is its promise.
import assert from "node:assert/strict";
import { createHash, webcrypto } from "node:crypto";
import { beforeEach, test } from "node:test";

const SITE = "http://site.example";
const real = { now: Date.now, crypto: webcrypto };
let tabs = 0;
let stored; // by origin, as IndexedDB keeps it for all tabs
let turns; // one transaction after the other
let sent;

const laterCall = (work) => setImmediate(work);

function request(result, name = "onsuccess") {
  const made = { result };
  laterCall(() => made[name]?.());
  return made;
}

function transaction() {
  const made = { wants: [] };
  const ask = (work) => {
    const asked = {};
    made.wants.push([asked, work]);
    return asked;
  };
  made.objectStore = () => ({
    get: (key) => ask(() => stored.get(key)),
    getAll: () => ask(() => [...stored.values()]),
    add: (value, key) => ask(() => void stored.set(key, value)),
    delete: (key) => ask(() => void stored.delete(key)),
  });
  turns = turns.then(async () => {
    for (let want; (want = made.wants.shift()); await new Promise(laterCall)) {
      want[0].result = want[1]();
      want[0].onsuccess?.();
    }
    made.oncomplete();
  });
  return made;
}

const database = { open: () => request({ transaction, close() {} }) };
const broken = { open: () => Object.assign(request(null, "onerror"), { error: new DOMException("off", "SecurityError") }) };

const tab = () => import(`../../asgi_jwt/client/asgi-jwt-dpop.js?${tabs++}`);
const parts = (token) => token.split(".").slice(0, 2).map((part) => JSON.parse(Buffer.from(part, "base64url")));
const digest = (text) => createHash("sha256").update(text).digest("base64url");
const thumbprint = ({ crv, kty, x, y }) => digest(JSON.stringify({ crv, kty, x, y }));
const tokenOf = (claims) => `e30.${Buffer.from(JSON.stringify({ name: "名前", ...claims })).toString("base64url")}.eA`;
const boundTo = (proof) => tokenOf({ cnf: { jkt: thumbprint(parts(proof)[0].jwk) } });
const badProof = (headers) => Response.json({ error: "invalid_dpop_proof" }, { status: 400, headers });

beforeEach(() => {
  [stored, turns, sent] = [new Map(), Promise.resolve(), []];
  Object.assign(globalThis, { indexedDB: database, location: new URL(`${SITE}/page`) });
  Object.defineProperty(globalThis, "crypto", { value: real.crypto, configurable: true });
  Date.now = real.now;
});

/** The proof that a tab sends, or null; its other headers and the answer are in `sent`. */
async function ask(module, path, { token, method = "POST", answer = () => new Response("{}") } = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await module.dpop(new Request(SITE + path, { method, headers }), async (request) => {
    sent.push({ headers: request.headers, proof: request.headers.get("DPoP") });
    return answer(request);
  });
  sent.at(-1).response = response;
  return sent.at(-1).proof;
}

const login = (module, more) => ask(module, "/auth/login", more);

test("A proof is of RFC 9449 section 4.2, signed by the key in it, and names the URL without query and fragment", async () => {
  const page = await tab();
  const token = boundTo(await login(page));
  const proof = await ask(page, "/Orders/%7e?a=1#b", { token, method: "PUT" });
  const [header, claims] = parts(proof);
  assert.deepEqual(Object.keys(header.jwk), ["crv", "kty", "x", "y"]);
  assert.deepEqual([header.typ, header.alg], ["dpop+jwt", "ES256"]);
  assert.deepEqual([claims.htm, claims.htu, claims.ath], ["PUT", `${SITE}/Orders/%7e`, digest(token)]);
  assert(Number.isInteger(claims.iat) && Math.abs(claims.iat - Date.now() / 1000) < 30);
  const [signed, signature] = [proof.slice(0, proof.lastIndexOf(".")), proof.slice(proof.lastIndexOf(".") + 1)];
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("jwk", header.jwk, algorithm, false, ["verify"]);
  assert(await crypto.subtle.verify(algorithm, key, Buffer.from(signature, "base64url"), Buffer.from(signed)));
  assert.equal(sent.at(-1).headers.get("Authorization"), `DPoP ${token}`);
  const all = await Promise.all([1, 2].map(() => ask(page, "/orders", { token })));
  assert.equal(new Set([proof, ...all].map((one) => parts(one)[1].jti)).size, 3);
  assert.equal(parts(await login(page))[1].ath, undefined);
});

test("The private key is never to be had", async () => {
  await login(await tab());
  const [{ privateKey }] = stored.values();
  await assert.rejects(crypto.subtle.exportKey("jwk", privateKey));
  assert.deepEqual([privateKey.extractable, privateKey.usages], [false, ["sign"]]);
});

test("Two tabs that make the key at once have one, and so has a tab after a reload, for refreshes and requests", async () => {
  const [first, second] = await Promise.all((await Promise.all([tab(), tab()])).map((page) => login(page)));
  const token = boundTo(first);
  const refreshed = await ask(await tab(), "/auth/refresh");
  const asked = await ask(await tab(), "/orders", { token });
  assert.deepEqual([second, refreshed, asked].map(boundTo), [token, token, token]);
});

test("A logout deletes the key, also at an AuthApp's other route, and the next login has another; no other key goes", async () => {
  const [page, other] = [await tab(), await tab()];
  for (const route of ["logout", "logout-all"]) {
    const before = await login(page);
    const token = boundTo(before);
    await ask(page, "/other/auth/logout", { answer: () => new Response(null, { status: 204 }) });
    await ask(page, `/auth/${route}`, { answer: () => new Response("", { status: 503 }) });
    assert.equal(boundTo(await login(other)), token);
    assert.equal(boundTo(await ask(page, `/auth/${route}`, { token })), token);
    assert.equal(await ask(page, "/auth/refresh"), null);
    const after = await login(page);
    assert.notEqual(boundTo(after), token);
    assert.equal(boundTo(await ask(other, "/orders", { token: boundTo(after) })), boundTo(after));
  }
});

test("A browser that keeps no key logs in without one, and its token is a Bearer token", async () => {
  const token = tokenOf({});
  for (const without of [{ indexedDB: undefined }, { indexedDB: broken }, { crypto: { getRandomValues() {} } }]) {
    for (const [name, value] of Object.entries(without)) Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
    const page = await tab();
    assert.deepEqual([await login(page), await ask(page, "/auth/refresh"), await ask(page, "/orders", { token })], [null, null, null]);
    assert.equal(sent.at(-1).headers.get("Authorization"), `Bearer ${token}`);
    assert.equal(await ask(page, "/auth/logout"), null);
    assert.deepEqual(await page.subprotocols({ token: async () => token }, "/feed"), ["bearer", token]);
  }
});

test("A session whose key is lost is over; one whose key can't be read now is not", async () => {
  await ask(await tab(), "/auth/refresh", { answer: () => badProof() });
  assert.deepEqual([sent.at(-1).response.status, await sent.at(-1).response.json()], [401, { error: "invalid_grant" }]);
  await login(await tab(), { answer: () => badProof() });
  assert.equal(sent.at(-1).response.status, 400);
  globalThis.indexedDB = broken;
  await ask(await tab(), "/auth/refresh", { answer: () => badProof() });
  assert.deepEqual([sent.at(-1).response.status, sent.length], [400, 3]);
});

test("A device's wrong clock is corrected by the server's answer, once; a refusal of a right clock stands", async () => {
  const page = await tab();
  const server = real.now();
  const Date_ = new Date(server).toUTCString();
  const answer = (request) =>
    Math.abs(parts(request.headers.get("DPoP"))[1].iat - server / 1000) < 60 ? new Response("{}") : badProof({ Date: Date_ });
  for (const wrong of [-400_000, 86_400_000]) {
    Date.now = () => server + wrong;
    await login(page, { answer });
    assert.equal(sent.at(-1).response.status, 200);
  }
  assert.equal(sent.length, 4);
  await login(page, { answer: () => badProof({ Date: Date_ }) });
  await login(page, { answer: () => badProof() });
  await login(page, { answer: () => new Response("?", { status: 400 }) });
  assert.deepEqual([sent.length, sent.at(-1).response.status], [7, 400]);
});

test("A WebSocket's subprotocols are dpop, the token and a proof for GET at the http URL; nobody's are none", async () => {
  const page = await tab();
  const token = boundTo(await login(page));
  for (const [url, htu] of [["/feed?a=1", `${SITE}/feed`], ["wss://api.example/feed#b", "https://api.example/feed"]]) {
    const [name, shown, proof] = await page.subprotocols({ token: async () => token }, url);
    const [, claims] = parts(proof);
    assert.deepEqual([name, shown, claims.htm, claims.htu, claims.ath], ["dpop", token, "GET", htu, digest(token)]);
  }
  assert.deepEqual(await page.subprotocols({ token: async () => null }, "/feed"), []);
});
