// The page as a whole: which view is shown, the stream that keeps it fresh, and the key.

import { Refused, follow, forgetKey, get, keyIsKept } from "./api.js";
import { h } from "./dom.js";
import { keyPage } from "./key.js";
import { overview } from "./overview.js";
import { searchPage } from "./search.js";
import { taskPage } from "./task.js";

const OFTEN = 10_000; // ms between two looks at numbers that no event tells of
const SELDOM = 60_000;
const SOON = 400; // after an event; many events make one look
const PAUSE = 3_000; // between two such looks
const CHANGES = 20;

const place = document.getElementById("view");
const live = document.getElementById("live");
const search = document.getElementById("search");
const forget = h("button", { type: "button", id: "forget", hidden: true }, "Forget the key");
document.querySelector("nav").append(" ", forget);

let view = null;
let leave = null; // ends the stream
const changes = []; // newest first
const again = new Set();
let planned = null;
let lookedAt = -PAUSE;

function failed(error) {
  if (error.status !== 401 || !leave) return;
  const hadKey = keyIsKept();
  stop();
  forgetKey();
  askForKey(hadKey);
}

function askForKey(refused) {
  view = null;
  forget.hidden = true;
  live.textContent = "";
  document.title = "Key · recording-status";
  keyPage(place, { refused, entered: start });
}

function route() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [room, name] = path.split("/");
  const context = { failed, changes };
  if (room === "tasks" && name) return taskPage(place, context, decoded(name));
  if (room === "search") {
    const wanted = new URLSearchParams(query).get("q") ?? "";
    search.elements.wanted.value = wanted;
    if (wanted) return searchPage(place, context, wanted);
  }
  return overview(place, context);
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

async function open({ focus }) {
  view = route();
  document.title = `${view.title} · recording-status`;
  if (focus) {
    place.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  await view.load();
}

/** Ask whether a key is needed, then show the view and follow what changes from there. */
async function start() {
  stop();
  live.textContent = "Connecting …";
  try {
    const { events_after: position } = await get("/v1/tasks", { limit: 1 });
    forget.hidden = !keyIsKept();
    leave = follow(position ?? null, { heard, state, lost: () => view?.load(), refused: failed });
    await open({ focus: keyIsKept() });
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (error.status === 401) {
      const hadKey = keyIsKept();
      forgetKey();
      askForKey(hadKey);
      return;
    }
    place.replaceChildren(h("h1", null, "No answer"), h("p", { class: "fault", role: "alert" },
      `${error.message}. It is tried again every few seconds.`));
    setTimeout(start, 5000);
  }
}

function stop() {
  leave?.();
  leave = null;
}

function state(word) {
  live.textContent = word === "live" ? "Live" : "Reconnecting …";
  live.dataset.state = word;
}

function heard(event) {
  changes.unshift(event);
  changes.length = Math.min(changes.length, CHANGES);
  if (!view) return;
  for (const name of view.heard(event)) again.add(name);
  if (again.size && planned === null) {
    planned = setTimeout(look, Math.max(SOON, lookedAt + PAUSE - performance.now()));
  }
}

async function look() {
  const names = [...again];
  again.clear();
  planned = null;
  lookedAt = performance.now();
  await view?.again(names);
}

const shown = () => document.visibilityState === "visible" && leave;

search.addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  const wanted = search.elements.wanted.value.trim();
  if (wanted) location.hash = `#/search?${new URLSearchParams({ q: wanted })}`;
});
forget.addEventListener("click", () => {
  stop();
  forgetKey();
  changes.length = 0;
  askForKey(false);
});
document.getElementById("skip").addEventListener("click", (clicked) => {
  clicked.preventDefault();
  place.focus();
});
addEventListener("hashchange", () => leave && open({ focus: true }));
document.addEventListener("visibilitychange", () => shown() && view?.load());
setInterval(() => shown() && view?.often(), OFTEN);
setInterval(() => shown() && view?.seldom(), SELDOM);

start();
