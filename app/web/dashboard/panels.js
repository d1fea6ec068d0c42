// The panels of the overview: numbers from /readyz, /v1/stats, /v1/apps and /v1/subscriptions as elements.

import { h, s } from "./dom.js";
import { badge, number, plain, span, taskLink, time } from "./words.js";

const facts = (...pairs) =>
  h("dl", { class: "facts" }, pairs.filter(Boolean).map(([name, ...value]) =>
    h("div", null, h("dt", null, name), h("dd", null, value))));

export function healthPanel({ status, checks }) {
  const words = { ok: "All is well", degraded: "It works, but not everything is well", down: "It cannot do its work" };
  const faults = Object.entries(checks ?? {}).filter(([, told]) => told !== "ok");
  return [
    h("p", { class: "headline" }, badge(status), ` ${words[status] ?? plain(status)}`),
    faults.length > 0 && h("ul", null, faults.map(([name, told]) => h("li", null, h("b", null, name), `: ${told}`))),
    checks && faults.length === 0 && h("p", { class: "quiet" }, `${Object.keys(checks).join(" · ")}: ok`),
  ];
}

/** How many tasks there are, and how the ended ones came out: what is well, and the rest. */
export function tasksPanel({ tracking, outcome }) {
  return facts(
    ...["active", "settled", "expired", "untracked"].map((word) => [plain(word), number(tracking[word] ?? 0)]),
    ["partially or wholly lost", number((outcome.lost ?? 0) + (outcome.partially_lost ?? 0))]);
}

const byClass = (counts) => {
  const some = Object.entries(counts).filter(([, count]) => count);
  return some.length > 0 && ` (${some.map(([name, count]) => `${number(count)} ${plain(name)}`).join(", ")})`;
};

const total = (counts) => Object.values(counts).reduce((sum, count) => sum + count, 0);

/** One app. `switches` is what operators set, if it could be read. */
export function appPanel(app, switches, at) {
  const { budget, backlog, deadlines, sweep, calls, detection } = app;
  const late = (backlog.oldest_due_seconds ?? 0) > 60;
  return h("article", { class: "card" },
    h("h3", null, `App ${app.app_id}`),
    notes(app, switches, at).map((note) => h("p", { class: "fault" }, note)),
    facts(
      ["Calls in use", `${budget.in_use} of ${budget.allowed}`, meter(budget)],
      ["Calls in the last minute", `${number(app.calls_in_last_minute)} of ${number(Math.round(app.rate * 60))} possible`,
        byClass(calls.last_minute)],
      ["In the last hour", number(total(calls.last_hour)), byClass(calls.last_hour)],
      ["Due now", h("b", { class: late && "bad" }, number(backlog.due)), byClass(backlog.due_by_class)],
      backlog.oldest_due_seconds !== null && ["Oldest due", h("b", { class: late && "bad" }, span(backlog.oldest_due_seconds))],
      ["Ends noticed after, last hour", detection.ended
        ? `${span(detection.median_seconds)} (half), ${span(detection.p95_seconds)} (95 %), of ${number(detection.ended)}` : "–"],
      deadlines.tasks > 0 && ["Windows closing within 6 h", number(deadlines.tasks)],
      ["Sweep", badge(sweep.state === "failing" ? "failing" : "ok"), ` ${sweep.state}`,
        sweep.completed_at && [", ", time(sweep.completed_at)],
        sweep.state === "working" && `, ${number(sweep.listed)} running`]));
}

function notes({ budget, deadlines, sweep }, switches, at) {
  const found = [];
  if (switches?.polling === "paused") found.push("Polling is switched off.");
  if (switches?.sweeping === "paused") found.push("The sweep is switched off.");
  if (switches && switches.poll_budget < switches.poll_limit) {
    found.push(`Slowed down to ${switches.poll_budget} of ${switches.poll_limit} calls.`);
  }
  if (budget.paused) found.push(`Paused: ${plain(budget.paused)}.`);
  if (budget.in_doubt) found.push(`${number(budget.in_doubt)} calls given up may still arrive.`);
  if (budget.refused_at && new Date(at) - new Date(budget.refused_at) < 600_000) {
    found.push("The provider refused a call as too many within the last 10 minutes.");
  }
  if (deadlines.unservable) found.push(`At least ${number(deadlines.unservable)} windows will close unserved.`);
  if (sweep.error) found.push(`The sweep fails: ${sweep.error.message}`);
  return found;
}

