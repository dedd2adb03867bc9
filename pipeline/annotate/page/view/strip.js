/**
 * The filmstrip: every frame of the video as one option of a listbox, under a bar with the person's level.
 *
 * A press and drag paints with the brush, a click looks at a frame, a click on a bar paints that frame, and a click
 * with Shift paints from the frame looked at to the one clicked.
 */

import { rowOf } from "../core/keys.js";
import { snap, windowFrames } from "../core/levels.js";
import { selection } from "../core/editor.js";
import { levelName, t } from "../i18n.js";
import { levelFigure, levelKey, make } from "./dom.js";

export class Strip {
  /** @param {HTMLElement} root @param {(action: any) => void} act */
  constructor(root, act) {
    this.root = root;
    this.act = act;
    /** @type {HTMLElement[]} */
    this.cells = [];
    /** @type {{from: number, onBar: boolean, to: number} | null} */
    this.stroke = null;
    root.addEventListener("pointerdown", (event) => this.#press(event));
    root.addEventListener("pointermove", (event) => this.#drag(event));
    root.addEventListener("pointerup", () => this.#lift());
    root.addEventListener("pointercancel", () => (this.stroke = null));
  }

  /** Builds the cells of a clip. @param {any} item */
  open(item) {
    const places = windowFrames(item.window, item.num_frames);
    const seen = new Set(places.filter(({ repeat }) => !repeat).map(({ frame }) => frame));
    const repeats = places.filter(({ repeat }) => repeat).length;
    this.item = item;
    this.last = item.num_frames - 1;
    this.root.style.setProperty("--columns", String(rowOf(item.num_frames)));
    this.root.style.setProperty("--ratio", `${item.width} / ${item.height}`);
    this.cells = Array.from({ length: item.num_frames }, (_, i) => this.#cell(i, seen));
    const held = Array.from({ length: repeats }, () => this.#repeat(repeats));
    this.root.replaceChildren(...this.cells, ...held);
    this.root.dataset.item = item.uid;
  }

  #cell(i, seen) {
    const tick = make("span", { className: "tick" });
    tick.style.setProperty("--score", String(this.item.attention[i]));
    const cell = make(
      "div",
      { className: "cell", role: "option", tabIndex: -1, dataset: { frame: i } },
      make("span", { className: "bar" }, make("span", { className: "block" }), tick),
      make("span", { className: "thumb" }),
      make("span", { className: "index" }, String(i)),
    );
    const { start, stop } = this.item.window;
    const used = [seen.has(i) ? "used" : i >= start && i < stop ? "between" : ""];
    if (i === start) used.push("first");
    if (i === Math.min(stop - 1, this.last)) used.push("last");
    if (used.join("")) cell.dataset.window = used.join(" ").trim();
    return cell;
  }

  /** A place of the window past the end, where the model saw the last frame again. */
  #repeat(times) {
    return make(
      "div",
      { className: "cell repeat", ariaHidden: "true", title: t("strip.repeat", { times }) },
      make("span", { className: "bar" }),
      make("span", { className: "thumb", dataset: { shows: this.last } }),
      make("span", { className: "index" }, `= ${this.last}`),
    );
  }

  /** One picture holds all frames; a cell shows its part of it. @param {import("./pictures.js").Pictures} pictures */
  arrived(pictures, url) {
    const share = (place, places) => (places > 1 ? (place / (places - 1)) * 100 : 0);
    for (const thumb of this.root.querySelectorAll(".thumb")) {
      const { column, row, across, down } = pictures.place(Number(thumb.dataset.shows ?? thumb.parentElement.dataset.frame));
      thumb.style.backgroundImage = `url("${url}")`;
      thumb.style.backgroundSize = `${across * 100}% ${down * 100}%`;
      thumb.style.backgroundPosition = `${share(column, across)}% ${share(row, down)}%`;
    }
  }

  /** @param {import("../core/editor.js").State} state @param {number | null} playing frame on the large screen */
  render(state, playing) {
    const { first, last } = selection(state);
    this.cells.forEach((cell, i) => {
      const level = state.levels[i];
      const model = state.model[i];
      set(cell.dataset, "level", levelKey(level));
      set(cell.firstElementChild.firstElementChild.dataset, "figure", levelFigure(level));
      flag(cell, "data-differs", level !== null && level !== snap(model));
      flag(cell, "data-playing", i === playing);
      flag(cell, "data-current", i === state.focus);
      attribute(cell, "aria-selected", String(i >= first && i <= last));
      set(cell, "tabIndex", i === state.focus ? 0 : -1);
      const said = level === null ? t("said.unset") : `${level}, ${levelName(level)}`;
      attribute(cell, "aria-label", t("strip.frame", { frame: i, last: this.last, level: said, model: model.toFixed(2) }));
    });
  }

  /** Puts the keyboard on a frame and brings it into view. @param {number} frame */
  focus(frame) {
    this.cells[frame]?.focus({ preventScroll: true });
    this.cells[frame]?.scrollIntoView({ block: "nearest" });
  }

  /** Whether the keyboard is on the strip. */
  get hasFocus() {
    return this.root.contains(document.activeElement);
  }

  #frameAt(event) {
    const target = document.elementFromPoint(event.clientX, event.clientY);
    const cell = target?.closest(".cell[data-frame]");
    return cell && this.root.contains(cell) ? Number(cell.dataset.frame) : null;
  }

  #press(event) {
    const frame = this.#frameAt(event);
    if (frame === null || event.button !== 0) return;
    event.preventDefault();
    if (event.shiftKey) {
      this.act({ type: "look", to: frame, extend: true });
      this.act({ type: "brushed" });
    } else {
      this.stroke = { from: frame, to: frame, onBar: Boolean(event.target.closest(".bar")) };
      this.act({ type: "look", to: frame });
      this.root.setPointerCapture(event.pointerId);
    }
    this.focus(frame);
  }

  #drag(event) {
    const frame = this.stroke && this.#frameAt(event);
    if (frame === null || frame === this.stroke.to) return;
    this.stroke.to = frame;
    this.act({ type: "look", to: frame, extend: true });
  }

  #lift() {
    const stroke = this.stroke;
    this.stroke = null;
    if (stroke && (stroke.onBar || stroke.from !== stroke.to)) this.act({ type: "brushed" });
  }
}

// Only what differs is written: 120 cells are rendered at every step of the player.
function set(target, name, value) {
  if (target[name] !== value) target[name] = value;
}

function attribute(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

function flag(element, name, on) {
  if (element.hasAttribute(name) !== on) element.toggleAttribute(name, on);
}
