/** The demo's page: a client of asgi_jwt as any front end is one, with its inside shown. */

import { createAuth } from "/auth/asgi-jwt.js";
import { openFeed } from "./feed.js";
import { makeScenes } from "./scenes.js";
import * as view from "./view.js";

const { $, story } = view;

const about = await (await fetch("/demo/about")).json();
const auth = createAuth({ base: "/auth", onchange: changed });

let acting = false; // one thing at a time, so that the story is of one thing
let known = false; // whether the page has shown who is logged in

const feed = openFeed({ onevent: heard, online: view.showLine });
const scenes = makeScenes({ auth, feed, grace: about.grace });

function heard(event) {
  view.addEvent(event);
  scenes.watch(event);
  if (event.id <= about.newest) return; // it happened before this page was here
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
  if (acting || !auth.session) return; // whoever acts lists them at the end
  try {
    const sessions = await auth.sessions();
    if (auth.session) view.showDevices(sessions, endDevice);
  } catch {
    // The session is over, which `changed` shows, or the demo is, which the first line says.
  }
}

/** `work` for a button: nothing else begins meanwhile. */
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

function told(title, work) {
  return async () => {
    story.begin(title);
    await work();
  };
}

const endDevice = (sid, name) => act(told(`End ${name}`, () => auth.endSession(sid)));

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
button("logout", told("Log out", auth.logout));
button("everywhere", told("Log out everywhere", auth.logoutEverywhere));
button("elsewhere", told("Log in on another device", () => auth.fetch("/api/devices", { method: "POST" })));

view.showUsers(about.users);
view.showRefused(about.refused, (title, token) => act(() => scenes.callWith(title, token)));
$("grace").textContent = about.grace;
view.showButtons(null, acting);
setInterval(tick, 500);
