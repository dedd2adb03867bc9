/**
 * The desk: one clip at a time, from opening to submission. Turns commands into actions and actions into pictures.
 */

import { actionsOf } from "./core/keys.js";
import { EDITS, selection } from "./core/editor.js";
import { unset } from "./core/levels.js";
import { levelName, t } from "./i18n.js";
import { Refusal, Unreachable } from "./io/api.js";
import { Clip } from "./io/clip.js";
import { drawCurve } from "./view/curve.js";
import { askFlag, askUnset, showComparison } from "./view/dialogs.js";
import { byId, levelKey, say } from "./view/dom.js";
import * as frame from "./view/frame.js";
import { showOpinions } from "./view/opinions.js";
import { Pictures } from "./view/pictures.js";
import { Player } from "./view/player.js";
import { SpatialMap } from "./view/spatial.js";
import { Strip } from "./view/strip.js";
import * as whatif from "./view/whatif.js";
import { Troubles } from "./troubles.js";

const IDLE_MS = 30_000;
const TURN_MS = 1_000;

export class Desk {
  /**
   * @param {{api: any, work: any, journal: any, person: string, channel: any, signIn: () => Promise<void>,
   *   onProgress: () => void, onHelp: () => void}} parts
   */
  constructor(parts) {
    Object.assign(this, parts);
    /** @type {Clip | null} */
    this.clip = null;
    this.busy = false;
    this.status = "saved";
    this.troubles = new Troubles(this);
    this.strip = new Strip(byId("strip"), (action) => this.pointer(action));
    this.player = new Player({ onFrame: () => this.render(), onPause: (at) => this.#paused(at) });
    this.map = new SpatialMap((action) => this.act(action));
    this.lastInput = performance.now();
    setInterval(() => this.#count(), TURN_MS);
  }

  /** Goes to the next clip, or says why there is none. */
  async advance() {
    frame.hideNotice();
    if (!this.clip) frame.showEmpty(t("empty.loading"), "");
    try {
      const { task, reason } = await this.work.next();
      if (task) return await this.open(task);
      this.close();
      const words = reason === "too_many_leases" ? "empty.leases" : "empty.text";
      frame.showEmpty(t("empty.title"), t(words), { label: t("empty.again"), act: () => void this.advance() });
    } catch (error) {
      if (!(error instanceof Unreachable)) throw error;
      frame.showEmpty(t("empty.unreachable.title"), t("empty.unreachable"), {
        label: t("empty.again"),
        act: () => void this.advance(),
      });
    }
    return undefined;
  }

  /** @param {{item: any, lease: any, foreign: boolean}} task */
  async open(task) {
    this.close();
    const { item } = task;
    const own = task.foreign ? null : task.lease;
    const parts = { api: this.api, journal: this.journal, person: this.person };
    const onStatus = (status, error) => this.#heard(status, error);
    const onUnkept = () => frame.showNotice(t("notice.memory"));
    this.clip = await Clip.open({ ...parts, onStatus, onUnkept }, item, own);
    this.map.open(item);
    frame.showWork();
    frame.showFacts(item);
    frame.showGuide(item);
    whatif.showMined(item);
    const take = (which, first, last) => this.act({ type: "take", first, last, levels: item.opinions[which].scores });
    showOpinions(item, take, (which) => take(which, ...Object.values(selection(this.clip.state))));
    this.strip.open(item);
    this.pictures = new Pictures(item, {
      onStrip: (url) => {
        this.strip.arrived(this.pictures, url);
        this.player.arrived(null);
      },
      onFrame: (at) => this.player.arrived(at),
    });
    this.player.open(item, this.pictures);
    if (!this.journal.durable) frame.showNotice(t("notice.memory"));
    if (item.note) frame.showNotice(t("notice.returned", { note: item.note }));
    if (this.clip.writable) this.clip.saver.start();
    else this.#heard("readonly", null);
    if (task.foreign) this.troubles.foreign(task.lease);
    this.onProgress();
    this.render();
    this.strip.focus(this.clip.state.focus);
    say(t("said.next", { name: item.label.text, frames: item.num_frames }));
    if (this.clip.writable) this.work.prefetch();
    const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (!still) this.player.play({ first: 0, last: item.num_frames - 1 }, 0, true);
  }

  /** Leaves the clip; what is unsent stays in the journal. */
  close() {
    this.player.stop();
    this.pictures?.close();
    this.clip?.freeze();
    this.clip = null;
    this.busy = false;
  }

  /** Does an action and shows it. @param {any} action */
  act(action) {
    const { clip } = this;
    if (!clip || (EDITS.has(action.type) && (this.busy || !clip.writable))) return;
    const before = clip.state;
    clip.act(action);
    if (EDITS.has(action.type)) this.#describe(action, before, clip.state);
    else if (clip.state.focus !== before.focus) this.player.stop();
    this.render();
  }

  /** What the pointer did on the strip: `brushed` paints the selection with the brush. @param {any} action */
  pointer(action) {
    if (action.type !== "brushed") return this.act(action);
    const { brush } = this.clip.state;
    return this.act({ type: "paint", ...selection(this.clip.state), level: brush });
  }

  /** @param {any} binding of the key map, or a command of a button */
  command(binding) {
    const { clip } = this;
    if (!clip) return;
    const actions = actionsOf(binding, clip.state);
    if (actions) {
      for (const action of actions) this.act(action);
      if (["move", "extend", "edge", "start", "end"].some((name) => binding.command.startsWith(name))) this.#moved();
      return;
    }
    const commands = {
      snap: () => clip.item.init_fixed || this.act({ type: "snap" }),
      reset: () => this.act({ type: "reset" }),
      play: () => this.play(),
      loop: () => this.loop(),
      slower: () => this.player.change(-1),
      faster: () => this.player.change(1),
      overlay: () => this.#toggleMap(),
      whatif: () => void this.whatif(),
      takeFirst: () => this.#take(0),
      takeSecond: () => this.#take(1),
      flag: () => void this.flag(binding.value),
      submit: () => void this.submit(),
      help: () => this.onHelp(),
    };
    commands[binding.command]();
  }

  /** Plays the clip or, looping, the selection or the run that is looked at. */
  play() {
    if (this.player.playing !== null) return this.player.pause();
    const { state } = this.clip;
    const range = this.player.looping ? this.#run() : { first: 0, last: state.levels.length - 1 };
    return this.player.play(range, this.player.looping ? range.first : state.focus);
  }

  loop() {
    const { player } = this;
    // The loop ends before it is switched off: the selection that it went round stays.
    if (player.looping) player.pause();
    player.looping = !player.looping;
    if (player.looping) player.play(this.#run());
    this.render();
  }

  #run() {
    const { state } = this.clip;
    const chosen = selection(state);
    if (chosen.first !== chosen.last) return chosen;
    const level = state.levels[state.focus];
    let [first, last] = [state.focus, state.focus];
    while (first > 0 && state.levels[first - 1] === level) first -= 1;
    while (last < state.levels.length - 1 && state.levels[last + 1] === level) last += 1;
    return { first, last };
  }

  /** A pause leaves the person on the frame that is on the screen, unless a loop keeps its selection. */
  #paused(at) {
    if (!this.player.looping) this.act({ type: "look", to: at });
    this.#moved();
    this.render();
  }

  /** Asks the model again with the levels as they are. */
  async whatif() {
    const { clip } = this;
    if (!clip.item.whatif || this.asking) return;
    this.asking = true;
    whatif.showWords(t("whatif.asking"));
    try {
      const answer = await this.api.whatif(clip.item.uid, [...clip.state.levels]);
      if (clip === this.clip) whatif.showAnswer(clip.item, answer);
    } catch (error) {
      if (!(error instanceof Refusal) && !(error instanceof Unreachable)) throw error;
      if (clip === this.clip) {
        whatif.showMined(clip.item);
        whatif.showWords(t("whatif.busy"));
      }
    } finally {
      this.asking = false;
    }
  }

  /** Finishes the clip, or says which frames it lacks. */
  async submit() {
    const { clip } = this;
    if (this.busy || !clip.writable) return;
    if (unset(clip.state.levels).length) {
      this.player.stop();
      const go = await askUnset(clip.state);
      this.act({ type: "look", to: go });
      this.strip.focus(go);
      return;
    }
    await this.#finish(clip, () => clip.submit());
  }

  /** @param {string} [reason] */
  async flag(reason = "cannot_judge") {
    const { clip } = this;
    if (this.busy || !clip.writable) return;
    this.player.stop();
    const flag = await askFlag(reason);
    if (flag) await this.#finish(clip, () => clip.flag(flag));
  }

  async #finish(clip, finish) {
    this.busy = true;
    this.player.stop();
    this.render();
    const answer = await finish();
    if (this.clip !== clip) return;
    this.busy = false;
    // A refusal has been explained by its status.
    if (!answer) return this.render();
    this.onProgress();
    if (answer.comparison) await showComparison(clip.state.levels, answer.comparison);
    await this.advance();
  }

  #take(which) {
    const { item, state } = this.clip;
    if (item.opinions.length !== 2) return;
    this.act({ type: "take", ...selection(state), levels: item.opinions[which].scores });
  }

