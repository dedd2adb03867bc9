/** Elements without HTML strings, so that no text from outside is ever read as markup. */

/**
 * @param {string} tag
 * @param {Record<string, any>} [properties] `dataset` and properties of the element; others become attributes
 * @param {...(Node | string)} children
 * @returns {any}
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "dataset") Object.assign(element.dataset, value);
    else if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** @param {string} id @returns {any} */
export const byId = (id) => document.getElementById(id);

/** A level as a data attribute and as the figure on its block. @param {number | null} level */
export const levelKey = (level) => (level === null ? "unset" : String(level));
/** @param {number | null} level */
export const levelFigure = (level) => (level === null ? "" : level === 0.5 ? "½" : String(level));

/** Says something to people who listen; the same words twice in a row are said twice. @param {string} words */
export function say(words) {
  const voice = byId("voice");
  voice.textContent = voice.textContent === words ? `${words}\u00a0` : words;
}
