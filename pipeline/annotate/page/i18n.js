/**
 * The page's words in English, Japanese and Korean. Words are data (`locales/*.json`), all files with the same keys.
 */

export const LANGUAGES = Object.freeze({ en: "English", ja: "日本語", ko: "한국어" });

/** @type {Record<string, string>} */
let words = {};

/** @param {string} language */
async function load(language) {
  const known = language in LANGUAGES ? language : "en";
  words = await (await fetch(`locales/${known}.json`)).json();
  document.documentElement.lang = known;
  document.title = t("title");
}

/** Changes the page to a language and remembers it on this computer. @param {string} language */
export async function speak(language) {
  localStorage.setItem("star-language", language);
  await load(language);
  translate();
}

/** The language to begin with: chosen before on this computer, or the browser's. */
export function preferred() {
  const wanted = [localStorage.getItem("star-language") ?? "", ...navigator.languages];
  return wanted.map((tag) => tag.slice(0, 2)).find((tag) => tag in LANGUAGES) ?? "en";
}

/**
 * @param {string} key
 * @param {Record<string, string | number>} [values] what stands for `{name}` in the words
 * @returns {string}
 */
export function t(key, values = {}) {
  const text = words[key];
  if (text === undefined) throw new Error(`no words for ${key} in locales/${document.documentElement.lang}.json`);
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

/** Puts the words into elements that name them: `data-t` as text, `data-t-label` as spoken label, `data-t-title` as tip. */
function translate() {
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const element of document.querySelectorAll("[data-t-label]")) {
    element.setAttribute("aria-label", t(element.dataset.tLabel));
  }
  for (const element of document.querySelectorAll("[data-t-title]")) element.title = t(element.dataset.tTitle);
}

/** The word of a level: its short name. @param {number | null} level */
export function levelName(level) {
  return t(level === null ? "level.unset" : `level.${level === 0.5 ? "half" : level}`);
}
