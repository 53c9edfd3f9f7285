/** Shows everything on the page. All content is set as text, so no text of a server becomes markup. */

import { claimText, claimTitle, clock, describe, deviceName, fields, inOrder } from "./words.js";

const MOST_EVENTS = 200;
const QUIET = 3000; // ms after which an event belongs to a new story

export const $ = (id) => document.getElementById(id);

function make(tag, { className, ...properties } = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

/** The story of one action: its steps, and what the server did. */
export const story = {
  changedAt: 0,

  begin(title) {
    $("story").replaceChildren(make("h3", { textContent: title }));
    this.changedAt = performance.now();
  },

  say(text, mark, look = "calm") {
    const last = $("story").lastElementChild;
    if (mark && last?.dataset.said === mark + text) {
      const times = Number(last.dataset.times ?? 1) + 1;
      last.dataset.times = times;
      last.querySelector(".mark").textContent = `${mark} ×${times}`;
    } else {
      const line = make("p", { className: look }, ...(mark ? [make("span", { className: "mark" }, mark), " "] : []), text);
      line.dataset.said = mark + text;
      $("story").append(line);
    }
    $("story").scrollTop = $("story").scrollHeight;
    this.changedAt = performance.now();
  },

  event(event, acting) {
    const { mark, look, text, aloud } = describe(event);
    if (!aloud) return;
    if (!acting && performance.now() - this.changedAt > QUIET) this.begin("Meanwhile");
    this.say(text, mark, look);
  },
};

export function addEvent(event) {
  const { look } = describe(event);
  const time = make("time", { textContent: clock(event.at) });
  $("events").prepend(make("li", { className: look }, time, " ", make("b", {}, event.name), " ", fields(event)));
  while ($("events").childElementCount > MOST_EVENTS) $("events").lastElementChild.remove();
}

/** Show the session. `known`: the page has shown its state before; otherwise the focus stays where it is. */
export function showSession(session, known) {
  const hadFocus = [document.body, null].includes(document.activeElement) || document.activeElement.closest("#you, #devices");
  const changes = Boolean(session) === $("session").hidden;
  $("login").hidden = Boolean(session);
  $("session").hidden = !session;
  $("you-title").textContent = session ? `You are ${session.subject}` : "Log in";
  if (session) {
    $("claims").replaceChildren(
      ...inOrder(session.claims).map(([name, value]) =>
        make("div", {}, make("dt", {}, make("code", {}, name), " ", claimTitle(name)), make("dd", {}, claimText(name, value))),
      ),
    );
  } else {
    $("sessions").replaceChildren();
  }
  $("devices").hidden = !session;
  // The element with the focus is hidden now.
  if (known && changes && hadFocus) $("you-title").focus();
}

export function showCountdown(session, life) {
  if (!session) return;
  const left = Math.max(0, Math.ceil((session.expiresAt - Date.now()) / 1000));
  $("life").max = life;
  $("life").value = left;
  $("countdown").textContent = left ? `${left} s` : "expired, so the next call refreshes first";
}

export function showDevices(sessions, end) {
  const row = ({ sid, client, created_at, used_at, current }) => {
    const name = deviceName(client.user_agent);
    const button = make("button", { textContent: "End", onclick: () => end(sid, name) });
    button.setAttribute("aria-label", `End ${name}, logged in at ${clock(created_at)}`);
    return make(
      "li",
      {},
      make("span", {}, make("b", {}, name), ...(current ? [" ", make("span", { className: "here" }, "this one")] : [])),
      make("small", {}, `last used ${clock(used_at)}`),
      button,
    );
  };
  const hadFocus = $("sessions").contains(document.activeElement);
  // This device comes first, then the others, the last used one first.
  const sorted = [...sessions].sort((a, b) => b.current - a.current || b.used_at - a.used_at);
  $("sessions").replaceChildren(...sorted.map(row));
  if (hadFocus) $("devices-title").focus();
}

export function showUsers(users) {
  const words = users.flatMap(({ name, password }, index) => [index ? ", " : "", name, " ", make("code", {}, password)]);
  $("users").replaceChildren("Made for this run: ", ...words, ".");
  [$("username").value, $("password").value] = [users[0].name, users[0].password];
}

export function showRefused(attempts, send) {
  const button = ({ title, adjective, token }) => make("button", { textContent: adjective, onclick: () => send(title, token) });
  $("refused").replaceChildren(...attempts.map(button));
}

export function showFresh(seconds) {
  $("fresh").textContent = seconds ? `For ${seconds} s it is too young for that, and stays.` : "";
}

/** Mark the buttons that would do nothing, and say why. They are not disabled: the keyboard still finds them. */
export function showButtons(session, acting) {
  const why = acting ? "One thing at a time: wait for the end of this story." : "Log in first: a grey button needs a session.";
  $("why").textContent = acting || !session ? why : "";
  for (const button of document.querySelectorAll("main button")) {
    const disabled = acting || (!session && button.dataset.session !== undefined);
    button.setAttribute("aria-disabled", disabled);
    button.title = disabled ? why : "";
  }
}

export function showLine(online) {
  $("line").textContent = online ? "Connected" : "The demo does not answer. Is it still running?";
  $("line").className = online ? "on" : "off";
}
