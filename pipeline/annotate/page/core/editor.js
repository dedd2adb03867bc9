/**
 * The editor as a pure reducer: what a person did so far, and what every action makes of it.
 *
 * Actions that change the answer (`EDITS`) are what the journal stores; folding them over the first state gives the
 * same state again, undo and redo included, which is how work survives a reload. No DOM here.
 */

import { filled, runs, snap } from "./levels.js";

/** @typedef {import("./levels.js").Level} Level */
/** @typedef {import("./levels.js").Source} Source */
/**
 * @typedef {object} Answer what is saved
 * @property {readonly Level[]} levels
 * @property {readonly Source[]} sources
 * @property {Readonly<Record<number, readonly number[]>>} maps spatial levels of some frames, 196 cells each
 * @property {"blank" | "model"} init what the person started from
 */
/**
 * @typedef {Answer & {
 *   model: readonly number[], focus: number, anchor: number, brush: Level,
 *   done: readonly Answer[], undone: readonly Answer[]
 * }} State
 * `model` is the model's curve, which no action changes; the selection runs from `anchor` to `focus`; `done` and
 * `undone` are the answers that undo and redo go back to (unchanged arrays are shared between them).
 */

/** Actions that change the answer; all others only look. */
export const EDITS = new Set(["paint", "take", "fill", "reset", "snap", "cells", "undo", "redo"]);

/**
 * @param {readonly number[]} model the model's curve, one score a frame
 * @param {Answer | null} [answer] what the server holds; null: nothing yet
 * @returns {State}
 */
export function initial(model, answer = null) {
  const empty = { levels: model.map(() => null), sources: model.map(() => null), maps: {}, init: "blank" };
  return { ...empty, ...answer, model, focus: 0, anchor: 0, brush: 0, done: [], undone: [] };
}

/** @param {State} state @returns {Answer} */
export function answer({ levels, sources, maps, init }) {
  return { levels, sources, maps, init };
}

/** @param {Answer} one @param {Answer} other */
export function same(one, other) {
  const equal = (a, b) => a.length === b.length && a.every((value, i) => value === b[i]);
  const frames = (maps) => Object.keys(maps).sort().join();
  return (
    one.init === other.init &&
    equal(one.levels, other.levels) &&
    equal(one.sources, other.sources) &&
    frames(one.maps) === frames(other.maps) &&
    Object.keys(one.maps).every((frame) => equal(one.maps[frame], other.maps[frame]))
  );
}

/** @param {State} state @returns {{first: number, last: number}} the selected frames, both ends inside */
export function selection({ anchor, focus }) {
  return { first: Math.min(anchor, focus), last: Math.max(anchor, focus) };
}

/** @param {State} state @param {number} frame */
function clamp(state, frame) {
  return Math.max(0, Math.min(state.levels.length - 1, frame));
}

/** Puts part of a new answer in place; nothing is remembered when nothing changes. */
function change(state, part) {
  const next = { ...answer(state), ...part };
  if (same(state, next)) return state;
  return { ...state, ...next, done: [...state.done, answer(state)], undone: [] };
}

/** @param {State} state @param {"done" | "undone"} from @param {"done" | "undone"} to @returns {State} */
function travel(state, from, to) {
  const there = state[from].at(-1);
  if (!there) return state;
  return { ...state, ...there, [from]: state[from].slice(0, -1), [to]: [...state[to], answer(state)] };
}

/** Gives frames first..last the levels that `level` says for each, by a person's hand. */
function paint(state, first, last, level) {
  const from = clamp(state, Math.min(first, last));
  const to = clamp(state, Math.max(first, last));
  const levels = state.levels.map((old, i) => (i >= from && i <= to ? level(i) : old));
  const sources = state.sources.map((old, i) => {
    if (i < from || i > to) return old;
    return levels[i] === null ? null : "human";
  });
  return change(state, { levels, sources });
}

/** @param {State} state @returns {State} */
function fill(state) {
  const levels = filled(state.levels);
  return change(state, { levels, sources: state.sources.map((old, i) => (levels[i] === null ? null : old ?? "filled")) });
}

/** Gives cells of one frame's spatial map a level; a frame's first stroke starts its map at 0 everywhere. */
function cells(state, { frame, cells: painted, level }) {
  const map = [...(state.maps[frame] ?? new Array(196).fill(0))];
  for (const cell of painted) map[cell] = level ?? 0;
  return change(state, { maps: { ...state.maps, [frame]: map } });
}

/**
 * What the bars show: the person's level, or the model's snapped one where there is none.
 *
 * @param {State} state
 * @returns {Level[]}
 */
export function shown(state) {
  return state.levels.map((level, i) => level ?? snap(state.model[i]));
}

/** First frames of the runs of the person's levels or, while there are none, of the model's. */
function edges(state) {
  const own = state.levels.some((level) => level !== null) ? state.levels : shown(state);
  return runs(own).map((run) => run.first);
}

/** @param {State} state @param {number} to @param {boolean} extend @returns {State} */
function look(state, to, extend) {
  const focus = clamp(state, to);
  return { ...state, focus, anchor: extend ? state.anchor : focus };
}

/** @param {State} state @param {{direction: 1 | -1, extend?: boolean}} action @returns {State} */
function jump(state, { direction, extend = false }) {
  const starts = edges(state);
  const end = state.levels.length;
  if (direction < 0) return look(state, starts.findLast((start) => start < state.focus) ?? 0, extend);
  // Extending takes runs whole: the selection ends on the last frame before the next run.
  if (extend) return look(state, (starts.find((start) => start > state.focus + 1) ?? end) - 1, true);
  return look(state, starts.find((start) => start > state.focus) ?? end - 1, false);
}

/**
 * The state after an action; the old one is left as it was.
 *
 * @param {State} state
 * @param {{type: string, [key: string]: any}} action
 * @returns {State}
 */
export function reduce(state, action) {
  switch (action.type) {
    case "paint":
      return paint(state, action.first, action.last, () => action.level);
    case "take":
      return paint(state, action.first, action.last, (i) => action.levels[i]);
    case "fill":
      return fill(state);
    case "reset":
      return change(state, answer(initial(state.model)));
    case "snap":
      return change(state, { levels: state.model.map(snap), sources: state.model.map(() => "model"), init: "model" });
    case "cells":
      return cells(state, /** @type {any} */ (action));
    case "undo":
      return travel(state, "done", "undone");
    case "redo":
      return travel(state, "undone", "done");
    case "brush":
      return { ...state, brush: action.level };
    case "look":
      return look(state, action.to, action.extend ?? false);
    case "move":
      return look(state, state.focus + action.by, action.extend ?? false);
    case "edge":
      return jump(state, /** @type {any} */ (action));
    case "all":
      // The person stays at the first frame, where the next move begins.
      return { ...state, anchor: state.levels.length - 1, focus: 0 };
    case "collapse":
      return { ...state, anchor: state.focus };
    default:
      throw new Error(`unknown action ${action.type}; known ones are in core/editor.js`);
  }
}

/**
 * Folds journalled edits over a first state; a reload ends up where the person was.
 *
 * @param {State} state
 * @param {readonly {type: string}[]} edits
 * @returns {State}
 */
export function replay(state, edits) {
  return edits.reduce(reduce, state);
}
