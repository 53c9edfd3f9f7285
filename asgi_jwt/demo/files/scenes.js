/** The actions of the page. Each shows its steps as a story, and the events show what the server did. */

import { dpop } from "/auth/asgi-jwt-dpop.js";
import { story } from "./view.js";

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Call a route of the demo. Throws an Error with the reason if the answer is no success. */
async function demand(path, init) {
  const response = await fetch(path, { method: "POST", ...init });
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw Object.assign(new Error(body.error_description ?? body.error), { status: response.status });
  return body;
}

const refreshed = (event) => event.name === "refreshed";
const MOVES_WINDOW = new Set(["ROTATED", "SAME", "RECOVERED", "HEALED"]);
const IN_FLIGHT = 300; // ms that a message between server, tabs and page may take

export function makeScenes({ auth, feed, grace }) {
  const tabs = new BroadcastChannel("asgi-jwt-demo");
  let windowAt = 0; // when the present window of the refresh token began, in ms

  /** Called with every event. */
  function watch(event) {
    if (refreshed(event) && MOVES_WINDOW.has(event.verdict)) windowAt = event.at * 1000;
  }

  const freshFor = () => Math.max(0, windowAt + 2000 * grace - Date.now());

  async function untilOldEnough() {
    const wait = freshFor();
    if (!wait) return;
    story.say(`Waiting ${Math.ceil(wait / 1000)} s, until the refresh token is old enough to rotate.`);
    await pause(wait + IN_FLIGHT);
  }

  /** Do the work, and wait for its event to arrive. */
  async function withEvent(work) {
    const event = feed.next(refreshed);
    const answer = await work();
    await event;
    return answer;
  }

  /**
   * Refresh like a tab that shares neither lock nor token with other tabs. The demo delays the answer as a phone's
   * network does: otherwise the fastest tab would be done before the others begin.
   */
  const refreshAlone = () => dpop(new Request("/auth/refresh", { method: "POST", headers: { "Demo-Slow": "1" } }), fetch);

  /** The proof of a bound session is for the refresh that the demo's server then plays. */
  const lose = () =>
    dpop(new Request("/auth/refresh", { method: "POST" }), ({ headers }) => demand("/auth/demo/lose", { headers }));

  async function call(title, request) {
    story.begin(title);
    const response = await request();
    const body = await response.json();
    if (response.ok) {
      story.say(`The middleware verified the token, and the app knows ${body.subject} by it.`, "200", "good");
    } else {
      const why = body.error_description ?? "A token is asked for, and nothing said of what is behind.";
      story.say(why, String(response.status), "bad");
    }
  }

  tabs.onmessage = async ({ data }) => {
    if (data === "who?" && auth.session) tabs.postMessage("here");
    if (data === "go" && auth.session) await refreshAlone();
  };

  async function countTabs() {
    let others = 0;
    const count = ({ data }) => (others += data === "here" ? 1 : 0);
    tabs.addEventListener("message", count);
    tabs.postMessage("who?");
    await pause(IN_FLIGHT);
    tabs.removeEventListener("message", count);
    return others + 1;
  }

  return {
    watch,
    freshFor,

    call: () => call("Call the API", () => auth.fetch("/api/me")),

    callWith: (title, token) =>
      call(title, () => fetch("/api/me", token ? { headers: { Authorization: `Bearer ${token}` } } : {})),

    async logIn(fields) {
      story.begin("Log in");
      await auth.login(fields);
      windowAt = 0; // the first refresh token may rotate at once
    },

    async rotate() {
      story.begin("Rotate");
      await withEvent(() => auth.refresh());
    },

    async race() {
      story.begin("Race");
      await untilOldEnough();
      const count = await countTabs();
      story.say(
        count > 1
          ? `${count} tabs refresh at once, and none waits for another.`
          : "There is no second tab, so this one refreshes twice at once.",
      );
      tabs.postMessage("go");
      const answers = await withEvent(() => Promise.all([refreshAlone(), ...(count > 1 ? [] : [refreshAlone()])]));
      await pause(IN_FLIGHT);
      if (answers.every(({ ok }) => ok)) {
        story.say("Nobody was logged out: the client spares you such races, and the server survives them.");
      } else {
        await auth.refresh(); // the session was over before the race
      }
    },

    async lose() {
      story.begin("Lose an answer");
      await untilOldEnough();
      await withEvent(lose);
      story.say(`Asleep for longer than the grace of ${grace} s. Then the tab wakes, with the old token.`);
      await pause(grace * 1000 + IN_FLIGHT);
      await withEvent(() => auth.refresh());
    },

    async steal() {
      story.begin("Steal the refresh token");
      const { generation } = await demand("/auth/demo/steal");
      story.say(`The thief copies your refresh token, of generation ${generation}. You notice nothing, and go on.`);
      await untilOldEnough();
      await withEvent(() => auth.refresh());
      await withEvent(() => auth.refresh());
      story.say(`The thief waits until the grace of ${grace} s is over. Then he comes with his copy.`);
      await pause(grace * 1000 + IN_FLIGHT);
      const { verdict } = await demand("/auth/demo/replay");
      if (verdict === "NO_KEY") {
        story.say("The copy is worth nothing: the session is bound to a key that never leaves your browser.", "400", "good");
        await withEvent(() => auth.refresh());
        story.say("Your own refresh goes on. The thief has ended nothing.");
        return;
      }
      await pause(IN_FLIGHT);
      await auth.fetch("/api/me");
      if (auth.session) await auth.refresh();
      await pause(IN_FLIGHT);
      if (!auth.session) story.say("Your own refresh is refused too: log in again, and the thief stays out.");
    },
  };
}
