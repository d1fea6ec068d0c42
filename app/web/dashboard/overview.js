// The first page: is all well, how far behind, what ended lately, who needs a person.

import { Refused, get, getIfThere, keyIsKept, readiness } from "./api.js";
import { outcomesChart } from "./chart.js";
import { h, show } from "./dom.js";
import { appPanel, callbacksPanel, deliveriesPanel, healthPanel, tasksPanel } from "./panels.js";
import { eventsTable, tasksTable } from "./tables.js";

const NEWEST = 15;
const LATEST = 20;
const ATTENTION = "failing,not_found,expiring,lost,backup_expiring";

const section = (name, title, ...children) =>
  h("section", { id: name, "aria-labelledby": `${name}-title`, class: "panel" },
    h("h2", { id: `${name}-title` }, title), children, h("div", { class: "body" }));

/** The view; `failed` is told of errors that are not a panel's own, such as a refused key. */
export function overview(place, { failed, changes }) {
  let newest = [];
  let counts = null; // of deliveries
  let webhooks = null; // {subscriptions, failed}, once read
  let period = "hour";
  const periods = h("div", { class: "switch", role: "group", "aria-label": "Period" },
    [["hour", "Hour"], ["day", "Day"]].map(([value, name]) =>
      h("button", { type: "button", "data-span": value, "aria-pressed": String(value === period) }, name)));
  periods.addEventListener("click", ({ target }) => {
    if (!target.dataset.span) return;
    period = target.dataset.span;
    for (const one of periods.children) one.setAttribute("aria-pressed", String(one.dataset.span === period));
    panels.outcomes();
  });
  place.replaceChildren(
    h("h1", { class: "unseen" }, "Overview"),
    section("begin", "How to begin"), section("health", "Health"), section("apps", "Call budget and backlog"),
    section("tasks", "Tasks"),
    section("attention", "Needs a person"), section("outcomes", "Ended lately", periods),
    section("newest", "Newest tasks"), section("callbacks", "Callbacks"), section("deliveries", "Webhooks"),
    section("changes", "Changes since this page was opened"));
  // Kept, not looked up: an answer may come when another view has taken the place.
  const sections = new Map([...place.querySelectorAll("section")].map((one) => [one.id, one]));
  const body = (name) => sections.get(name).lastElementChild;
  const hide = (name, hidden) => sections.get(name).toggleAttribute("hidden", hidden);
  for (const name of ["begin", "deliveries"]) hide(name, true);

  const panels = {
    async health() {
      show(body("health"), healthPanel(await readiness()));
    },
    async stats() {
      const [stats, apps] = await Promise.all([get("/v1/stats"), getIfThere("/v1/apps")]);
      const switches = new Map((apps?.items ?? []).map((app) => [app.app_id, app]));
      show(body("apps"), h("div", { class: "cards" },
        stats.apps.map((app) => appPanel(app, switches.get(app.app_id), stats.at)),
        stats.apps.length === 0 && h("p", null, "No app is configured.")));
      show(body("callbacks"), callbacksPanel(stats.callbacks, stats.apps));
      counts = stats.deliveries ?? null;
      showWebhooks();
      show(body("tasks"), tasksPanel(stats.tasks));
      const empty = Object.keys(stats.tasks.tracking).length === 0;
      hide("begin", !empty);
      for (const name of ["tasks", "attention", "outcomes", "newest"]) hide(name, empty);
      if (empty) show(body("begin"), beginning());
    },
    async outcomes() {
      const wanted = period;
      const ended = await get("/v1/stats/outcomes", { span: wanted });
      if (wanted === period) show(body("outcomes"), outcomesChart(ended, wanted));
    },
    async attention() {
      const { items, next_cursor: more } = await get("/v1/tasks", { attention: ATTENTION, limit: 20 });
      show(body("attention"),
        items.length ? tasksTable(items, "Tasks that need a person", { why: true }) : h("p", null, "None: all is well."),
        more !== null && h("p", { class: "quiet" }, "The 20 newest are shown; GET /v1/tasks?attention= lists all."));
    },
    async newest() {
      newest = (await get("/v1/tasks", { limit: NEWEST })).items;
      showNewest();
    },
    async deliveries() {
      const subscriptions = await getIfThere("/v1/subscriptions", { limit: 100 });
      const failed = await getIfThere("/v1/deliveries", { status: "failed", limit: 10 });
      webhooks = subscriptions && { subscriptions: subscriptions.items, failed: failed?.items ?? [] };
      showWebhooks();
    },
  };

  function showWebhooks() {
    hide("deliveries", !webhooks);
    if (webhooks) show(body("deliveries"), deliveriesPanel(webhooks, counts));
  }

  const showNewest = () => show(body("newest"), tasksTable(newest, "Newest tasks"));
  const showChanges = () => show(body("changes"), changes.length
    ? eventsTable(changes.slice(0, LATEST), "Latest changes", { tasks: true })
    : h("p", { class: "quiet" }, "None yet. They appear here as they happen."));

  async function load(...names) {
    await Promise.all(names.map(async (name) => {
      const at = name === "stats" ? "apps" : name;
      try {
        await panels[name]();
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        if (error.status === 401) failed(error);
        else show(body(at), h("p", { class: "fault", role: "alert" }, `Not to be read now: ${error.message}`));
      }
    }));
  }

  showChanges();
  return {
    title: "Overview",
    load: () => load(...Object.keys(panels)),
    often: () => load("stats", "health", "outcomes"),
    seldom: () => load("attention", "deliveries", "newest"),
    heard(event) {
      showChanges();
      const task = event.data.task;
      const known = newest.findIndex((one) => one.task_id === event.task_id);
      if (event.type === "task.deleted") newest = newest.filter((one) => one.task_id !== event.task_id);
      else if (task && known >= 0 && newest[known].version <= task.version) newest[known] = task;
      else if (task && event.type === "task.registered") newest = [task, ...newest].slice(0, NEWEST);
      showNewest();
      const touched = task?.attention?.length || event.data.previous?.attention || event.type === "task.deleted";
      return ["stats", ...(touched ? ["attention"] : []), ...(event.data.previous?.tracking ? ["outcomes"] : [])];
    },
    again: (names) => load(...names),
  };
}

function beginning() {
  const key = keyIsKept() ? " -H 'Authorization: Bearer YOUR-KEY'" : "";
  const command = `curl -s ${location.origin}/v1/tasks${key} -H 'Content-Type: application/json' ` +
    `-d '{"task_id": "YOUR-TASK-ID-16C"}'`;
  return [
    h("p", null, "No task is registered yet. Register the TaskId that StartRecord returned, by the ",
      h("a", { href: "/docs" }, "API"), " or from a shell:"),
    h("pre", { class: "command", tabindex: 0, "aria-label": "Command" }, command),
    h("p", null, "It appears here at once and is followed until it is over and every file has reached its end. " +
      "Give the provider ", h("code", null, `${location.origin}/v1/callbacks/zego`),
    " as callback address, and ends are known within a second."),
  ];
}
