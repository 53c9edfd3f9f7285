// How OAuth libraries of others use DPoP (RFC 9449): reads {issuer, username, password} from the standard input, and
// writes what each of them has got, or its error.
import { text } from "node:stream/consumers";
import * as oauth from "oauth4webapi";
import * as openid from "openid-client";

const { issuer, username, password } = JSON.parse(await text(process.stdin));
const [login, resource] = [`${issuer}/login`, new URL(`${issuer}/me?a=1`)];
const fields = { username, password, transport: "body" };
const insecure = { [oauth.allowInsecureRequests]: true };

async function outcome(ask) {
  const answer = await ask.catch((error) => error.response ?? error.cause?.response ?? Promise.reject(error));
  return [answer.status, answer.ok ? await answer.json() : /error="(\w+)"/.exec(answer.headers.get("WWW-Authenticate"))?.[1]];
}

async function oauth4webapi(algorithm) {
  const url = new URL(issuer);
  const found = await oauth.discoveryRequest(url, { algorithm: "oauth2", ...insecure });
  const server = await oauth.processDiscoveryResponse(url, found);
  const client = { client_id: "api" };
  const DPoP = oauth.DPoP(client, await oauth.generateKeyPair(algorithm));
  const none = oauth.None();
  const atLogin = { ...server, token_endpoint: login };
  const opened = await oauth.genericTokenEndpointRequest(atLogin, client, none, "password", fields, { DPoP, ...insecure });
  const { refresh_token } = await oauth.processGenericTokenEndpointResponse(server, client, opened);
  const refresh = (options) => oauth.refreshTokenGrantRequest(server, client, none, refresh_token, { ...options, ...insecure });
  const { access_token, token_type } = await oauth.processRefreshTokenResponse(server, client, await refresh({ DPoP }));
  const get = (options) => oauth.protectedResourceRequest(access_token, "GET", resource, undefined, undefined, { ...options, ...insecure });
  const other = oauth.DPoP(client, await oauth.generateKeyPair(algorithm));
  const thief = await refresh({ DPoP: other });
  return {
    algorithms: server.dpop_signing_alg_values_supported.includes(algorithm),
    token_type,
    got: await outcome(get({ DPoP })),
    jkt: await DPoP.calculateThumbprint(),
    refused: [await outcome(get({})), await outcome(get({ DPoP: other }))],
    thief: [thief.status, (await thief.json()).error],
  };
}

async function openidClient(algorithm) {
  const options = { algorithm: "oauth2", execute: [openid.allowInsecureRequests] };
  const config = await openid.discovery(new URL(issuer), "api", undefined, openid.None(), options);
  const DPoP = openid.getDPoPHandle(config, await openid.randomDPoPKeyPair(algorithm));
  const atLogin = new openid.Configuration({ ...config.serverMetadata(), token_endpoint: login }, "api", undefined, openid.None());
  openid.allowInsecureRequests(atLogin);
  const { refresh_token } = await openid.genericGrantRequest(atLogin, "password", fields, { DPoP });
  const { access_token, token_type } = await openid.refreshTokenGrant(config, refresh_token, undefined, { DPoP });
  const get = (options) => openid.fetchProtectedResource(config, access_token, resource, "GET", undefined, undefined, options);
  const other = openid.getDPoPHandle(config, await openid.randomDPoPKeyPair(algorithm));
  const thief = await openid.refreshTokenGrant(config, refresh_token, undefined, { DPoP: other }).catch((error) => error);
  return {
    algorithms: config.serverMetadata().dpop_signing_alg_values_supported.includes(algorithm),
    token_type,
    got: await outcome(get({ DPoP })),
    jkt: await DPoP.calculateThumbprint(),
    refused: [await outcome(get({})), await outcome(get({ DPoP: other }))],
    thief: [thief.status, thief.error],
  };
}

const told = {};
for (const library of [oauth4webapi, openidClient])
  for (const algorithm of ["ES256", "Ed25519", "PS256"])
    told[`${library.name} ${algorithm}`] = await library(algorithm).catch((error) => `${error.stack} ${error.cause?.message ?? ""}`);
console.log(JSON.stringify(told));
