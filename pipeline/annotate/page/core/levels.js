/**
 * The three levels a person gives to a frame, and runs of equal levels.
 *
 * A level is 0 (the action can be told without the frame), 0.5 (the frame shows motion that is needed), 1 (especially
 * important) or null (unset). No DOM here: this file runs under `node --test` as it is.
 */

/** @typedef {0 | 0.5 | 1 | null} Level */

/** Levels from low to high; a person's vector holds nothing else. */
export const LEVELS = Object.freeze([0, 0.5, 1]);

/** Who set a frame, in the words of the service; an unset frame has null. @typedef {"human" | "filled" | "model" | null} Source */

/**
 * The level nearest to a model's score; a score in the middle between two goes to the higher, so that a frame the
 * model half believes in is not called unnecessary.
 *
 * @param {number} score between 0 and 1
 * @returns {Level}
 */
export function snap(score) {
  if (score >= 0.75) return 1;
  return score >= 0.25 ? 0.5 : 0;
}

/**
 * Runs of equal levels, in order, covering every frame once.
 *
 * @param {readonly Level[]} levels
 * @returns {{first: number, last: number, level: Level}[]} `last` is inside the run
 */
export function runs(levels) {
  const found = [];
  for (let i = 0; i < levels.length; i += 1) {
    const run = found[found.length - 1];
    if (run && run.level === levels[i]) run.last = i;
    else found.push({ first: i, last: i, level: levels[i] });
  }
  return found;
}

/** @param {readonly Level[]} levels @returns {number[]} indices of frames without a level */
export function unset(levels) {
  return levels.flatMap((level, i) => (level === null ? [i] : []));
}

/**
 * The authors' fill: frames without a level between two marks of the same level get that level.
 *
 * @param {readonly Level[]} levels
 * @returns {Level[]} a new vector; frames that already had a level keep it
 */
export function filled(levels) {
  const result = [...levels];
  let mark = -1;
  for (let i = 0; i < levels.length; i += 1) {
    if (levels[i] === null) continue;
    if (mark >= 0 && levels[mark] === levels[i]) result.fill(levels[i], mark, i);
    mark = i;
  }
  return result;
}

/**
 * Which frame every place of the model's window shows: places past the end of a short video hold its last frame, as in
 * training.
 *
 * @param {{start: number, stop: number, stride: number}} window
 * @param {number} frames frames of the video
 * @returns {{frame: number, repeat: boolean}[]}
 */
export function windowFrames({ start, stop, stride }, frames) {
  const places = [];
  for (let i = start; i < stop; i += stride) places.push({ frame: Math.min(i, frames - 1), repeat: i >= frames });
  return places;
}

/**
 * How far two finished answers are from each other, frame by frame.
 *
 * @param {readonly number[]} one
 * @param {readonly number[]} other
 * @returns {number[]} frames that differ
 */
export function differing(one, other) {
  return one.flatMap((level, i) => (level === other[i] ? [] : [i]));
}
