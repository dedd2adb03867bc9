/** What stands around the clip: its name and facts, progress, the badge, notices, the guide, the state of the tools. */

import { unset } from "../core/levels.js";
import { t } from "../i18n.js";
import { exampleStrip } from "./bars.js";
import { byId, levelKey, make, say } from "./dom.js";

/** @param {any} item */
export function showFacts(item) {
  const purpose = t(`purpose.${item.purpose}`);
  byId("purpose").textContent = purpose;
  byId("purpose").hidden = purpose === "";
  byId("class-name").textContent = item.label.text;
  byId("class-name").title = item.label.text;
  const { start, stop } = item.window;
  const key = item.predicted.label === item.label.label ? "facts.right" : "facts";
  const best = item.top5.find(({ label }) => label === item.predicted.label);
  byId("facts").textContent = t(key, {
    predicted: item.predicted.text,
    score: (best?.score ?? item.true_score + item.margin).toFixed(2),
    true: item.true_score.toFixed(2),
    rank: item.true_rank,
    first: start,
    last: Math.min(stop, item.num_frames) - 1,
    model: item.model,
  });
  byId("facts").title = byId("facts").textContent;
}

/** @param {any} item */
export function showGuide(item) {
  byId("guide-text").textContent = item.guide;
  const width = Math.min(...item.widths);
  const strips = item.examples.slice(0, 3).map((example) => exampleStrip(example, width));
  const title = strips.length ? [make("h3", {}, t("guide.examples"))] : [];
  byId("examples").replaceChildren(...title, ...strips);
}

/** @param {any} progress @param {number} label class of the clip @param {string} person */
export function showProgress(progress, label, person) {
  const row = progress.classes.find((one) => one.label === label);
  const own = progress.people.find(({ id }) => id === person);
  const percent = progress.items ? Math.floor((100 * progress.done) / progress.items) : 0;
  byId("progress").hidden = false;
  byId("count-class").textContent = row ? String(row.resolved + row.flagged + row.sealed) : "–";
  byId("count-class-words").textContent = t("progress.class", { items: row?.items ?? "–" });
  byId("count-you").textContent = String(own?.done ?? 0);
  byId("count-all-words").textContent = t("progress.all", { percent });
  byId("count-all").value = percent;
  byId("count-all").setAttribute("aria-label", t("progress.all", { percent }));
}

const CALM = new Set(["saved", "saving"]);

/** @param {string} status @param {string} before @returns {string} the status, for the next call */
export function showBadge(status, before) {
  byId("badge").dataset.status = status;
  byId("badge").textContent = t(`status.${status}`);
  // Saving and saved follow every stroke; people who listen hear of trouble and of its end.
  if (status !== before && !(CALM.has(status) && CALM.has(before))) say(t(`status.${status}`));
  return status;
}

/** @param {string} words @param {{label: string, act: () => void} | null} action */
export function showNotice(words, action = null) {
  const button = byId("notice-action");
  byId("notice-text").textContent = words;
  byId("notice").hidden = false;
  button.hidden = action === null;
  if (!action) return;
  button.textContent = action.label;
  button.onclick = action.act;
}

export function hideNotice() {
  byId("notice").hidden = true;
}

/** @param {string} title @param {string} words @param {{label: string, act: () => void} | null} action */
export function showEmpty(title, words, action = null) {
  for (const id of ["work", "tools"]) byId(id).hidden = true;
  byId("empty").hidden = false;
  byId("empty-title").textContent = title;
  byId("empty-text").textContent = words;
  byId("empty-action").hidden = action === null;
  if (!action) return;
  byId("empty-action").textContent = action.label;
  byId("empty-action").onclick = action.act;
}

export function showWork() {
  for (const id of ["work", "tools"]) byId(id).hidden = false;
  byId("empty").hidden = true;
}

/** @param {import("../core/editor.js").State} state @param {boolean} writable @param {boolean} mayStart */
export function showTools(state, writable, mayStart) {
  const left = unset(state.levels).length;
  const words = left === 0 ? "remaining.none" : left === 1 ? "remaining.one" : "remaining.some";
  byId("remaining").textContent = t(words, { count: left });
  byId("remaining").toggleAttribute("data-done", left === 0);
  for (const button of byId("tools").querySelectorAll("button")) {
    const { command, level } = button.dataset;
    button.disabled =
      !writable || (command === "undo" && !state.done.length) || (command === "redo" && !state.undone.length);
    if (level !== undefined) button.setAttribute("aria-pressed", String(level === levelKey(state.brush)));
    if (command === "snap") button.hidden = !mayStart;
  }
}
