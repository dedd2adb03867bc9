/**
 * The spatial layer, where a campaign has it: a 14 x 14 brush over the large frame, hidden otherwise.
 *
 * Drag paints cells with the brush's level; with the keyboard, arrows move a cell and digits paint it.
 */

import { t } from "../i18n.js";
import { byId } from "./dom.js";

const SIDE = 14;
const MOVES = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -SIDE, ArrowDown: SIDE };
const LEVEL_OF = { 1: 0, 2: 0.5, 3: 1 };

export class SpatialMap {
  /** @param {(action: any) => void} act */
  constructor(act) {
    this.act = act;
    this.canvas = byId("map");
    this.on = false;
    this.cell = 0;
    /** @type {Set<number> | null} cells under the pointer since it was pressed */
    this.stroke = null;
    this.canvas.addEventListener("pointerdown", (event) => this.#press(event));
    this.canvas.addEventListener("pointermove", (event) => this.stroke && this.#touch(event));
    this.canvas.addEventListener("pointerup", () => this.#lift());
    this.canvas.addEventListener("keydown", (event) => this.#key(event));
  }

  /** @param {any} item */
  open(item) {
    this.item = item;
    this.on = false;
    this.canvas.width = item.width;
    this.canvas.height = item.height;
    byId("overlay").hidden = !item.spatial;
  }

  toggle() {
    this.on = !this.on;
    if (this.on) requestAnimationFrame(() => this.canvas.focus());
  }

  /** @param {import("../core/editor.js").State} state @param {number} frame */
  render(state, frame) {
    this.canvas.hidden = !this.on;
    byId("overlay").setAttribute("aria-pressed", String(this.on));
    if (!this.on) return;
    this.frame = frame;
    this.brush = state.brush;
    this.canvas.setAttribute("aria-label", t("map.label", { frame }));
    const context = this.canvas.getContext("2d");
    const [wide, high] = [this.canvas.width / SIDE, this.canvas.height / SIDE];
    const own = state.maps[frame];
    const model = this.item.spatial_attention?.[frame];
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    for (let cell = 0; cell < SIDE * SIDE; cell += 1) {
      const [x, y] = [(cell % SIDE) * wide, Math.floor(cell / SIDE) * high];
      const score = own ? own[cell] : (model?.[cell] ?? 0);
      // The person's cells are blue, the model's are brown, as in the curve.
      context.fillStyle = own ? `rgb(30 110 220 / ${0.6 * score})` : `rgb(200 100 40 / ${0.55 * score})`;
      context.fillRect(x, y, wide, high);
      context.strokeStyle = cell === this.cell ? "#ffffff" : "rgb(255 255 255 / 18%)";
      context.strokeRect(x + 0.5, y + 0.5, wide - 1, high - 1);
    }
  }

  #press(event) {
    event.preventDefault();
    this.canvas.setPointerCapture(event.pointerId);
    this.stroke = new Set();
    this.#touch(event);
  }

  #touch(event) {
    const box = this.canvas.getBoundingClientRect();
    const place = (at, length) => Math.max(0, Math.min(SIDE - 1, Math.floor((at / length) * SIDE)));
    this.cell = place(event.clientY - box.top, box.height) * SIDE + place(event.clientX - box.left, box.width);
    this.stroke.add(this.cell);
  }

  #lift() {
    const cells = [...(this.stroke ?? [])];
    this.stroke = null;
    if (cells.length) this.act({ type: "cells", frame: this.frame, cells, level: this.brush });
  }

  #key(event) {
    if (event.key in MOVES) {
      this.cell = (this.cell + MOVES[event.key] + SIDE * SIDE) % (SIDE * SIDE);
      this.act({ type: "brush", level: this.brush });
    } else if (event.key in LEVEL_OF) {
      this.act({ type: "cells", frame: this.frame, cells: [this.cell], level: LEVEL_OF[event.key] });
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
