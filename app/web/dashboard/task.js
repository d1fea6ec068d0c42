// One task: what is known, its life drawn, its files and its history.

import { Refused, get, post } from "./api.js";
import { h, show } from "./dom.js";
import { counts, eventsTable } from "./tables.js";
import { timeline } from "./timeline.js";
import { badge, foreignLink, number, plain, size, span, time } from "./words.js";

const PAGES = 4; // of 500 events

export function taskPage(place, { failed }, taskId) {
  const refresh = h("button", { type: "button", id: "refresh" }, "Ask the provider now");
  const told = h("p", { id: "told", role: "status" });
  const body = h("div");
  place.replaceChildren(h("h1", { class: "id" }, taskId), h("div", { class: "actions" }, refresh, told), body);
  let busy = false;

  refresh.addEventListener("click", async () => {
    if (busy) return;
    busy = true;
    refresh.setAttribute("aria-disabled", "true");
    told.textContent = "Asking …";
    try {
      await post(`/v1/tasks/${encodeURIComponent(taskId)}/refresh?wait=10`);
      await load();
      told.textContent = "This is what the provider says now.";
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (error.status === 401) failed(error);
      told.textContent = error.status === 403 ? "This key may not: it takes the role write." : `Not done: ${error.message}`;
    } finally {
      busy = false;
      refresh.removeAttribute("aria-disabled");
    }
  });

  async function history() {
    const found = [];
    let cursor = null;
    for (let page = 0; page < PAGES; page += 1) {
      const { items, next_cursor: next } = await get(`/v1/tasks/${encodeURIComponent(taskId)}/events`, { limit: 500, cursor });
      found.push(...items);
      cursor = next;
      if (cursor === null) break;
    }
    return found;
  }

  async function load() {
    const address = `/v1/tasks/${encodeURIComponent(taskId)}`;
    try {
      const [task, files, events] = await Promise.all([get(address), get(`${address}/files`, { limit: 200 }), history()]);
      refresh.hidden = task.tracking === "untracked" || Date.parse(task.query_deadline) < Date.now();
      show(body, known(task), h("section", { class: "panel" }, h("h2", null, "Life"),
        timeline(task, files.items, events, Date.now())), filesOf(files), historyOf(events));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (error.status === 401) failed(error);
      refresh.hidden = true;
      const missing = error.status === 404 || error.status === 422;
      show(body, h("p", { class: "fault", role: "alert" },
        missing ? "No task is registered under this id." : `Not to be read now: ${error.message}`));
    }
  }

  return {
    title: `Task ${taskId}`,
    load,
    often: () => {},
    seldom: load,
    heard: (event) => (event.task_id === taskId ? ["task"] : []),
    again: load,
  };
}

function known(task) {
  const { polling } = task;
  const pairs = [
    ["Status", badge(task.status)],
    ["Tracking", badge(task.tracking)],
    ["Outcome", task.outcome ? badge(task.outcome) : "–", task.outcome_basis === "callback" && " told by callbacks only"],
    task.attention.length > 0 && ["Attention", task.attention.map((word) => [badge(word), " "])],
    ["App", String(task.app_id)],
    ["Room", task.room_id ?? "–"],
    ["Labels", Object.entries(task.labels).map(([key, value]) => h("span", { class: "label" }, `${key}: ${value}`)),
      Object.keys(task.labels).length === 0 && "–"],
    ["Recorded", time(task.recording_began_at), " to ", time(task.recording_ended_at)],
    ["Files", counts(task.file_counts)],
    ["Registered", time(task.registered_at), ` by ${task.registered_via}`],
    ["Settled", time(task.settled_at)],
    ["The provider answers until", time(task.query_deadline)],
    ["Polls", `${number(polling.poll_count)}, last `, time(polling.last_polled_at), ", next ", time(polling.next_poll_at)],
    polling.last_error && ["Last error", `${polling.last_error.code}: ${polling.last_error.message} `, time(polling.last_error.at)],
    task.quit_reason && ["Quit reason", plain(task.quit_reason)],
    task.notices.length > 0 && ["Notices", h("ul", null, task.notices.map((one) =>
      h("li", null, `${plain(one.code)}: ${one.detail ?? ""} (${number(one.count)}×)`)))],
    task.live_playlists.length > 0 && ["Live playlists", h("ul", null, task.live_playlists.map((one) =>
      h("li", null, foreignLink(one.url ?? one.file_id ?? "–"))))],
  ];
  return h("section", { class: "panel" }, h("h2", null, "Known"),
    h("dl", { class: "facts" }, pairs.filter(Boolean).map(([name, ...value]) =>
      h("div", null, h("dt", null, name), h("dd", null, value)))));
}

function filesOf({ items, next_cursor: more }) {
  return h("section", { class: "panel" }, h("h2", null, "Files"),
    items.length === 0 ? h("p", { class: "quiet" }, "None is known yet.") :
      h("table", null, h("caption", { class: "unseen" }, "Files"),
        h("thead", null, h("tr", null, h("th", { scope: "col" }, "File"), h("th", { scope: "col" }, "Status"),
          h("th", { scope: "col", class: "wide" }, "User"), h("th", { scope: "col", class: "wide" }, "Length"),
          h("th", { scope: "col", class: "wide" }, "Size"))),
        h("tbody", null, items.map((file) => h("tr", null,
          h("th", { scope: "row" }, h("span", { class: "id" }, file.file_id),
            file.file_url && h("span", { class: "under" }, foreignLink(file.file_url))),
          h("td", null, badge(file.status), file.source === "callback" && h("span", { class: "under" }, "unverified"),
            file.backup_expires_at && h("span", { class: "under" }, "until ", time(file.backup_expires_at))),
          h("td", { class: "wide" }, file.user_id ?? "–", file.user_name && h("span", { class: "under" }, file.user_name)),
          h("td", { class: "wide" }, file.duration_ms === null ? "–" : span(file.duration_ms / 1000)),
          h("td", { class: "wide" }, size(file.file_size)))))),
    more !== null && h("p", { class: "quiet" }, `The first ${items.length} are shown.`));
}

const historyOf = (events) => h("section", { class: "panel" }, h("h2", null, "History"),
  eventsTable(events.toReversed(), "History, newest first"));
