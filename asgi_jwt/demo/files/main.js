/** The demo's page: a front end with the browser client, which also shows what the server does. */

import { createAuth } from "/auth/asgi-jwt.js";
import { dpop } from "/auth/asgi-jwt-dpop.js";
import { openFeed } from "./feed.js";
import { makeScenes } from "./scenes.js";
import * as view from "./view.js";

const { $, story } = view;

const about = await (await fetch("/demo/about")).json();
const auth = createAuth({ base: "/auth", onchange: changed, dpop: prove });

let acting = false; // one action runs at a time, so that the story is about one action
let known = false; // whether the page has shown a session, or that there is none

const feed = openFeed({ onevent: heard, online: view.showLine });
const scenes = makeScenes({ auth, feed, grace: about.grace });

/** A page of your own passes `dpop` itself, and binds every login. */
function prove(request, send) {
  const isUnbound = request.url.endsWith("/auth/login") && !$("bound").checked;
  return isUnbound ? send(request) : dpop(request, send);
}

function heard(event) {
  view.addEvent(event);
  scenes.watch(event);
  if (event.id <= about.newest) return; // the event is older than this page
  story.event(event, acting);
  if (event.name.startsWith("session_")) listDevices();
}

function changed(session) {
  view.showSession(session, known);
  known = true;
  view.showButtons(session, acting);
  tick();
  listDevices();
}

function tick() {
  view.showCountdown(auth.session, about.access_life);
  view.showFresh(auth.session ? Math.ceil(scenes.freshFor() / 1000) : 0);
}

async function listDevices() {
  if (acting || !auth.session) return; // `act` lists the devices at its end
  try {
    const sessions = await auth.sessions();
    if (auth.session) view.showDevices(sessions, endDevice);
  } catch {
    // Either the session is over, which `changed` shows, or the demo has ended, which the first line shows.
  }
}

/** Do the work of a button. No other action begins meanwhile. */
async function act(work) {
  if (acting) return;
  acting = true;
  view.showButtons(auth.session, acting);
  try {
    await work();
  } catch (error) {
    story.say(error.message, String(error.status ?? "Failed"), "bad");
  } finally {
    acting = false;
    view.showButtons(auth.session, acting);
    listDevices();
  }
}

function button(id, work) {
  $(id).addEventListener("click", () => {
    if ($(id).dataset.session === undefined || auth.session) act(work);
    else story.begin("Log in first");
  });
}

function withStory(title, work) {
  return async () => {
    story.begin(title);
    await work();
  };
}

const endDevice = (sid, name) => act(withStory(`End ${name}`, () => auth.endSession(sid)));

$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  const fields = new FormData(event.target);
  $("refusal").textContent = "";
  act(async () => {
    try {
      await scenes.logIn(fields);
    } catch (error) {
      $("refusal").textContent = error.message;
      $("password").focus();
    }
  });
});

button("call", scenes.call);
button("rotate", scenes.rotate);
button("race", scenes.race);
button("lose", scenes.lose);
button("steal", scenes.steal);
button("logout", withStory("Log out", auth.logout));
button("everywhere", withStory("Log out everywhere", auth.logoutEverywhere));
button("elsewhere", withStory("Log in on another device", () => auth.fetch("/api/devices", { method: "POST" })));

view.showUsers(about.users);
view.showRefused(about.refused, (title, token) => act(() => scenes.callWith(title, token)));
$("grace").textContent = about.grace;
view.showButtons(null, acting);
setInterval(tick, 500);
