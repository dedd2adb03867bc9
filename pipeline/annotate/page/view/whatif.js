/** "Does my edit change the prediction?": the model's best classes with its own attention and with the person's. */

import { t } from "../i18n.js";
import { byId, make } from "./dom.js";

const ROWS = 6;

/**
 * Classes of both answers, likely ones first; the true class is always among them.
 *
 * @param {any} label the true class
 * @param {any} before `Outcome` @param {any} after `Outcome`, or null before the first question
 */
function classes(label, before, after) {
  const found = new Map();
  for (const [when, outcome] of Object.entries({ before, after })) {
    for (const { label: number, text, score } of outcome?.top5 ?? []) {
      found.set(number, { ...found.get(number), number, text, [when]: score });
    }
  }
  const own = { number: label.label, text: label.text, before: before.true_score, after: after?.true_score };
  found.delete(label.label);
  const best = (row) => Math.max(row.before ?? 0, row.after ?? 0);
  const others = [...found.values()].sort((a, b) => best(b) - best(a)).slice(0, ROWS - 1);
  return [...others, own].sort((a, b) => best(b) - best(a));
}

function cell(score, when) {
  const shown = make("td", { className: when }, score === undefined ? "–" : score.toFixed(2));
  shown.style.setProperty("--share", String(score ?? 0));
  return shown;
}

function table(label, before, after) {
  const heads = ["before", ...(after ? ["after"] : [])];
  const rows = classes(label, before, after).map((row) => {
    const isTrue = row.number === label.label;
    const name = make("th", { scope: "row", title: row.text }, isTrue ? `✓ ${row.text}` : row.text);
    if (isTrue) name.append(make("span", { className: "unseen" }, ` (${t("whatif.true")})`));
    return make("tr", { className: isTrue ? "true" : "" }, name, ...heads.map((when) => cell(row[when], when)));
  });
  const titles = heads.map((when) => make("th", { scope: "col" }, t(`whatif.${when}`)));
  return make("table", {}, make("thead", {}, make("tr", {}, make("td"), ...titles)), make("tbody", {}, ...rows));
}

/** Before a question: what the model said when the clip was mined. @param {any} item */
export function showMined(item) {
  byId("whatif").hidden = !item.whatif;
  const mined = { top5: item.top5, true_score: item.true_score };
  byId("whatif-result").replaceChildren(table(item.label, mined, null), make("p", {}, t("whatif.hint")));
}

/** @param {any} item @param {any} answer `WhatIfAnswer` */
export function showAnswer(item, { before, after }) {
  const better = after.true_rank < before.true_rank || after.true_rank === 1;
  const verdict = t("whatif.rank", { before: before.true_rank, after: after.true_rank });
  const words = make("p", { className: better ? "verdict better" : "verdict" }, verdict);
  byId("whatif-result").replaceChildren(table(item.label, before, after), words);
}

/** @param {string} words under the table, instead of a verdict */
export function showWords(words) {
  byId("whatif-result").querySelector("p").textContent = words;
}
