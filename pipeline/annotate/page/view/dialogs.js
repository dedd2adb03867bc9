/** Questions to the person, one at a time, in the page's one dialog. */

import { unset } from "../core/levels.js";
import { t } from "../i18n.js";
import { levelBars } from "./bars.js";
import { byId, make } from "./dom.js";

/** Questions wait for each other. @type {Promise<any>} */
let queue = Promise.resolve();

export const isOpen = () => byId("dialog").open;

/**
 * Asks, and waits for the answer.
 *
 * @template T
 * @param {string} title
 * @param {(answer: (value: T) => void) => (Node | string)[]} build contents of the dialog; call `answer` to close it
 * @param {{escape?: T}} [options] what Escape answers; without it, Escape does nothing
 * @returns {Promise<T>}
 */
export function ask(title, build, options = {}) {
  const asked = queue.then(
    () =>
      new Promise((resolve) => {
        const dialog = byId("dialog");
        const before = document.activeElement;
        const answer = (value) => {
          dialog.oncancel = null;
          dialog.close();
          if (before instanceof HTMLElement && before.isConnected) before.focus({ preventScroll: true });
          resolve(value);
        };
        dialog.oncancel = (event) => {
          event.preventDefault();
          if ("escape" in options) answer(options.escape);
        };
        dialog.replaceChildren(make("h2", { id: "dialog-title" }, title), ...build(answer));
        dialog.showModal();
        dialog.querySelector("[autofocus], .primary")?.focus({ preventScroll: true });
      }),
  );
  queue = asked.catch(() => {});
  return asked;
}

/** @param {string} words @param {() => void} act */
export function button(words, act, className = "") {
  return make("button", { type: "button", className, onclick: act }, words);
}

/** @param {...Node} buttons */
export const row = (...buttons) => make("div", { className: "row" }, ...buttons);

/** Why a clip cannot be submitted yet. @param {import("../core/editor.js").State} state @returns {Promise<number>} */
export function askUnset(state) {
  const frames = unset(state.levels);
  const title = t(frames.length === 1 ? "refuse.title.one" : "refuse.title", { count: frames.length });
  const go = t("refuse.go", { frame: frames[0] });
  return ask(
    title,
    (answer) => [
      make("p", {}, t("refuse.text", { frames: ranges(frames) })),
      row(button(go, () => answer(frames[0]), "primary")),
    ],
    { escape: frames[0] },
  );
}

/** Frames as people write them. @param {readonly number[]} frames @returns {string} such as "3, 7–12" */
function ranges(frames) {
  const found = [];
  for (const frame of frames) {
    const last = found.at(-1);
    if (last && last[1] === frame - 1) last[1] = frame;
    else found.push([frame, frame]);
  }
  return found.map(([first, last]) => (first === last ? `${first}` : `${first}–${last}`)).join(", ");
}

const REASONS = ["cannot_judge", "wrong_label", "broken_clip"];

/** @param {string} chosen @returns {Promise<{reason: string, note: string} | null>} */
export function askFlag(chosen) {
  return ask(
    t("flag.title"),
    (answer) => {
      const radios = REASONS.map((value) =>
        make("input", { type: "radio", name: "reason", value, checked: value === chosen, autofocus: value === chosen }),
      );
      const choices = radios.map((radio) => make("label", { className: "choice" }, radio, t(`flag.${radio.value}`)));
      const note = make("textarea", { rows: 3, maxLength: 2000 });
      const form = make(
        "form",
        { method: "dialog" },
        make("p", {}, t("flag.text")),
        make("fieldset", {}, make("legend", { className: "unseen" }, t("flag.title")), ...choices),
        make("label", {}, t("flag.note"), note),
        row(
          button(t("dialog.cancel"), () => answer(null)),
          make("button", { type: "submit", className: "primary" }, t("flag.send")),
        ),
      );
      form.onsubmit = (event) => {
        event.preventDefault();
        answer({ reason: radios.find((radio) => radio.checked).value, note: note.value.trim() });
      };
      return [form];
    },
    { escape: null },
  );
}

/**
 * Both answers to a clip that was changed elsewhere; neither is ever picked in silence.
 *
 * @param {readonly any[]} mine levels @param {readonly any[]} theirs levels
 * @returns {Promise<"mine" | "theirs">}
 */
export function askConflict(mine, theirs) {
  const differ = mine.flatMap((level, i) => (level === theirs[i] ? [] : [i]));
  return ask(t("conflict.title"), (answer) => [
    make("p", {}, t("conflict.text")),
    make("h3", {}, t("conflict.mine")),
    levelBars(mine, t("conflict.mine"), differ),
    make("h3", {}, t("conflict.theirs")),
    levelBars(theirs, t("conflict.theirs"), differ),
    row(
      button(t("conflict.keep.theirs"), () => answer("theirs")),
      button(t("conflict.keep.mine"), () => answer("mine"), "primary"),
    ),
  ]);
}

/** The answer beside the other person's or the known one. @param {readonly any[]} mine levels @param {any} comparison */
export function showComparison(mine, comparison) {
  const practice = comparison.other.author === "truth";
  const distance = comparison.distance.toFixed(2);
  const verdict = { true: { true: "close", false: "far" }, false: { true: "agreed", false: "disagreed" } };
  const key = `compare.${verdict[String(practice)][String(comparison.agreed)]}`;
  const other = t(practice ? "compare.truth" : "compare.theirs");
  const words = [t(key, { distance, count: comparison.frames.length })];
  if (comparison.kappa !== null) words.push(t("compare.kappa", { kappa: comparison.kappa.toFixed(2) }));
  return ask(
    t(practice ? "compare.practice" : "compare.title"),
    (answer) => [
      make("p", {}, words.join(" ")),
      make("h3", {}, t("compare.yours")),
      levelBars(mine, t("compare.yours"), comparison.frames),
      make("h3", {}, other),
      levelBars(comparison.other.scores, other, comparison.frames),
      row(button(t("compare.next"), () => answer(null), "primary")),
    ],
    { escape: null },
  );
}

/** Token of an invitation, as a link or alone. @param {string} text */
export function tokenIn(text) {
  return /(?:#invite=|^)([A-Za-z0-9_-]{20,100})$/.exec(text.trim())?.[1] ?? null;
}

/**
 * Signs a person in; stays until it worked.
 *
 * @param {boolean} again whether a session ended under way
 * @param {(token: string) => Promise<string>} signIn resolves with a reason why not, or nothing
 * @returns {Promise<void>}
 */
export function askSignIn(again, signIn) {
  return ask(t(again ? "signin.again" : "signin.title"), (answer) => {
    const field = make("input", { type: "text", autocomplete: "off", spellcheck: false, autofocus: true });
    const error = make("p", { className: "error", role: "alert" });
    const form = make(
      "form",
      { method: "dialog" },
      make("p", {}, t("signin.text")),
      ...(again ? [make("p", {}, t("signin.kept"))] : []),
      make("label", {}, t("signin.field"), field),
      error,
      row(make("button", { type: "submit", className: "primary" }, t("signin.go"))),
    );
    form.onsubmit = async (event) => {
      event.preventDefault();
      const token = tokenIn(field.value);
      const reason = token ? await signIn(token) : t("signin.format");
      if (reason) error.textContent = reason;
      else answer();
    };
    return [form];
  });
}
