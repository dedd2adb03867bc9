/**
 * The large frame, and playing by stepping through the numbered frames: what is shown as frame i is frame i.
 *
 * Until a frame has arrived at full size its small picture stands in; never another frame.
 */

import { t } from "../i18n.js";
import { byId, make } from "./dom.js";

const SPEEDS = [0.25, 0.5, 1, 1.5, 2];

export class Player {
  /** @param {{onFrame: () => void, onPause: (frame: number) => void}} parts */
  constructor({ onFrame, onPause }) {
    this.onFrame = onFrame;
    this.onPause = onPause;
    this.canvas = byId("screen");
    this.speed = 1;
    this.looping = false;
    this.once = false;
    /** @type {number | null} */
    this.playing = null;
    this.timer = null;
    this.shown = -1;
    for (const speed of SPEEDS) byId("speed").append(make("option", { value: speed, selected: speed === 1 }, `${speed}×`));
    byId("speed").addEventListener("change", (event) => this.setSpeed(Number(event.target.value)));
  }

  /** @param {any} item @param {import("./pictures.js").Pictures} pictures */
  open(item, pictures) {
    this.stop();
    this.item = item;
    this.pictures = pictures;
    this.canvas.width = item.width;
    this.canvas.height = item.height;
    this.shown = -1;
    this.render(0);
  }

  /** A picture has arrived. @param {number | null} frame at full size; null: the small ones */
  arrived(frame) {
    if (frame === null ? this.shown !== this.wanted : frame === this.wanted) this.#draw(this.wanted);
  }

  /** @param {number} focus frame looked at; shown unless the clip is playing */
  render(focus) {
    const frame = this.playing ?? focus;
    this.wanted = frame;
    if (this.shown !== frame) this.#draw(frame);
    const words = t("player.frame", { frame, last: this.item.num_frames - 1 });
    byId("frame-number").textContent = words;
    this.canvas.setAttribute("aria-label", words);
    byId("play").textContent = t(this.playing === null ? "player.play" : "player.pause");
    byId("play").setAttribute("aria-pressed", String(this.playing !== null));
    byId("loop").setAttribute("aria-pressed", String(this.looping));
    byId("speed").value = String(this.speed);
  }

  /** Plays first..last; once from the start, or round and round. @param {{first: number, last: number}} range */
  play({ first, last }, from = first, once = false) {
    this.range = { first, last };
    this.once = once;
    this.playing = from >= last ? first : from;
    this.#tick();
    this.onFrame();
  }

  /** Stops without a word. */
  stop() {
    clearTimeout(this.timer);
    this.playing = null;
  }

  /** Stops on the frame that is on the screen. */
  pause() {
    const frame = this.playing;
    this.stop();
    if (frame !== null) this.onPause(frame);
  }

  /** @param {number} speed */
  setSpeed(speed) {
    this.speed = speed;
    this.onFrame();
  }

  /** @param {1 | -1} direction */
  change(direction) {
    const place = SPEEDS.indexOf(this.speed) + direction;
    this.setSpeed(SPEEDS[Math.max(0, Math.min(SPEEDS.length - 1, place))]);
  }

  #tick() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      if (this.playing === null) return;
      // A frame that has not arrived is waited for rather than skipped.
      if (this.pictures.has(Math.min(this.playing + 1, this.range.last))) this.#step();
      else this.#tick();
    }, 1000 / (this.item.fps * this.speed));
  }

  #step() {
    if (this.playing < this.range.last) this.playing += 1;
    else if (this.once) return this.#over();
    else this.playing = this.range.first;
    this.#tick();
    this.onFrame();
  }

  #over() {
    this.stop();
    this.onFrame();
  }

  #draw(frame) {
    this.shown = this.pictures.draw(this.canvas, frame) ? frame : -1;
    this.canvas.dataset.shown = String(this.shown);
  }
}