  #toggleMap() {
    if (!this.clip.item.spatial) return;
    this.map.toggle();
    this.render();
  }

  /** After a move by key: the frame is brought into view, and a selection is spoken. */
  #moved() {
    const { first, last } = selection(this.clip.state);
    this.strip.focus(this.clip.state.focus);
    if (first !== last) say(t("said.selected", { first, last, count: last - first + 1 }));
  }

  #describe(action, before, after) {
    const changed = after.levels.filter((level, i) => level !== before.levels[i]).length;
    if (after === before) say(t("said.nothing"));
    else if (action.type === "undo") say(t("said.undone"));
    else if (action.type === "redo") say(t("said.redone"));
    else if (action.type === "fill") say(t("said.filled", { count: changed }));
    else if (action.type === "paint") {
      const one = action.first === action.last;
      const words = { frame: action.first, count: action.last - action.first + 1, level: levelName(action.level) };
      say(t(one ? "said.painted.one" : "said.painted", words));
    } else say(t("said.changed", { count: changed }));
  }

  render() {
    const { clip } = this;
    if (!clip) return;
    const { state, item } = clip;
    const now = this.player.playing ?? state.focus;
    this.strip.render(state, this.player.playing);
    drawCurve(byId("curve"), item, state, now);
    this.player.render(state.focus);
    this.map.render(state, now);
    frame.showTools(state, clip.writable && !this.busy, !item.init_fixed);
  }

  /** @param {string} status for the badge */
  show(status) {
    this.status = frame.showBadge(status, this.status);
  }

  #heard(status, error) {
    this.show(status);
    void this.troubles.hear(status, error);
  }

  /** Something was pressed or moved. */
  touched() {
    this.lastInput = performance.now();
  }

  /** Active time: the page is visible and something was done in the last half minute. */
  #count() {
    const active = document.visibilityState === "visible" && performance.now() - this.lastInput < IDLE_MS;
    if (active && this.clip) this.clip.seconds += TURN_MS / 1000;
  }
}

/** @param {DOMStringMap} dataset of a button @returns {any} as the key map has it */
export function commandOf({ command, level }) {
  if (level === undefined) return { command };
  return { command, value: level === levelKey(null) ? null : Number(level) };
}
