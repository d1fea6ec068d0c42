// How numbers, times and the API's words are said.

import { h } from "./dom.js";

export const OUTCOMES = ["uploaded", "uploaded_to_backup", "partially_lost", "lost", "no_files", "unresolved"];

/** The API's word as people read it. */
export const plain = (word) => String(word).replaceAll("_", " ");

/** The class that colours a word of the API; unknown words have none. */
const TONES = {
  uploaded: "good", uploaded_to_backup: "warn", partially_lost: "bad", lost: "bad", no_files: "calm",
  unresolved: "odd", pending: "calm", initialized: "odd", ongoing: "busy", recording: "busy", uploading: "odd",
  completed: "good", ended_abnormally: "warn", paused: "calm", unknown: "odd", failing: "bad", not_found: "bad",
  expiring: "warn", backup_expiring: "warn", ok: "good", degraded: "warn", down: "bad", active: "busy",
  settled: "good", expired: "bad", untracked: "calm",
};

export const tone = (word) => (Object.hasOwn(TONES, word) ? TONES[word] : "odd");

/** A word of the API as a badge. */
export const badge = (word) => h("span", { class: `badge ${tone(word)}` }, plain(word));

const WHOLE = new Intl.NumberFormat("en");
export const number = (value) => WHOLE.format(value);

/** Seconds as people say them: 48 s, 3 min, 2.5 h, 3 d. */
export function span(seconds) {
  if (seconds < 10) return `${Math.max(0, seconds).toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${(seconds / 3600).toFixed(1)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

/** A moment as text, on the reader's clock; the day only if it is another. */
export function clock(moment) {
  const at = new Date(moment);
  const today = at.toDateString() === new Date().toDateString();
  return today ? CLOCK.format(at) : `${DAY.format(at)} ${CLOCK.format(at)}`;
}

/** A moment as an element, in UTC on hovering. */
export const time = (moment) => (moment ? h("time", { datetime: moment, title: moment }, clock(moment)) : "–");

/** Bytes as people say them. */
export function size(bytes) {
  if (bytes === null || bytes === undefined) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = bytes > 0 ? Math.min(Math.floor(Math.log10(bytes) / 3), 4) : 0;
  return `${(bytes / 1000 ** power).toFixed(power ? 1 : 0)} ${units[power]}`;
}

/** Where a task's page is. */
export const taskAddress = (taskId) => `#/tasks/${encodeURIComponent(taskId)}`;

export const taskLink = (taskId) => h("a", { class: "id", href: taskAddress(taskId) }, taskId);

/** A URL that strangers gave: a link only if it is http or https. */
export function foreignLink(text) {
  let url = null;
  try {
    url = new URL(text);
  } catch {
    // It is no URL, so it is text.
  }
  if (!url || !["http:", "https:"].includes(url.protocol)) return h("span", { class: "id" }, text);
  return h("a", { class: "id", href: url.href, rel: "noreferrer noopener", target: "_blank" }, text);
}
