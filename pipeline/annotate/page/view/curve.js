/** The scores over the clip: the model's line, the person's steps, and dashes where nothing is set. */

import { selection } from "../core/editor.js";
import { runs, snap } from "../core/levels.js";
import { t } from "../i18n.js";

const NAMESPACE = "http://www.w3.org/2000/svg";
const HIGH = 100;

/** @param {string} tag @param {Record<string, string | number>} attributes */
function shape(tag, attributes) {
  const element = document.createElementNS(NAMESPACE, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  return element;
}

const y = (score) => HIGH - score * (HIGH - 6) - 3;

/**
 * @param {SVGElement} svg
 * @param {any} item
 * @param {import("../core/editor.js").State} state
 * @param {number} now frame on the large screen
 */
export function drawCurve(svg, item, state, now) {
  const frames = state.levels.length;
  const { first, last } = selection(state);
  const end = Math.min(item.window.stop, frames);
  svg.setAttribute("viewBox", `0 0 ${frames} ${HIGH}`);
  const parts = [
    shape("rect", { class: "window", x: item.window.start, y: 0, width: end - item.window.start, height: HIGH }),
  ];
  if (first !== last) parts.push(shape("rect", { class: "selected", x: first, y: 0, width: last - first + 1, height: HIGH }));
  for (const score of [0, 0.5, 1]) {
    parts.push(shape("line", { class: "grid", x1: 0, x2: frames, y1: y(score), y2: y(score) }));
  }
  for (const run of runs(state.levels)) {
    const [from, to] = [run.first, run.last + 1];
    if (run.level === null) parts.push(shape("path", { class: "unset", d: `M${from} ${y(0.5)}H${to}` }));
    else parts.push(shape("rect", { class: "area", x: from, y: y(run.level), width: to - from, height: HIGH - y(run.level) }));
  }
  parts.push(shape("path", { class: "human", d: steps(state.levels) }));
  const line = state.model.map((score, i) => `${i + 0.5} ${y(score)}`).join("L");
  parts.push(shape("path", { class: "model", d: `M${line}` }));
  parts.push(shape("line", { class: "now", x1: now + 0.5, x2: now + 0.5, y1: 0, y2: HIGH }));
  svg.replaceChildren(...parts);
  const set = state.levels.filter((level) => level !== null).length;
  const differ = state.levels.filter((level, i) => level !== null && level !== snap(state.model[i])).length;
  svg.setAttribute("aria-label", t("curve.spoken", { set, frames, differ }));
}

/** The path of the levels that are set; neighbouring runs are joined by a step. */
function steps(levels) {
  return levels
    .map((level, i) => {
      if (level === null) return "";
      const start = i === 0 || levels[i - 1] === null ? `M${i} ${y(level)}` : `V${y(level)}`;
      return `${start}H${i + 1}`;
    })
    .join("");
}
