/** Levels, runs, the authors' fill and the model's window. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { differing, filled, runs, snap, unset, windowFrames } from "../page/core/levels.js";

/** The rule as the authors' program states it: walk over the assigned frames, compare each with the one before. */
function authorsFill(levels) {
  const assigned = levels.map((level, i) => [i, level]).filter(([, level]) => level !== null);
  const result = [...levels];
  for (let k = 1; k < assigned.length; k += 1) {
    const [[from, one], [to, other]] = [assigned[k - 1], assigned[k]];
    if (one === other) for (let i = from; i <= to; i += 1) result[i] = one;
  }
  return result;
}

test("fill is the authors' rule on every vector of seven frames", () => {
  const values = [null, 0, 0.5, 1];
  for (let number = 0; number < 4 ** 7; number += 1) {
    const levels = Array.from({ length: 7 }, (_, i) => values[Math.floor(number / 4 ** i) % 4]);
    assert.deepEqual(filled(levels), authorsFill(levels));
  }
});

test("runs cover every frame once, and neighbours differ", () => {
  const levels = [null, null, 0, 0.5, 0.5, 1, 0, 0];
  const found = runs(levels);
  assert.deepEqual(found.flatMap((run) => levels.slice(run.first, run.last + 1).map(() => run.level)), levels);
  assert.deepEqual(found.map(({ first }) => first), [0, 2, 3, 5, 6]);
  assert.deepEqual(unset(levels), [0, 1]);
});

test("a score snaps to the nearest level, half way to the higher", () => {
  assert.deepEqual([0, 0.24, 0.25, 0.5, 0.74, 0.75, 1].map(snap), [0, 0, 0.5, 0.5, 0.5, 1, 1]);
});

test("a window past the end holds the last frame", () => {
  const places = windowFrames({ start: 1, stop: 9, stride: 2 }, 5);
  assert.deepEqual(places.map(({ frame }) => frame), [1, 3, 4, 4]);
  assert.deepEqual(places.map(({ repeat }) => repeat), [false, false, true, true]);
});

test("answers differ frame by frame", () => {
  assert.deepEqual(differing([0, 0.5, 1], [0, 1, 1]), [1]);
});
