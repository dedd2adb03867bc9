/**
 * The large frame, and playing by stepping through the numbered frames: what is shown as frame i is frame i.
 *
 * Pictures are loaded in order from the frame looked at; until one is there the last one stays.
 */

import { t } from "../i18n.js";
import { frameUrl } from "../io/api.js";
import { cool } from "../io/work.js";
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
    /** @type {HTMLImageElement[]} */
    this.images = [];
    for (const speed of SPEEDS) byId("speed").append(make("option", { value: speed, selected: speed === 1 }, `${speed}×`));
    byId("speed").addEventListener("change", (event) => this.setSpeed(Number(event.target.value)));
  }

  /** @param {any} item */
  open(item) {
    this.stop();
    this.item = item;
    this.canvas.width = item.width;
    this.canvas.height = item.height;
    this.shown = -1;
    this.images = Array.from({ length: item.num_frames }, (_, i) => {
      const image = new Image();
      image.src = frameUrl(item, i);
      image.onload = () => this.item === item && i === this.wanted && this.#draw(i);
      return image;
    });
    this.render(0);
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

  /** Leaves the clip. */
  close() {
    this.stop();
    cool(this.images);
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
      const image = this.images[Math.min(this.playing + 1, this.range.last)];
      // A frame that has not arrived is waited for rather than skipped.
      if (image.complete) this.#step();
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
    const image = this.images[frame];
    if (!image.complete || !image.naturalWidth) return;
    this.canvas.getContext("2d").drawImage(image, 0, 0, this.canvas.width, this.canvas.height);
    this.shown = frame;
    this.canvas.dataset.shown = String(frame);
  }
}
