/** How far a campaign is, by class and by person. */

import { t } from "../i18n.js";
import { byId, make } from "../view/dom.js";
import { figure, table } from "./table.js";

/** States of an item in the order in which it goes through them. */
export const STATES = ["open", "needs_second", "adjudicate", "flagged", "resolved", "sealed"];

export class Progress {
  /** @param {{api: any}} parts */
  constructor({ api }) {
    this.api = api;
  }

  /** @param {string} campaign */
  async show(campaign) {
    const progress = await this.api.progress(campaign);
    const sum = (state) => progress.classes.reduce((total, row) => total + row[state], 0);
    const percent = progress.items ? Math.floor((100 * progress.done) / progress.items) : 0;
    byId("tiles").replaceChildren(
      ...tile(t("review.tile.done"), `${percent} %`, t("review.tile.of", { done: progress.done, items: progress.items })),
      ...tile(t("state.flagged"), String(sum("flagged")), ""),
      ...tile(t("state.adjudicate"), String(sum("adjudicate")), ""),
      ...tile(t("state.resolved"), String(sum("resolved")), t("review.tile.ready")),
      ...tile(t("review.kappa"), figure(progress.kappa, 2), t("review.tile.distance", { distance: figure(progress.distance, 2) })),
    );
    byId("classes").replaceChildren(legend(), classes(progress.classes));
    byId("persons").replaceChildren(people(progress.people));
  }
}

/** A figure of the page's top: a term, its figure, and what it says. */
function tile(name, value, words) {
  return [make("div", { className: "card tile" }, make("dt", {}, name), make("dd", { className: "value" }, value), make("dd", {}, words))];
}

function legend() {
  const entries = STATES.map((state) =>
    make("span", { className: "legend" }, make("i", { className: "state", dataset: { state } }), t(`state.${state}`)),
  );
  return make("p", { className: "legends" }, ...entries);
}

/** A bar of a class: its clips by state, each as wide as their share. */
function bar(row) {
  const shown = STATES.filter((state) => row[state]);
  const parts = shown.map((state) => {
    const part = make("span", { className: "state", dataset: { state } });
    part.style.flexGrow = String(row[state]);
    return part;
  });
  const made = make("span", { className: "bar", role: "img" }, ...parts);
  made.setAttribute("aria-label", shown.map((state) => `${t(`state.${state}`)} ${row[state]}`).join(", "));
  return made;
}

function classes(rows) {
  const heads = [
    ["settings.class", ""],
    ["review.items", "number"],
    ["review.states", "wide"],
    ...STATES.map((state) => [`state.${state}`, "number"]),
    ["review.leased", "number"],
  ];
  const lines = rows.map((row) => [
    row.text,
    String(row.items),
    bar(row),
    ...STATES.map((state) => String(row[state])),
    String(row.leased),
  ]);
  return table(t("review.by.class"), heads, lines, t("review.none"));
}

function people(rows) {
  const heads = [
    ["review.name", ""],
    ["review.answers", "number"],
    ["review.seconds", "number"],
    ["state.flagged", "number"],
    ["review.practice", "number"],
    ["review.practice.distance", "number"],
  ];
  const lines = rows.map((row) => [
    row.name,
    String(row.done),
    figure(row.median_s, 0),
    String(row.flagged),
    String(row.practice),
    figure(row.mean_distance, 2),
  ]);
  return table(t("review.by.person"), heads, lines, t("review.none"));
}
