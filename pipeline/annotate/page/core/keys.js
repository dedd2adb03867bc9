/**
 * The key map as data: which key stands for which command. Tested key by key, so that no release breaks a step.
 *
 * Keys are named as `KeyboardEvent.key` names them, letters in lower case; `shift+` stands before arrows, Home, End,
 * brackets and letters alone, since a keyboard layout may need Shift to reach any other sign.
 */

/** Frames in a row of the strip, by which Up and Down move: long videos get longer rows, to stay on one screen. */
export const rowOf = (frames) => (frames <= 48 ? 16 : 24);
/** In the key map: one row. */
const ROW = 1e6;
/** Frames that Page Up and Page Down move by. */
export const STRIDE = 4;

const letter = (group, key, command, extra = {}) => ({ group, key, command, letter: true, ...extra });
const other = (group, key, command, extra = {}) => ({ group, key, command, letter: false, ...extra });

/**
 * @typedef {object} Binding
 * @property {string} group heading in the list of keys
 * @property {string} key
 * @property {string} command name of the command; its words are `key.<command>` in the locales
 * @property {boolean} letter a single character, which a person can switch off (WCAG 2.1.4)
 * @property {any} [value]
 */
/** @type {readonly Binding[]} */
export const BINDINGS = Object.freeze([
  letter("paint", "1", "paint", { value: 0 }),
  letter("paint", "2", "paint", { value: 0.5 }),
  letter("paint", "3", "paint", { value: 1 }),
  letter("paint", "4", "paint", { value: null }),
  other("paint", "Delete", "paint", { value: null }),
  letter("paint", "f", "fill"),
  letter("paint", "m", "snap"),
  letter("paint", "z", "undo"),
  letter("paint", "shift+z", "redo"),
  other("paint", "ctrl+z", "undo"),
  other("paint", "ctrl+shift+z", "redo"),
  other("paint", "ctrl+y", "redo"),
  other("move", "ArrowLeft", "move", { value: -1 }),
  other("move", "ArrowRight", "move", { value: 1 }),
  other("move", "PageUp", "move", { value: -STRIDE }),
  other("move", "PageDown", "move", { value: STRIDE }),
  other("move", "ArrowUp", "move", { value: -ROW }),
  other("move", "ArrowDown", "move", { value: ROW }),
  other("move", "Home", "start"),
  other("move", "End", "end"),
  letter("move", "[", "edge", { value: -1 }),
  letter("move", "]", "edge", { value: 1 }),
  other("select", "shift+ArrowLeft", "extend", { value: -1 }),
  other("select", "shift+ArrowRight", "extend", { value: 1 }),
  other("select", "shift+PageUp", "extend", { value: -STRIDE }),
  other("select", "shift+PageDown", "extend", { value: STRIDE }),
  other("select", "shift+ArrowUp", "extend", { value: -ROW }),
  other("select", "shift+ArrowDown", "extend", { value: ROW }),
  other("select", "shift+Home", "extendStart"),
  other("select", "shift+End", "extendEnd"),
  letter("select", "{", "extendEdge", { value: -1 }),
  letter("select", "}", "extendEdge", { value: 1 }),
  letter("select", "a", "all"),
  other("select", "ctrl+a", "all"),
  other("select", "Escape", "collapse"),
  other("watch", " ", "play"),
  letter("watch", "r", "loop"),
  letter("watch", "-", "slower"),
  letter("watch", "+", "faster"),
  letter("watch", "=", "faster", { hidden: true }),
  letter("watch", "h", "overlay"),
  letter("watch", "w", "whatif"),
  letter("choose", "5", "takeFirst"),
  letter("choose", "6", "takeSecond"),
  letter("finish", "c", "flag", { value: "cannot_judge" }),
  letter("finish", "l", "flag", { value: "wrong_label" }),
  letter("finish", "b", "flag", { value: "broken_clip" }),
  other("finish", "Enter", "submit"),
  letter("finish", "?", "help"),
]);

const BY_KEY = new Map(BINDINGS.map((binding) => [binding.key, binding]));

/**
 * @param {{key: string, shiftKey: boolean, ctrlKey: boolean, metaKey: boolean, altKey: boolean}} event
 * @param {boolean} letters whether single characters are commands
 * @returns {Binding | null}
 */
export function bindingOf(event, letters) {
  if (event.altKey) return null;
  const single = event.key.length === 1;
  const named = single ? event.key.toLowerCase() : event.key;
  const ctrl = event.ctrlKey || event.metaKey ? "ctrl+" : "";
  const shift = event.shiftKey && (!single || named !== named.toUpperCase()) ? "shift+" : "";
  const binding = BY_KEY.get(ctrl + shift + named);
  return binding && (letters || !binding.letter) ? binding : null;
}

/**
 * The editor's action behind a command, or null where the command is the page's (play, submit, ...).
 *
 * @param {Binding} binding
 * @param {import("./editor.js").State} state
 * @returns {{type: string, [key: string]: any}[] | null}
 */
export function actionsOf({ command, value }, state) {
  const first = Math.min(state.anchor, state.focus);
  const last = Math.max(state.anchor, state.focus);
  const by = Math.abs(value) === ROW ? Math.sign(value) * rowOf(state.levels.length) : value;
  switch (command) {
    case "paint":
      return [{ type: "brush", level: value }, { type: "paint", first, last, level: value }];
    case "move":
      return [{ type: "move", by }];
    case "extend":
      return [{ type: "move", by, extend: true }];
    case "start":
      return [{ type: "look", to: 0 }];
    case "end":
      return [{ type: "look", to: Infinity }];
    case "extendStart":
      return [{ type: "look", to: 0, extend: true }];
    case "extendEnd":
      return [{ type: "look", to: Infinity, extend: true }];
    case "edge":
      return [{ type: "edge", direction: value }];
    case "extendEdge":
      return [{ type: "edge", direction: value, extend: true }];
    case "fill":
    case "undo":
    case "redo":
    case "all":
    case "collapse":
      return [{ type: command }];
    default:
      return null;
  }
}
