// An OpenID provider on loopback, led over pipes: JSON lines in, JSON lines out.
//
// {"keys": [{"kid": "1", "alg": "RS256"}, ...], "sign": {"kid": "1", "alg": "RS256"}}
// From now on these keys are published, and access tokens are signed with that one. What is named again
// is the same key. {"logout": {"sub": ..., "url": ...}} has the provider send a logout token to that URL. {} changes
// nothing. Each is answered with {"issuer": ..., "requests": {path: how many there were}}.

import { createServer } from 'node:http';
import { createInterface } from 'node:readline';

import { exportJWK, generateKeyPair } from 'jose';
import Provider from 'oidc-provider';

// Its notices would stand among the answers.
console.info = console.warn = console.error;

const LIFE = 6 * 3600;
const ENCRYPTION = /^(RSA-OAEP|ECDH-ES)/;

const made = new Map();

async function keyOf({ kid, alg }) {
  const name = `${kid} ${alg}`;
  if (!made.has(name)) {
    const { privateKey } = await generateKeyPair(alg, { extractable: true });
    made.set(name, { ...(await exportJWK(privateKey)), kid, alg, use: ENCRYPTION.test(alg) ? 'enc' : 'sig' });
  }
  return made.get(name);
}

function providerOf(issuer, keys, sign, logout) {
  return new Provider(issuer, {
    jwks: { keys },
    clients: [
      {
        client_id: 'machine',
        client_secret: 'known-to-this-machine',
        grant_types: ['client_credentials'],
        response_types: [],
        redirect_uris: [],
        ...(logout ? { backchannel_logout_uri: logout.url } : {}),
      },
    ],
    clientDefaults: { id_token_signed_response_alg: sign.alg },
    enabledJWA: { idTokenSigningAlgValues: keys.filter(({ use }) => use === 'sig').map(({ alg }) => alg) },
    scopes: ['orders:read'],
    ttl: { ClientCredentials: LIFE },
    // Its own way to fetch refuses loopback.
    fetch: (url, { dispatcher: _, ...options }) => fetch(url, options),
    features: {
      backchannelLogout: { enabled: true },
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      encryption: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_context, resource) => ({
          audience: resource,
          scope: 'orders:read',
          accessTokenFormat: 'jwt',
          accessTokenTTL: LIFE,
          jwt: { sign },
        }),
      },
    },
  });
}

const requests = {};
let answer;
let published;

const server = createServer((request, response) => {
  requests[request.url] = (requests[request.url] ?? 0) + 1;
  answer(request, response);
});
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
const issuer = `http://127.0.0.1:${server.address().port}`;

for await (const line of createInterface({ input: process.stdin })) {
  const { keys, sign, logout } = JSON.parse(line);
  if (keys) {
    published = [await Promise.all(keys.map(keyOf)), sign];
    answer = providerOf(issuer, ...published).callback();
  }
  if (logout) {
    const client = await providerOf(issuer, ...published, logout).Client.find('machine');
    await client.backchannelLogout(logout.sub);
  }
  process.stdout.write(`${JSON.stringify({ issuer, requests })}\n`);
}
process.exit();
