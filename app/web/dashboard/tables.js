// Tasks and events as tables, the same on every page.

import { h } from "./dom.js";
import { badge, plain, taskLink, time } from "./words.js";

const head = (...names) =>
  h("thead", null, h("tr", null, names.map(([name, kind]) => h("th", { scope: "col", class: kind }, name))));

/** Tasks; `why`: with what a person should look at, instead of the outcome. */
export function tasksTable(tasks, caption, { why = false } = {}) {
  return h("table", null, h("caption", { class: "unseen" }, caption),
    head(["Task"], ["Status"], [why ? "Why" : "Outcome"], ["Files", "wide"], ["Updated", "wide"]),
    h("tbody", null, tasks.map((task) => h("tr", null,
      h("th", { scope: "row" }, taskLink(task.task_id), task.room_id && h("span", { class: "under" }, task.room_id)),
      h("td", null, badge(task.status)),
      h("td", null, why ? task.attention.map((word) => [badge(word), " "]) : judgement(task)),
      h("td", { class: "wide" }, counts(task.file_counts)),
      h("td", { class: "wide" }, time(task.updated_at))))));
}

const judgement = (task) =>
  task.outcome ? badge(task.outcome) : h("span", { class: "quiet" }, task.tracking === "active" ? "followed" : "–");

export const counts = (byStatus) =>
  Object.entries(byStatus).map(([status, count]) => `${count} ${plain(status)}`).join(", ") || "–";

/** Events, as given. `tasks`: with the task each is about. */
export function eventsTable(events, caption, { tasks = false } = {}) {
  return h("table", null, h("caption", { class: "unseen" }, caption),
    head(["Time"], ...(tasks ? [["Task"]] : []), ["What"], ["Told by", "wide"]),
    h("tbody", null, events.map((event) => h("tr", null,
      h("td", null, time(event.occurred_at)),
      tasks && h("td", null, event.task_id && taskLink(event.task_id)),
      h("td", null, h("span", { class: "kind" }, event.type), h("span", { class: "under" }, change(event))),
      h("td", { class: "wide" }, event.source)))));
}

/** What an event says, in a few words. */
function change({ data }) {
  if (data.callback) return plain(data.callback.event);
  const of = data.file ?? data.task ?? {};
  const previous = data.previous ?? {};
  const told = ["status", "tracking", "outcome", "attention"].filter((name) => name in previous)
    .map((name) => `${name} ${said(previous[name])} → ${said(of[name])}`);
  if (data.file && !data.previous) told.push(`new file: ${said(of.status)}`);
  if (data.file) told.push(data.file.file_id);
  const others = Object.keys(previous).filter((name) => !["status", "tracking", "outcome", "attention"].includes(name));
  if (!told.length && others.length) told.push(others.map(plain).join(", "));
  return told.join(" · ");
}

function said(value) {
  if (Array.isArray(value)) return value.length ? value.map(plain).join(", ") : "none";
  return value === null || value === undefined ? "none" : plain(value);
}
