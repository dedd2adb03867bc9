/** The reducer against its properties, on random strokes with a fixed seed; run by node alone. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { EDITS, answer, initial, reduce, replay, same, selection, shown } from "../page/core/editor.js";

/** Mulberry32: repeatable random numbers. */
function random(seed) {
  let a = seed;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const LEVELS = [0, 0.5, 1, null];
const pick = (next, values) => values[Math.floor(next() * values.length)];

function randomEdit(next, frames) {
  const at = () => Math.floor(next() * frames);
  const kind = pick(next, ["paint", "paint", "paint", "fill", "undo", "redo", "reset", "snap", "take", "cells"]);
  if (kind === "paint") return { type: kind, first: at(), last: at(), level: pick(next, LEVELS) };
  if (kind === "take") {
    return { type: kind, first: at(), last: at(), levels: Array.from({ length: frames }, () => pick(next, [0, 0.5, 1])) };
  }
  if (kind === "cells") return { type: kind, frame: at(), cells: [at(), 195 - at()], level: pick(next, [0, 0.5, 1]) };
  return { type: kind };
}

function eachSession(check) {
  for (let seed = 1; seed <= 60; seed += 1) {
    const next = random(seed);
    const frames = 8 + Math.floor(next() * 113);
    const model = Array.from({ length: frames }, next);
    const edits = Array.from({ length: 40 }, () => randomEdit(next, frames));
    check(initial(model), edits);
  }
}

test("undo takes back exactly the last change, and redo brings it again", () => {
  eachSession((start, edits) => {
    let state = start;
    for (const edit of edits) {
      const after = reduce(state, edit);
      if (after !== state && !["undo", "redo"].includes(edit.type)) {
        const back = reduce(after, { type: "undo" });
        assert.ok(same(back, state));
        assert.ok(same(reduce(back, { type: "redo" }), after));
      }
      state = after;
    }
    for (let i = 0; i < edits.length; i += 1) state = reduce(state, { type: "undo" });
    assert.ok(same(state, start));
  });
});

test("folding the journal over the first state gives the state, stack of undo included", () => {
  eachSession((start, edits) => {
    const live = edits.reduce((state, edit, i) => reduce(reduce(state, edit), { type: "look", to: i }), start);
    const kept = replay(start, JSON.parse(JSON.stringify(edits)));
    assert.ok(same(kept, live));
    assert.deepEqual(kept.done, live.done);
    assert.deepEqual(kept.undone, live.undone);
  });
});

test("a source is null exactly where the level is, and only levels 0, 0.5 and 1 occur", () => {
  eachSession((start, edits) => {
    let state = start;
    for (const edit of edits) {
      state = reduce(state, edit);
      state.levels.forEach((level, i) => {
        assert.ok(LEVELS.includes(level));
        assert.equal(state.sources[i] === null, level === null);
      });
      assert.equal(state.levels.length, start.levels.length);
      assert.deepEqual(state.model, start.model);
    }
  });
});

test("no action changes the state it is given", () => {
  eachSession((start, edits) => {
    let state = start;
    for (const edit of edits) {
      const before = JSON.stringify(state);
      const after = reduce(state, edit);
      assert.equal(JSON.stringify(state), before);
      state = after;
    }
  });
});

test("looking around leaves the answer alone", () => {
  const start = replay(initial([0.1, 0.6, 0.9, 0.2]), [{ type: "paint", first: 1, last: 2, level: 1 }]);
  const looks = [{ type: "look", to: 3 }, { type: "move", by: -9, extend: true }, { type: "edge", direction: 1 }];
  for (const look of [...looks, { type: "all" }, { type: "collapse" }, { type: "brush", level: 1 }]) {
    assert.ok(!EDITS.has(look.type));
    assert.deepEqual(answer(reduce(start, look)), answer(start));
  }
});

test("fill is a person's too, but says that it was filled", () => {
  const marks = [
    { type: "paint", first: 1, last: 1, level: 0.5 },
    { type: "paint", first: 4, last: 4, level: 0.5 },
    { type: "fill" },
  ];
  const state = replay(initial(new Array(6).fill(0.3)), marks);
  assert.deepEqual(state.levels, [null, 0.5, 0.5, 0.5, 0.5, null]);
  assert.deepEqual(state.sources, [null, "human", "filled", "filled", "human", null]);
});

test("starting from the model is recorded, and a stroke over it is a person's", () => {
  const state = replay(initial([0.1, 0.4, 0.8]), [{ type: "snap" }, { type: "paint", first: 2, last: 2, level: 1 }]);
  assert.deepEqual(state.levels, [0, 0.5, 1]);
  assert.deepEqual(state.sources, ["model", "model", "human"]);
  assert.equal(state.init, "model");
  assert.equal(reduce(state, { type: "reset" }).init, "blank");
});

test("run edges are those of the person's levels or, before any, of the model's", () => {
  const model = [0, 0, 0.5, 0.5, 1, 1, 0, 0];
  let state = initial(model);
  const stops = [];
  for (let i = 0; i < 4; i += 1) {
    state = reduce(state, { type: "edge", direction: 1 });
    stops.push(state.focus);
  }
  assert.deepEqual(stops, [2, 4, 6, 7]);
  assert.deepEqual(shown(state), [0, 0, 0.5, 0.5, 1, 1, 0, 0]);
  state = replay(state, [{ type: "paint", first: 0, last: 7, level: 0 }, { type: "paint", first: 3, last: 5, level: 1 }]);
  state = reduce(reduce(state, { type: "look", to: 3 }), { type: "edge", direction: 1, extend: true });
  assert.deepEqual(selection(state), { first: 3, last: 5 });
  state = reduce(state, { type: "edge", direction: -1 });
  assert.deepEqual(selection(state), { first: 3, last: 3 });
});

test("an unknown action is an error", () => {
  assert.throws(() => reduce(initial([0]), { type: "pant" }), /unknown action pant/);
});
