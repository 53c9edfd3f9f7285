/** The words of the page for each event: a mark, a style, and a sentence. */

const VERDICTS = {
  ROTATED: ["good", "A new refresh token takes the place of the old one, and a new access token comes with it."],
  SAME: ["calm", "The refresh token is only a moment old, so it stays. Only the access token is new."],
  REPLAYED: ["info", "This token was rotated a moment ago: a second tab, or a lost answer. It is answered with a token of "
    + "its own, and nobody is logged out."],
  RECOVERED: ["info", "An old token, but nobody has ever shown the newer one: its answer was lost. You stay logged in."],
  HEALED: ["info", "The token is ahead of the store, which had lost a write. The session catches up."],
  REUSED: ["bad", "An old token came back while newer ones are in use. Two hold this session and one is a thief, so it "
    + "ends for both."],
  INVALID: ["bad", "There is no such session any more, so there is nothing to refresh."],
};

const BY_OTHERS = {
  "thief ROTATED": ["bad", "The thief was first and holds the new token. When you refresh, the two of you are on "
    + "branches of your own, and the older one gives him away."],
  "thief SAME": ["bad", "The copy is of your current token: the thief got an access token. He is found out once you have "
    + "rotated."],
  "thief REPLAYED": ["bad", "The thief came within the grace, and looks like your second tab. The next round tells you "
    + "apart."],
  "thief RECOVERED": ["bad", "You have not shown your new token yet, so the thief looks like you with a lost answer. Your "
    + "next refresh tells you apart."],
  "lost ROTATED": ["info", "The server rotated, and its answer is lost: the browser still holds the old token."],
  "lost SAME": ["calm", "The token was only a moment old and stays, so the answer that is lost held nothing new."],
  "lost REPLAYED": ["info", "The token was rotated a moment ago by another tab. The answer with its sibling is lost."],
};

/** The words for an event: `{mark, look, text, aloud}`. `aloud`: the story has the event, not only the list of events. */
export function describe(event) {
  const { name, actor } = event;
  if (name === "refreshed") {
    const { verdict } = event;
    const [look, text] = BY_OTHERS[`${actor} ${verdict}`] ?? VERDICTS[verdict] ?? ["calm", ""];
    return { mark: verdict, look, text, aloud: true };
  }
  if (name === "session_opened") {
    return { mark: "Login", look: "good", text: "A session begins: one record, however often it rotates.", aloud: true };
  }
  if (name === "session_ended") {
    const why = event.cause === "reuse" ? "for good, for the thief and for you" : "for good";
    return { mark: "Ended", look: "bad", text: `A session has ended ${why}. Nothing brings it back.`, aloud: true };
  }
  if (name === "login_refused") {
    return { mark: "Refused", look: "bad", text: "The login was refused: no such user with that password.", aloud: true };
  }
  if (name === "token_refused" && event.reason === "token_revoked") {
    const text = "An access token was refused that has not expired: its session is over.";
    return { mark: "Revoked", look: "bad", text, aloud: true };
  }
  return { mark: name, look: /refused|reuse|failed|not_/.test(name) ? "bad" : "calm", text: "", aloud: false };
}

/** The fields of an event in the form of the log. */
export function fields({ id, at, name, actor, ...rest }) {
  const pairs = Object.entries(rest).map(([key, value]) => `${key}=${value}`);
  const note = { thief: "the thief's", lost: "answer lost" }[actor];
  return [...pairs, ...(note ? [`(${note})`] : [])].join(" ");
}

const CLAIMS = {
  iss: "issuer", sub: "subject", aud: "audience", scope: "scope", iat: "issued at", exp: "expires at", sid: "session",
  jti: "its own number", type: "kind",
};

export const claimTitle = (name) => CLAIMS[name] ?? "";

/** The claims of a token. The well-known ones come first. */
export const inOrder = (claims) => Object.entries({ ...CLAIMS, ...claims }).filter(([name]) => name in claims);

export const claimText = (name, value) =>
  name === "iat" || name === "exp" || name === "nbf" ? clock(value) : [value].flat().map(text).join(", ");

const text = (value) => (typeof value === "object" ? JSON.stringify(value) : String(value));

export const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour12: false });

const BROWSERS = [["Edg/", "Edge"], ["OPR/", "Opera"], ["Firefox/", "Firefox"], ["Chrome/", "Chrome"],
  ["Safari/", "Safari"], ["curl/", "curl"]];
const SYSTEMS = [["Windows", "Windows"], ["Android", "Android"], ["iPhone", "iPhone"], ["iPad", "iPad"],
  ["Mac OS X", "macOS"], ["Linux", "Linux"]];

/** A readable name for a device. */
export function deviceName(userAgent) {
  if (!userAgent) return "Unknown device";
  const [browser, system] = [BROWSERS, SYSTEMS].map((list) => list.find(([sign]) => userAgent.includes(sign))?.[1]);
  return browser ? (system ? `${browser} on ${system}` : browser) : userAgent.slice(0, 40);
}
