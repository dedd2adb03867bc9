/** Small pictures of finished answers: bars of levels, alone or under frames. */

import { frameUrl } from "../io/api.js";
import { t } from "../i18n.js";
import { make } from "./dom.js";

const SCALE = 2;

/** @param {number | null} level @returns {string} */
function colour(level) {
  const name = level === 0.5 ? "half" : String(level);
  return getComputedStyle(document.documentElement).getPropertyValue(`--level-${name}`);
}

/** @param {CanvasRenderingContext2D} context */
function bars(context, levels, { top, height, width }, marked = new Set()) {
  levels.forEach((level, i) => {
    const [left, right] = [(i * width) / levels.length, ((i + 1) * width) / levels.length];
    const tall = level === null ? 0 : height * (0.28 + 0.72 * level);
    context.fillStyle = level === null ? "#e3dfd4" : colour(level);
    context.fillRect(left, top + height - (tall || height), right - left - 1, tall || height);
    if (!marked.has(i)) return;
    context.fillStyle = "#a32b2b";
    context.fillRect(left, top + height + 3, right - left - 1, 4);
  });
}

/**
 * @param {readonly (number | null)[]} levels
 * @param {string} label what it is, spoken
 * @param {readonly number[]} [marked] frames to underline, where two answers differ
 */
export function levelBars(levels, label, marked = []) {
  const [width, height] = [600, 44];
  const canvas = make("canvas", { width: width * SCALE, height: (height + 8) * SCALE, role: "img" });
  canvas.setAttribute("aria-label", `${label}: ${levels.map((level) => level ?? t("said.unset")).join(" ")}`);
  const context = canvas.getContext("2d");
  context.scale(SCALE, SCALE);
  bars(context, levels, { top: 0, height, width }, new Set(marked));
  return canvas;
}

/**
 * A finished clip as a strip of a few frames over its levels.
 *
 * @param {any} example
 * @param {number} pictureWidth allowed width of a picture
 */
export function exampleStrip(example, pictureWidth) {
  const shown = Math.min(7, example.num_frames);
  const width = 350;
  const cell = width / shown;
  const tall = (cell * example.height) / example.width;
  const canvas = make("canvas", { width: width * SCALE, height: (tall + 20) * SCALE, role: "img" });
  canvas.setAttribute("aria-label", `${example.caption}: ${example.scores.join(" ")}`);
  const context = canvas.getContext("2d");
  context.scale(SCALE, SCALE);
  bars(context, example.scores, { top: tall + 2, height: 16, width });
  for (let place = 0; place < shown; place += 1) {
    // The middle of each of `shown` equal parts.
    const image = new Image();
    image.onload = () => context.drawImage(image, place * cell, 0, cell - 1, tall);
    image.src = frameUrl(example, Math.floor(((place + 0.5) * example.num_frames) / shown), pictureWidth);
  }
  return make("figure", { className: "example" }, canvas, make("figcaption", {}, example.caption));
}
