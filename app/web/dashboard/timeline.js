// A task's life as tracks on one line of time: pure geometry from its events, drawn as SVG in percent.

import { h, s } from "./dom.js";
import { clock, plain, tone } from "./words.js";

const FILES = 12; // tracks at most
const ROW = 22; // px

/** Spans of one thing's status: [{word, from, to}], from its changes in order. */
function spansOf(changes, end) {
  const spans = [];
  for (const { at, word } of changes) {
    const last = spans.at(-1);
    if (last?.word === word) continue;
    if (last) last.to = at;
    spans.push({ word, from: at, to: end });
  }
  return spans;
}

/** What is drawn, in milliseconds: {from, to, tracks: [{name, spans, points}]}. */
export function tracksOf(task, files, events, now) {
  const at = (text) => (text ? Date.parse(text) : null);
  const moments = events.map((event) => at(event.occurred_at));
  const began = [task.registered_at, task.recording_began_at, ...files.map((file) => file.began_at)];
  const from = Math.min(...[...began.map(at), ...moments].filter((one) => one !== null));
  const live = task.tracking === "active";
  const ends = [...moments, at(task.settled_at), at(task.recording_ended_at), at(task.polling.last_polled_at)];
  const last = Math.max(from + 1000, ...ends.filter((one) => one !== null));
  const to = live ? Math.max(now, last) : last + (last - from) * 0.04;

  const statuses = events.filter((event) => event.data.task)
    .map((event) => ({ at: at(event.occurred_at), word: event.data.task.status }));
  const recorded = at(task.recording_began_at);
  const tracks = [{ name: "Status", spans: spansOf(statuses, to), points: [] }];
  if (recorded !== null) {
    const ended = at(task.recording_ended_at) ?? to;
    tracks.push({ name: "Recorded", spans: [{ word: "recording", from: recorded, to: ended }], points: [] });
  }
  for (const file of files.slice(0, FILES)) tracks.push(fileTrack(file, events, to, at));
  const callbacks = events.filter((event) => event.type === "callback.received");
  tracks.push({ name: "Callbacks", spans: [], points: callbacks.map((event) =>
    ({ at: at(event.data.callback?.received_at ?? event.occurred_at), told: plain(event.data.callback?.event ?? "") })) });
  const polls = new Set(events.filter((event) => event.source === "poll").map((event) => at(event.occurred_at)));
  const points = [...polls].map((moment) => ({ at: moment, told: "a poll that told something new" }));
  if (task.polling.last_polled_at) points.push({ at: at(task.polling.last_polled_at), told: "the last poll" });
  tracks.push({ name: "Polls", spans: [], points });
  return { from, to, tracks };
}

function fileTrack(file, events, end, at) {
  const changes = events.filter((event) => event.data.file?.file_id === file.file_id)
    .map((event) => ({ at: at(event.occurred_at), word: event.data.file.status }));
  if (!changes.length) changes.push({ at: at(file.first_seen_at), word: file.status });
  return { name: `File of ${file.user_id ?? file.stream_id ?? "nobody"}`, spans: spansOf(changes, end), points: [] };
}

/** The figure. All of it stands in the history below as text, so it is hidden from screen readers. */
export function timeline(task, files, events, now) {
  const { from, to, tracks } = tracksOf(task, files, events, now);
  const x = (moment) => `${Math.min(100, Math.max(0, (100 * (moment - from)) / (to - from)))}%`;
  const words = [...new Set(tracks.flatMap(({ spans }) => spans.map(({ word }) => word)))];
  const middle = from + (to - from) / 2;
  return h("figure", { class: "timeline" },
    h("div", { class: "tracks", "aria-hidden": "true" }, tracks.map(({ name, spans, points }) => [
      h("span", { class: "track-name" }, name),
      s("svg", { class: "track", width: "100%", height: ROW },
        s("line", { class: "axis", x1: 0, x2: "100%", y1: ROW / 2, y2: ROW / 2 }),
        spans.map((one) => s("rect", { class: `span ${tone(one.word)}`, x: x(one.from), y: 4, height: ROW - 8, rx: 3,
          width: `${Math.max(0.5, (100 * (one.to - one.from)) / (to - from))}%` },
        s("title", null, `${plain(one.word)}, from ${clock(one.from)}`))),
        points.map((one) => s("circle", { class: "point", cx: x(one.at), cy: ROW / 2, r: 5 },
          s("title", null, `${clock(one.at)} ${one.told}`)))),
    ]),
    h("span"),
    h("span", { class: "scale" }, [from, middle, to].map((moment) => h("span", null, clock(moment))))),
    h("ul", { class: "legend" }, words.map((word) =>
      h("li", null, h("span", { class: `swatch ${tone(word)}` }), ` ${plain(word)}`))),
    h("figcaption", { class: "quiet" },
      `As it became known here. ${task.polling.poll_count} polls so far; dots are those that told something new` +
      `${files.length > FILES ? `; the first ${FILES} of ${files.length} files` : ""}. The history below says the same.`));
}
