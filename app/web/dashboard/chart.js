// Outcomes over time as stacked bars, drawn as SVG in percent: it fits whatever place it gets.

import { h, s } from "./dom.js";
import { OUTCOMES, clock, number, plain } from "./words.js";

const HEIGHT = 100; // px

/** The figure, its legend, and the same numbers as a table. */
export function outcomesChart({ step_seconds: step, steps }, span) {
  const totals = steps.map(({ outcomes }) => Object.values(outcomes).reduce((sum, count) => sum + count, 0));
  const highest = Math.max(1, ...totals);
  const words = wordsOf(steps);
  const sums = words.map((word) => steps.reduce((sum, { outcomes }) => sum + (outcomes[word] ?? 0), 0));
  const told = words.map((word, index) => `${number(sums[index])} ${plain(word)}`).join(", ");
  const what = span === "hour" ? "in the last hour" : "in the last 24 hours";
  return [
    h("ul", { class: "legend" }, words.map((word, index) =>
      h("li", null, h("span", { class: `swatch fill-${known(word)}` }), ` ${number(sums[index])} ${plain(word)}`))),
    words.length === 0 && h("p", { class: "quiet" }, `Nothing ended ${what}.`),
    s("svg", { class: "chart", width: "100%", height: HEIGHT, role: "img",
      "aria-label": `Recordings that ended ${what}: ${told || "none"}. At most ${number(highest)} in a step.` },
      steps.map(({ outcomes }, index) => bar(outcomes, index, steps.length, highest, words)),
      s("line", { class: "axis", x1: 0, x2: "100%", y1: HEIGHT - 0.5, y2: HEIGHT - 0.5 })),
    h("p", { class: "scale" },
      h("span", null, steps.length ? short(steps[0].at) : ""), h("span", null, `peak ${number(Math.max(0, ...totals))}`),
      h("span", null, "now")),
    h("details", null, h("summary", null, "As a table"),
      h("table", null,
        h("thead", null, h("tr", null, h("th", { scope: "col" }, step >= 3600 ? "Hour" : "Minute"),
          words.map((word) => h("th", { scope: "col", class: "count" }, plain(word))))),
        h("tbody", null, steps.filter((_, index) => totals[index]).reverse().map(({ at, outcomes }) =>
          h("tr", null, h("th", { scope: "row" }, short(at)),
            words.map((word) => h("td", { class: "count" }, number(outcomes[word] ?? 0)))))))),
  ];
}

function bar(outcomes, index, steps, highest, words) {
  const width = 100 / steps;
  let top = HEIGHT - 1;
  return words.filter((word) => outcomes[word]).map((word) => {
    const height = Math.max(2, (outcomes[word] / highest) * (HEIGHT - 6));
    top -= height;
    return s("rect", { class: `fill-${known(word)}`, x: `${index * width + width * 0.1}%`, width: `${width * 0.8}%`,
      y: Math.max(0, top), height });
  });
}

const short = (at) => clock(at).replace(/:\d\d$/, "");
const known = (word) => (OUTCOMES.includes(word) ? word : "unresolved");

function wordsOf(steps) {
  const seen = new Set(steps.flatMap(({ outcomes }) => Object.keys(outcomes)));
  return [...OUTCOMES.filter((word) => seen.delete(word)), ...seen];
}
