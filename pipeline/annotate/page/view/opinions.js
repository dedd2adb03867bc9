/** Adjudication: the two answers over the strip; a run of either can be taken with a click, or the selection by key. */

import { runs } from "../core/levels.js";
import { t } from "../i18n.js";
import { byId, levelFigure, levelKey, make } from "./dom.js";

const NAMES = ["opinion.a", "opinion.b"];

/**
 * @param {any} item
 * @param {(opinion: number, first: number, last: number) => void} take
 * @param {(opinion: number) => void} takeSelection
 */
export function showOpinions(item, take, takeSelection) {
  const root = byId("opinions");
  root.hidden = item.opinions.length !== 2;
  if (root.hidden) return root.replaceChildren();
  const rows = item.opinions.map((opinion, which) => {
    const bars = runs(opinion.scores).map(({ first, last, level }) => {
      const label = t("opinion.run", { which: t(NAMES[which]), first, last });
      const run = make(
        "button",
        { type: "button", className: "run", title: label, dataset: { level: levelKey(level) } },
        last - first > 0 ? levelFigure(level) : "",
      );
      run.setAttribute("aria-label", `${label}: ${level}`);
      run.style.flexGrow = String(last - first + 1);
      run.onclick = () => take(which, first, last);
      return run;
    });
    const button = make("button", { type: "button" }, t("opinion.take"), make("kbd", { className: "letter-key" }, String(which + 5)));
    button.onclick = () => takeSelection(which);
    return make("div", { className: "opinion" }, make("span", {}, t(NAMES[which])), make("div", { className: "runs" }, ...bars), button);
  });
  return root.replaceChildren(...rows);
}
