/** The key map, key by key: a release that changes a step must say so here. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { initial, reduce, selection } from "../page/core/editor.js";
import { BINDINGS, actionsOf, bindingOf, rowOf } from "../page/core/keys.js";

function pressed(key, { shift = false, ctrl = false, alt = false, letters = true } = {}) {
  return bindingOf({ key, shiftKey: shift, ctrlKey: ctrl, metaKey: false, altKey: alt }, letters);
}

/** Where a press leads from frame 20 of 45. */
function after(key, options) {
  const state = reduce(initial(new Array(45).fill(0)), { type: "look", to: 20 });
  return actionsOf(pressed(key, options), state).reduce(reduce, state);
}

test("keys move as they always did", () => {
  const expected = { ArrowLeft: 19, ArrowRight: 21, PageUp: 16, PageDown: 24, ArrowUp: 4, ArrowDown: 36, Home: 0, End: 44 };
  for (const [key, frame] of Object.entries(expected)) {
    assert.deepEqual(selection(after(key)), { first: frame, last: frame }, key);
    const both = { first: Math.min(20, frame), last: Math.max(20, frame) };
    assert.deepEqual(selection(after(key, { shift: true })), both, `shift ${key}`);
  }
  assert.deepEqual([rowOf(8), rowOf(48), rowOf(49), rowOf(120)], [16, 16, 24, 24]);
});

test("digits set the brush and paint the selection", () => {
  for (const [key, level] of [["1", 0], ["2", 0.5], ["3", 1], ["4", null]]) {
    const state = after(key);
    assert.equal(state.brush, level);
    assert.equal(state.levels[20], level);
    assert.equal(state.levels.filter((one) => one !== null).length, level === null ? 0 : 1);
  }
});

test("all other keys stand for their commands", () => {
  const commands = {
    f: "fill", m: "snap", z: "undo", a: "all", r: "loop", h: "overlay", w: "whatif", c: "flag", l: "flag", b: "flag",
    5: "takeFirst", 6: "takeSecond", "[": "edge", "]": "edge", "{": "extendEdge", "}": "extendEdge", " ": "play",
    "-": "slower", "+": "faster", "=": "faster", "?": "help", Enter: "submit", Escape: "collapse", Delete: "paint",
  };
  for (const [key, command] of Object.entries(commands)) assert.equal(pressed(key)?.command, command, key);
  assert.equal(pressed("Z", { shift: true }).command, "redo");
  assert.equal(pressed("Z", { shift: true, ctrl: true }).command, "redo");
  assert.equal(pressed("z", { ctrl: true }).command, "undo");
  assert.equal(pressed("A").command, "all");
});

test("keys of the browser are left to it", () => {
  for (const key of ["r", "c", "f", "l"]) assert.equal(pressed(key, { ctrl: true }), null, `ctrl ${key}`);
  assert.equal(pressed("ArrowLeft", { alt: true }), null);
  assert.equal(pressed("q"), null);
  assert.equal(pressed("Tab"), null);
});

test("single characters can be switched off; arrows, Home, Enter and Escape stay", () => {
  for (const { key, letter } of BINDINGS) {
    const shift = key.startsWith("shift+");
    const ctrl = key.startsWith("ctrl+");
    const found = pressed(key.replace(/^(shift|ctrl)\+(shift\+)?/, ""), { shift: shift || key.includes("+shift+"), ctrl, letters: false });
    assert.equal(found === null, letter, key);
  }
});

test("no key stands for two commands", () => {
  const keys = BINDINGS.map(({ key }) => key);
  assert.equal(new Set(keys).size, keys.length);
});
