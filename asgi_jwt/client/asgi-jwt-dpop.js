/**
 * DPoP (RFC 9449) for the browser client: binds sessions to a key of this browser that no script can read.
 * Types and documentation: asgi-jwt-dpop.d.ts.
 */

const DATABASE = "asgi-jwt-dpop";
const KEYS = "keys"; // by the URL of their AuthApp; a key lives until the logout
const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const WRONG_CLOCK = 10_000; // milliseconds; a server takes a proof for 60 s

let known = new Map(); // the keys by their thumbprint
let ahead = 0; // of this device's clock, the server's: milliseconds

/** Sends a request of `createAuth` with a proof. `createAuth({ dpop })` calls it. */
export async function dpop(request, send) {
  const [, token] = request.headers.get("Authorization")?.split(" ") ?? [];
  return token ? sendBound(request, token, send) : sendToAuthApp(request, send);
}

/** The subprotocols of a WebSocket: `new WebSocket(url, await subprotocols(auth, url))`. */
export async function subprotocols(auth, url) {
  const token = await auth.token();
  if (!token) return [];
  const key = await keyOf(token);
  return key ? ["dpop", token, await proof(key, "GET", new URL(url, location.href), token)] : ["bearer", token];
}

async function sendBound(request, token, send) {
  const key = await keyOf(token);
  if (key) {
    request.headers.set("Authorization", `DPoP ${token}`);
    request.headers.set("DPoP", await proof(key, request.method, new URL(request.url), token));
  }
  return forgetAfterLogout(request, await send(request));
}

async function sendToAuthApp(request, send) {
  const { origin, pathname } = new URL(request.url);
  const [, mount, route] = /^(.*)\/(.*)$/.exec(pathname);
  const root = origin + mount;
  if (route !== "login" && route !== "refresh") return forgetAfterLogout(request, await send(request));
  const key = await keyAt(root, route === "login").catch(() => undefined); // undefined: this browser keeps no keys
  const attempt = async (to) => {
    if (key) to.headers.set("DPoP", await proof(key, to.method, new URL(to.url)));
    return send(to);
  };
  const again = request.clone();
  const response = await attempt(request);
  if (!(await isWrongProof(response))) return response;
  if (key && learnClock(response)) return attempt(again);
  // The cookie is bound to a key that this browser has lost, so its session is over here.
  const isOver = route === "refresh" && key === null;
  return isOver ? Response.json({ error: "invalid_grant" }, { status: 401 }) : response;
}

async function isWrongProof(response) {
  if (response.status !== 400) return false;
  const body = await response.clone().json().catch(() => null);
  return body?.error === "invalid_dpop_proof";
}

// Whether the device's clock was taken for right, and is wrong.
function learnClock(response) {
  const now = Date.parse(response.headers.get("Date")) - Date.now();
  const wrong = Math.abs(now - ahead) > WRONG_CLOCK;
  if (wrong) ahead = now;
  return wrong;
}

async function forgetAfterLogout(request, response) {
  const { origin, pathname } = new URL(request.url);
  const [, mount] = /^(.*)\/logout(-all)?$/.exec(pathname) ?? [];
  if (mount !== undefined && request.method === "POST" && response.ok) {
    await inStore("readwrite", (keys) => keys.delete(origin + mount)).catch(() => {});
  }
  return response;
}

// The key that a token is bound to; undefined for a token of no key.
async function keyOf(token) {
  const { jkt } = decoded(token.split(".")[1]).cnf ?? {};
  if (jkt && !known.has(jkt)) {
    const all = await inStore("readonly", (keys) => keys.getAll()).catch(() => []);
    known = new Map(all.map((key) => [key.jkt, key]));
  }
  return known.get(jkt);
}

// The key for sessions of an AuthApp. A login makes one, unless another tab was faster. Null: there is none.
async function keyAt(root, isLogin) {
  const fresh = isLogin && (await made());
  const key = await inStore("readwrite", (keys) => {
    const found = keys.get(root);
    if (fresh) found.onsuccess = () => found.result ?? keys.add(fresh, root);
    return found;
  });
  const used = key ?? (fresh || null);
  if (used) known.set(used.jkt, used);
  return used;
}

async function made() {
  const { privateKey, publicKey } = await crypto.subtle.generateKey(ALGORITHM, false, ["sign"]);
  const { crv, kty, x, y } = await crypto.subtle.exportKey("jwk", publicKey);
  const jwk = { crv, kty, x, y }; // the order of RFC 7638
  return { jkt: await digest(JSON.stringify(jwk)), jwk, privateKey };
}

async function inStore(mode, work) {
  const opening = indexedDB.open(DATABASE);
  opening.onupgradeneeded = () => opening.result.createObjectStore(KEYS);
  const database = await new Promise((resolve, reject) => {
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
  try {
    const transaction = database.transaction(KEYS, mode);
    const asked = work(transaction.objectStore(KEYS));
    await new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onabort = () => reject(transaction.error);
    });
    return asked.result;
  } finally {
    database.close();
  }
}

async function proof({ jwk, privateKey }, htm, { protocol, host, pathname }, token) {
  const header = { typ: "dpop+jwt", alg: "ES256", jwk };
  const htu = protocol.replace("ws", "http") + "//" + host + pathname;
  const claims = { jti: crypto.randomUUID(), htm, htu, iat: Math.floor((Date.now() + ahead) / 1000) };
  if (token) claims.ath = await digest(token);
  const signed = `${encoded(JSON.stringify(header))}.${encoded(JSON.stringify(claims))}`;
  const signature = await crypto.subtle.sign(ALGORITHM, privateKey, bytes(signed));
  return `${signed}.${encoded(signature)}`;
}

const bytes = (text) => new TextEncoder().encode(text);
const digest = async (text) => encoded(await crypto.subtle.digest("SHA-256", bytes(text)));

function encoded(data) {
  const all = typeof data === "string" ? bytes(data) : new Uint8Array(data);
  return btoa(String.fromCharCode(...all)).replace(/\+/g, "-").replace(/\//g, "_").replace(/=/g, "");
}

function decoded(part) {
  const text = atob(part.replace(/-/g, "+").replace(/_/g, "/"));
  return JSON.parse(new TextDecoder().decode(Uint8Array.from(text, (one) => one.charCodeAt(0))));
}
