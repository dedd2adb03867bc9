/** Tables of the reviewers' page. */

import { t } from "../i18n.js";
import { make } from "../view/dom.js";

/**
 * @param {string} label what it holds, spoken
 * @param {[string, string][]} heads key of the words, empty for none, and the class of the column
 * @param {(Node | string)[][]} rows the first cell names the row
 * @param {string} none words where there is no row
 */
export function table(label, heads, rows, none) {
  if (!rows.length) return make("p", { className: "none" }, none);
  const titles = heads.map(([key, className]) => (key ? make("th", { scope: "col", className }, t(key)) : make("td")));
  const lines = rows.map((cells) => {
    const shown = cells.map((cell, i) =>
      make(i ? "td" : "th", { className: heads[i][1], ...(i ? {} : { scope: "row" }) }, cell),
    );
    return make("tr", {}, ...shown);
  });
  const head = make("thead", {}, make("tr", {}, ...titles));
  const made = make("table", { className: "figures" }, head, make("tbody", {}, ...lines));
  made.setAttribute("aria-label", label);
  return made;
}

/** @param {number | null} seconds since 1970 @returns {string} as the page's language writes it */
export function moment(seconds) {
  if (seconds === null) return "–";
  const style = { dateStyle: "medium", timeStyle: "short" };
  return new Intl.DateTimeFormat(document.documentElement.lang, style).format(seconds * 1000);
}

/** @param {number | null} value @param {number} digits */
export const figure = (value, digits) => (value === null ? "–" : value.toFixed(digits));
