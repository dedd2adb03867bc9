/** The list of keys, and the settings: language, what to work on, colours, letters as commands. */

import { BINDINGS } from "../core/keys.js";
import { LANGUAGES, t } from "../i18n.js";
import { ask, button, row } from "./dialogs.js";
import { levelKey, make } from "./dom.js";

const SIGNS = Object.freeze({ ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", " ": "␣", PageUp: "PgUp", PageDown: "PgDn", Delete: "Del", Escape: "Esc" });

/** @param {string} key as the key map names it @returns {string} as people read it */
function keyName(key) {
  return key
    .replace("shift+", "⇧ ")
    .replace("ctrl+", "Ctrl ")
    .replace(/(\S+| )$/, (last) => SIGNS[last] ?? (last.length === 1 ? last.toUpperCase() : last));
}

/** @param {import("../core/keys.js").Binding} binding */
function wordsOf({ command, value }) {
  if (command === "paint") return t(`key.paint.${value === 0.5 ? "half" : levelKey(value)}`);
  return t(command === "flag" ? `key.flag.${value}` : `key.${command}`);
}

/** Bindings of one group, keys with the same meaning in one line. */
function linesOf(group) {
  const lines = new Map();
  for (const binding of BINDINGS.filter((one) => one.group === group && !one.hidden)) {
    const words = wordsOf(binding);
    lines.set(words, [...(lines.get(words) ?? []), keyName(binding.key)]);
  }
  return [...lines].map(([words, keys]) =>
    make("div", {}, words, make("span", {}, ...keys.map((key) => make("kbd", {}, key)))),
  );
}

/** @returns {Promise<void>} */
export function showHelp() {
  const groups = [...new Set(BINDINGS.map(({ group }) => group))];
  return ask(
    t("help.title"),
    (answer) => [
      make("p", {}, t("help.pointer")),
      make(
        "div",
        { className: "keys" },
        ...groups.map((group) => make("section", {}, make("h3", {}, t(`key.group.${group}`)), ...linesOf(group))),
      ),
      row(button(t("dialog.close"), () => answer(undefined), "primary")),
    ],
    { escape: undefined },
  );
}

/** @param {string} words @param {[string, string][]} options value and words @param {string} chosen */
function choice(words, options, chosen) {
  const select = make(
    "select",
    {},
    ...options.map(([value, text]) => make("option", { value, selected: value === chosen }, text)),
  );
  return { select, label: make("label", {}, words, select) };
}

/**
 * @typedef {{language: string, campaign: string, label: string, mode: string, palette: string, letters: string}} Settings
 */
/**
 * @param {Settings} now
 * @param {any} me
 * @param {any[]} campaigns
 * @returns {Promise<Settings | "signout" | null>} null: as it was
 */
export function askSettings(now, me, campaigns) {
  return ask(
    t("settings.title"),
    (answer) => {
      const classesOf = (id) => campaigns.find((campaign) => campaign.id === id)?.classes ?? [];
      const classOptions = (id) => [
        ["", t("settings.class.all")],
        ...classesOf(id).map(({ label, text }) => [String(label), text]),
      ];
      const language = choice(t("settings.language"), Object.entries(LANGUAGES), now.language);
      const names = campaigns.map(({ id, name }) => [id, name]);
      const campaign = choice(t("settings.campaign"), names, now.campaign);
      const label = choice(t("settings.class"), classOptions(now.campaign), now.label);
      const modes = ["annotate", "adjudicate"].map((mode) => [mode, t(`settings.mode.${mode}`)]);
      const mode = choice(t("settings.mode"), modes, now.mode);
      const palettes = ["calm", "paper"].map((palette) => [palette, t(`settings.palette.${palette}`)]);
      const palette = choice(t("settings.palette"), palettes, now.palette);
      const letters = make("input", { type: "checkbox", checked: now.letters === "on" });
      campaign.select.onchange = () => {
        const options = classOptions(campaign.select.value);
        label.select.replaceChildren(...options.map(([value, text]) => make("option", { value }, text)));
      };
      const values = () => ({
        language: language.select.value,
        campaign: campaign.select.value,
        label: label.select.value,
        mode: mode.select.value,
        palette: palette.select.value,
        letters: letters.checked ? "on" : "off",
      });
      return [
        make("p", { className: "hint" }, t("settings.signedin", { name: me.name })),
        language.label,
        ...(campaigns.length > 1 ? [campaign.label] : []),
        label.label,
        ...(me.role === "annotator" ? [] : [mode.label]),
        palette.label,
        make("label", { className: "choice" }, letters, t("settings.letters")),
        make("p", { className: "hint" }, t("settings.letters.text")),
        row(
          button(t("settings.signout"), () => answer("signout"), "quiet"),
          make("span", { className: "spring" }),
          button(t("dialog.cancel"), () => answer(null)),
          button(t("dialog.ok"), () => answer(values()), "primary"),
        ),
      ];
    },
    { escape: null },
  );
}
