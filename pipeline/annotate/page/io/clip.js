/**
 * One clip being worked on: the item, the editor's state, the journal's record and the saver, held together.
 *
 * Every edit goes to the journal first and to the saver after it; looking around touches neither.
 */

import { EDITS, answer, initial, reduce, replay, same } from "../core/editor.js";
import { MemoryJournal } from "./journal.js";
import { Saver } from "./saver.js";

export const EDITOR = "page-1";

/** @param {any} draft the service's `Draft` @returns {import("../core/editor.js").Answer} */
export function answerOf(draft) {
  return {
    levels: draft.scores,
    sources: draft.sources,
    init: draft.init,
    maps: Object.fromEntries(draft.spatial.map(({ frame, cells }) => [frame, cells])),
  };
}

/** @param {import("../core/editor.js").Answer} own @param {number} seconds @returns {any} the service's `DraftIn` */
export function draftOf({ levels, sources, init, maps }, seconds) {
  const spatial = Object.entries(maps).map(([frame, cells]) => ({ frame: Number(frame), cells }));
  return { scores: levels, sources, init, seconds: Math.round(seconds * 10) / 10, editor: EDITOR, spatial };
}

/** What a person starts from when nothing was saved: blank, the model's curve snapped, or what two answers share. */
function fresh(item) {
  const blank = initial(item.attention);
  if (item.purpose === "adjudicate" && item.opinions.length === 2) {
    const [one, other] = item.opinions.map(({ scores }) => scores);
    const levels = one.map((level, i) => (level === other[i] ? level : null));
    return { ...answer(blank), levels, sources: levels.map((level) => (level === null ? null : "filled")) };
  }
  return answer(item.init === "model" ? reduce(blank, { type: "snap" }) : blank);
}

export class Clip {
  /**
   * @param {any} item
   * @param {any} lease
   * @param {import("../core/editor.js").State} state
   * @param {boolean} writable
   */
  constructor(item, lease, state, writable) {
    this.item = item;
    this.lease = lease;
    this.state = state;
    this.writable = writable;
    this.seconds = item.draft.seconds;
    /** @type {Saver | null} */
    this.saver = null;
    /** @type {Promise<void>} */
    this.written = Promise.resolve();
  }

  /**
   * Opens a clip with whatever this computer and the server know of it.
   *
   * @param {{api: any, journal: any, person: string, onStatus: (status: any, error: any) => void,
   *   onUnkept: (error: any) => void}} parts `onUnkept`: the disk is full, or refuses
   * @param {any} item
   * @param {any} lease null: to look at alone
   * @returns {Promise<Clip>}
   */
  static async open(parts, item, lease) {
    try {
      return await Clip.#openWith(parts, item, lease);
    } catch (error) {
      if (!(error instanceof DOMException)) throw error;
      parts.onUnkept(error);
      return Clip.#openWith({ ...parts, journal: new MemoryJournal() }, item, lease);
    }
  }

  static async #openWith({ api, journal, person, onStatus, onUnkept }, item, lease) {
    const key = `${person}/${item.uid}`;
    const server = item.draft.version > 0 ? answerOf(item.draft) : fresh(item);
    let kept = await journal.load(key);
    const ours = kept && replay(initial(item.attention, kept.clip.base), kept.edits);
    // Nothing unsent here, and the server moved on (another computer): the journal's copy is merely old.
    const old = kept && !kept.clip.operation && kept.clip.acknowledged >= kept.clip.strokes;
    if (old && !same(answer(ours), server)) kept = null;
    if (lease && !kept) {
      await journal.start(key, { base: server, version: item.draft.version, seconds: item.draft.seconds });
      kept = await journal.load(key);
    }
    const state = kept ? replay(initial(item.attention, kept.clip.base), kept.edits) : initial(item.attention, server);
    const clip = new Clip(item, lease, state, lease !== null && !item.submitted);
    clip.key = key;
    clip.journal = journal;
    clip.onUnkept = onUnkept;
    clip.seconds = Math.max(item.draft.seconds, kept?.clip.seconds ?? 0);
    if (!clip.writable) return clip;
    const body = () => draftOf(answer(clip.state), clip.seconds);
    clip.saver = new Saver({ api, journal, key, uid: item.uid, lease, record: kept.clip, body, onStatus, onUnkept });
    await journal.update(key, { lease: lease.token });
    return clip;
  }

  /** Does an action; an edit is kept in the journal before it is sent. @param {any} action */
  act(action) {
    const before = this.state;
    const edits = EDITS.has(action.type);
    if (edits && !this.writable) return;
    this.state = reduce(before, action);
    if (!edits || this.state === before) return;
    this.saver.announced();
    // One after another: the journal must hold strokes in the order in which they were made.
    this.written = this.written.then(() => this.#keep(action));
  }

  /** Without a place on the disk a stroke still goes to the server. */
  async #keep(action) {
    try {
      await this.journal.append(this.key, action);
      await this.journal.update(this.key, { seconds: this.seconds });
    } catch (error) {
      this.onUnkept(error);
    }
    this.saver.changed();
  }

  /** Takes what the server holds instead of what is here (after a conflict). @param {any} draft */
  async adopt(draft) {
    await this.written;
    await this.journal.start(this.key, { base: answerOf(draft), version: draft.version, seconds: draft.seconds, lease: this.lease.token });
    this.state = { ...initial(this.item.attention, answerOf(draft)), focus: this.state.focus, anchor: this.state.focus };
    this.saver.restart((await this.journal.load(this.key)).clip);
  }

  /** @param {any} lease a new one for the same clip */
  async continueWith(lease) {
    this.lease = lease;
    await this.journal.update(this.key, { lease: lease.token });
    this.saver.renewLease(lease);
  }

  /** Stops writing: another tab or person has the clip. */
  freeze() {
    this.writable = false;
    this.saver?.close();
  }

  /** @returns {Promise<any>} the service's answer, or null where it said no */
  async submit() {
    await this.written;
    return this.saver.submit();
  }

  /** @param {{reason: string, note: string}} flag @returns {Promise<any>} */
  async flag(flag) {
    await this.written;
    return this.saver.flag(flag);
  }
}