function meter({ limit, allowed, in_use: used }) {
  return s("svg", { class: "meter", width: "100%", height: 8, "aria-hidden": "true" },
    s("rect", { class: "rail", width: "100%", height: 8, rx: 4 }),
    s("rect", { class: "spare", width: `${(100 * allowed) / limit}%`, height: 8, rx: 4 }),
    s("rect", { class: "used", width: `${(100 * Math.min(used, limit)) / limit}%`, height: 8, rx: 4 }));
}

export function callbacksPanel({ accepted, repeat, suspicious, refused }, apps) {
  const heard = apps.filter((app) => app.detection.lost_callbacks);
  const sum = (value) => heard.reduce((all, app) => all + value(app.detection), 0);
  const lost = sum(({ lost_callbacks: some }) => total(some));
  return facts(
    ["Accepted, last 24 h", number(accepted)],
    ["Repeated", number(repeat)],
    ["Suspicious", h("b", { class: suspicious > 0 && "bad" }, number(suspicious))],
    heard.length > 0 && ["Lost, last hour", h("b", { class: lost > 0 && "bad" }, number(lost)),
      ` (${number(sum((one) => one.lost_callbacks.ended))} of ends, ` +
      `${number(sum((one) => one.lost_callbacks.upload_finished))} of files; ${number(sum((one) => one.ended))} recordings ended)`],
    heard.length < apps.length && ["Not taken", "No callback secret is configured",
      apps.length > 1 && ` for ${number(apps.length - heard.length)} of ${number(apps.length)} apps`],
    ["Refused since the start", h("b", { class: total(refused) > 0 && "bad" }, number(total(refused))), byClass(refused)]);
}

/** Subscriptions and the deliveries that were given up (none if the key may not see them); `counts` may be null. */
export function deliveriesPanel({ subscriptions, failed }, counts) {
  const names = new Map(subscriptions.map((one) => [one.subscription_id, one.name]));
  const troubled = subscriptions.filter((one) => one.failing_since || (one.disabled_at && one.disabled_reason !== "caller"));
  return [
    h("p", { class: "headline" }, badge(troubled.length ? "failing" : "ok"),
      ` ${number(subscriptions.length)} ${subscriptions.length === 1 ? "subscription" : "subscriptions"}, ` +
      `${number(troubled.length)} failing`),
    troubled.length > 0 && h("ul", null, troubled.map((one) => h("li", null, h("b", null, one.name),
      one.disabled_at ? [": disabled ", time(one.disabled_at), ` (${plain(one.disabled_reason)})`]
        : [": failing since ", time(one.failing_since)]))),
    counts && facts(
      ["On their way", number(counts.pending)],
      counts.oldest_pending_seconds !== null && ["Oldest", span(counts.oldest_pending_seconds)],
      ["Given up, last 24 h", h("b", { class: counts.failed > 0 && "bad" }, number(counts.failed))]),
    failed.length > 0 && h("table", null, h("caption", null, "Deliveries given up"),
      h("thead", null, h("tr", null,
        ["Subscription", "Event", "Last error"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", null, failed.map((one) => {
        const last = one.attempts?.at(-1);
        return h("tr", null, h("th", { scope: "row" }, names.get(one.subscription_id) ?? one.subscription_id),
          h("td", null, one.type, one.task_id && h("span", { class: "under" }, taskLink(one.task_id))),
          h("td", null, last ? last.error ?? `answered ${last.status_code}` : "–"));
      }))),
  ];
}
