/** The saver with a service that fails as told, a journal in memory and a clock that the test turns. */

import assert from "node:assert/strict";
import { webcrypto } from "node:crypto";
import { test } from "node:test";

import { Refusal, Unreachable } from "../page/io/api.js";
import { MemoryJournal } from "../page/io/journal.js";
import { Saver } from "../page/io/saver.js";

globalThis.crypto ??= webcrypto; // every browser has it; node before version 19 (Debian 12 has 18) only by this name

async function desk(replies) {
  const journal = new MemoryJournal();
  await journal.start("p/i", { base: {}, version: 3 });
  const world = { sent: [], said: [], waits: [], work: null, strokes: 0, journal };
  const call = (kind) => async (uid, body, { operation, version, lease }) => {
    world.sent.push({ kind, uid, body, operation, version, lease });
    const reply = replies.shift();
    if (reply instanceof Error) throw reply;
    return reply;
  };
  const timers = {
    set: (work, ms) => {
      world.waits.push(Math.round(ms));
      world.work = work;
      return 1;
    },
    clear: () => (world.work = null),
  };
  world.saver = new Saver({
    api: { save: call("save"), submit: call("submit"), flag: call("flag") },
    journal,
    key: "p/i",
    uid: "i",
    lease: { token: "t.1" },
    record: (await journal.load("p/i")).clip,
    body: () => ({ strokes: world.strokes }),
    onStatus: (status) => world.said.push(status),
    timers,
  });
  world.stroke = async () => {
    world.strokes += 1;
    world.saver.announced();
    await journal.append("p/i", { type: "fill" });
    world.saver.changed();
  };
  world.turn = async () => {
    const { work } = world;
    world.work = null;
    work?.();
    // The chain of promises behind one request is shorter than this.
    for (let i = 0; i < 30; i += 1) await Promise.resolve();
  };
  return world;
}

const ok = (version) => ({ version, saved: 0, expires: 0 });
const no = (status, code, more = {}) => new Refusal(status, { code, message: code, ...more }, 0);

test("strokes within 400 ms become one save, with the version that was read", async () => {
  const world = await desk([ok(4)]);
  await world.stroke();
  await world.stroke();
  assert.equal(world.waits.at(-1), 400);
  await world.turn();
  assert.equal(world.sent.length, 1);
  assert.deepEqual(world.sent[0].body, { strokes: 2 });
  assert.equal(world.sent[0].version, 3);
  assert.equal(world.saver.pending, false);
  assert.equal(world.said.at(-1), "saved");
});

test("it is not called saved while a stroke is on its way into the journal", async () => {
  const world = await desk([ok(4), ok(5)]);
  await world.stroke();
  world.saver.announced(); // the next stroke; the journal is slow
  await world.turn();
  assert.equal(world.sent.length, 1);
  assert.equal(world.said.at(-1), "saving");
  world.saver.changed();
  await world.turn();
  assert.equal(world.sent.length, 2);
  assert.equal(world.said.at(-1), "saved");
});

test("without an answer the same operation is repeated, waiting longer each time, until it is answered", async () => {
  const lost = Array.from({ length: 6 }, () => new Unreachable());
  const world = await desk([...lost, ok(4), ok(5)]);
  await world.stroke();
  await world.turn();
  await world.stroke();
  for (let i = 0; i < 6; i += 1) await world.turn();
  assert.equal(new Set(world.sent.map(({ operation }) => operation)).size, 1);
  assert.deepEqual(world.sent.at(-1).body, { strokes: 1 });
  const waits = world.waits.slice(1, 7);
  [1000, 2000, 4000, 8000, 15000, 15000].forEach((wait, i) => {
    assert.ok(waits[i] >= 0.75 * wait && waits[i] <= 1.25 * wait, `${waits}`);
  });
  await world.turn();
  assert.deepEqual(world.sent.at(-1).body, { strokes: 2 });
  assert.notEqual(world.sent.at(-1).operation, world.sent[0].operation);
  assert.equal(world.sent.at(-1).version, 4);
  assert.deepEqual([world.said.includes("local"), world.said.at(-1)], [true, "saved"]);
});

