// How OAuth libraries of others take an access token: reads {issuer, audience, token} from the standard input, and
// writes the subject that each of them read from the token, or its error.
import { text } from "node:stream/consumers";
import { auth } from "express-oauth2-jwt-bearer";
import * as oauth from "oauth4webapi";

const { issuer, audience, token } = JSON.parse(await text(process.stdin));
const headers = { authorization: `Bearer ${token}` };
const insecure = { [oauth.allowInsecureRequests]: true };

async function oauth4webapi() {
  const url = new URL(issuer);
  const found = await oauth.discoveryRequest(url, { algorithm: "oauth2", ...insecure });
  const server = await oauth.processDiscoveryResponse(url, found);
  const request = new Request("http://api.example/", { headers });
  return (await oauth.validateJwtAccessToken(server, request, audience, insecure)).sub;
}

async function express() {
  const check = auth({ issuer, audience, jwksUri: `${issuer}/.well-known/jwks.json`, tokenSigningAlg: "ES256", strict: true });
  const url = "http://api.example/";
  const request = { headers: { ...headers, host: "api.example" }, url, originalUrl: "/", protocol: "http", query: {}, method: "GET" };
  request.is = () => false;
  request.get = (name) => request.headers[name.toLowerCase()];
  await new Promise((resolve, reject) => check(request, {}, (error) => (error ? reject(error) : resolve())));
  return request.auth.payload.sub;
}

const told = {};
for (const library of [oauth4webapi, express]) {
  told[library.name] = await library().catch((error) => `${error.name}: ${error.message} ${error.cause?.message ?? ""}`);
}
console.log(JSON.stringify(told));