test("a busy service says when to come back", async () => {
  const busy = new Refusal(503, { code: "busy", message: "" }, 20);
  const world = await desk([busy]);
  await world.stroke();
  await world.turn();
  assert.ok(world.waits.at(-1) >= 15_000);
});

test("an operation that was sent before a reload is repeated as it was", async () => {
  const world = await desk([new Unreachable(), ok(4)]);
  await world.stroke();
  await world.turn();
  const { clip } = await world.journal.load("p/i");
  assert.equal(clip.operation.id, world.sent[0].operation);
  const again = await desk([ok(4)]);
  await again.journal.update("p/i", { ...clip });
  again.saver.operation = clip.operation;
  again.saver.strokes = clip.strokes;
  again.saver.start();
  await again.turn();
  assert.deepEqual([again.sent[0].operation, again.sent[0].body], [world.sent[0].operation, world.sent[0].body]);
});

test("a submission waits for the save on its way, and resolves with the service's answer", async () => {
  const world = await desk([ok(4), { state: "resolved", comparison: null }]);
  await world.stroke();
  const sending = world.turn();
  const answer = world.saver.submit();
  await sending;
  await world.turn();
  assert.deepEqual(world.sent.map(({ kind, version }) => [kind, version]), [["save", 3], ["submit", 4]]);
  assert.deepEqual(await answer, { state: "resolved", comparison: null });
  assert.equal(await world.journal.load("p/i"), null);
});

test("an ended session keeps the operation, for after the sign-in", async () => {
  const world = await desk([no(401, "signed_out"), ok(4)]);
  await world.stroke();
  await world.turn();
  assert.equal(world.said.at(-1), "signedout");
  assert.equal(world.work, null);
  await world.stroke();
  assert.equal(world.work, null);
  world.saver.resume();
  await world.turn();
  assert.equal(world.sent[0].operation, world.sent[1].operation);
});

test("a conflict stops everything until the person has chosen; keeping mine saves over the version that was shown", async () => {
  const world = await desk([no(409, "stale", { draft: { version: 9 } }), ok(10)]);
  await world.stroke();
  await world.turn();
  await world.stroke();
  assert.deepEqual([world.said.at(-1), world.work], ["conflict", null]);
  await world.saver.keepMine(9);
  await world.turn();
  assert.deepEqual([world.sent[1].version, world.sent[1].body], [9, { strokes: 2 }]);
  assert.notEqual(world.sent[0].operation, world.sent[1].operation);
});

test("a lost lease holds a submission up until it is revived, or ends it when the clip is left", async () => {
  const world = await desk([no(423, "lease_gone", { holder: "nobody" }), { state: "resolved", comparison: null }]);
  await world.stroke();
  const answer = world.saver.submit();
  await world.turn();
  assert.deepEqual([world.said.at(-1), world.work], ["lost", null]);
  world.saver.renewLease({ token: "t.2" });
  await world.turn();
  assert.deepEqual(world.sent.map(({ kind, lease }) => [kind, lease]), [["submit", "t.1"], ["submit", "t.2"]]);
  assert.notEqual(world.sent[0].operation, world.sent[1].operation);
  assert.equal((await answer).state, "resolved");

  const other = await desk([no(423, "lease_gone", { holder: "other" })]);
  await other.stroke();
  const never = other.saver.submit();
  await other.turn();
  other.saver.close();
  assert.equal(await never, null);
});

test("a refused submission ends without an answer, and the strokes stay", async () => {
  const world = await desk([no(422, "unset_frames", { frames: [3] })]);
  await world.stroke();
  const answer = world.saver.submit();
  await world.turn();
  assert.equal(await answer, null);
  assert.deepEqual([world.said.at(-1), world.saver.pending], ["refused", true]);
  assert.equal((await world.journal.load("p/i")).edits.length, 1);
});

test("after a refused save the next stroke tries again", async () => {
  const world = await desk([no(422, "length"), ok(4)]);
  await world.stroke();
  await world.turn();
  assert.equal(world.said.at(-1), "refused");
  await world.stroke();
  await world.turn();
  assert.equal(world.said.at(-1), "saved");
});
