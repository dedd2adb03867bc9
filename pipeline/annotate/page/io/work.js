/**
 * Which clip is next: claims it, fetches the one after it ahead, keeps the leases alive and finds work after a reload.
 */

import { Refusal, Unreachable, frameUrl, randomId, stripUrl } from "./api.js";
import { lives } from "./tabs.js";

const RENEW_MS = 60_000;
const CURRENT = "star-current";

/** @typedef {{item: any, lease: any, foreign: boolean}} Task `foreign`: another tab of this person holds it */

export class Work {
  /**
   * @param {{api: any, journal: any, person: string, tab: string, onLost: (error: any) => void}} parts
   */
  constructor({ api, journal, person, tab, onLost }) {
    Object.assign(this, { api, journal, person, tab, onLost });
    /** @type {{campaign: string, label: number | null, mode: string}} */
    this.choice = { campaign: "", label: null, mode: "annotate" };
    /** @type {any} */
    this.current = null;
    /** @type {Promise<Task | null> | null} */
    this.ahead = null;
    this.aheadLease = null;
    /** @type {HTMLImageElement[]} */
    this.warming = [];
    setInterval(() => void this.#renew(), RENEW_MS);
  }

  /**
   * Repeats operations whose answer never came: a submission that was on its way when the tab was closed.
   */
  async recover() {
    for (const { key, operation, version, lease } of await this.journal.unanswered(this.person)) {
      const uid = key.slice(this.person.length + 1);
      try {
        const answer = await this.api[operation.kind](uid, operation.body, { operation: operation.id, version, lease });
        if (operation.kind !== "save") await this.journal.drop(key);
        else {
          const part = { version: answer.version, acknowledged: operation.strokes, operation: null };
          await this.journal.update(key, part);
        }
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        // Refused for good: its strokes stay in the journal and are offered when the clip is opened again.
        if (error.code === "finished") await this.journal.drop(key);
        else await this.journal.update(key, { operation: null, acknowledged: -1 });
      }
    }
  }

  /** @returns {Promise<Task | null>} what this tab had before a reload, or what another tab of this person holds */
  async resume() {
    const leases = (await this.api.leases()).filter(({ campaign }) => campaign === this.choice.campaign);
    const chosen = localStorage.getItem(CURRENT);
    leases.sort((a, b) => Number(b.item === chosen) - Number(a.item === chosen));
    const own = leases.find(({ tab }) => tab === this.tab);
    if (own) {
      const spare = leases.find((lease) => lease.tab === this.tab && lease !== own);
      if (spare) this.#keepAhead(this.#open(spare.item));
      return this.#take(await this.#open(own.item));
    }
    for (const lease of leases) {
      if (await lives(lease.tab)) continue;
      // The tab that had it is gone; with it goes the question whether to take over.
      const taken = await this.api.takeOver(lease, this.tab);
      return this.#take(await this.#open(taken.item, taken));
    }
    return leases.length ? this.#open(leases[0].item) : null;
  }

  /** @returns {Promise<{task: Task | null, reason: string}>} the next clip */
  async next() {
    this.current = null;
    const ready = await this.ahead;
    this.ahead = null;
    this.aheadLease = null;
    if (ready) return { task: this.#take(ready), reason: "" };
    const { task, reason } = await this.#claim();
    return { task: task && this.#take(task), reason };
  }

  /** Fetches the clip after this one, pictures and all. */
  prefetch() {
    if (!this.ahead) this.#keepAhead(this.#claim().then(({ task }) => task));
  }

  /** @param {Promise<Task | null>} coming */
  #keepAhead(coming) {
    const ahead = coming
      .then(async (task) => {
        if (!task?.lease) return null;
        if (this.ahead !== ahead) {
          // The work was given back in the meantime.
          await this.api.release(task.lease);
          return null;
        }
        this.aheadLease = task.lease;
        this.warming = warm(task.item);
        return task;
      })
      .catch((error) => {
        if (error instanceof Refusal || error instanceof Unreachable) return null;
        throw error;
      });
    this.ahead = ahead;
  }

  /** Revives the lapsed lease of the clip at hand. @returns {Promise<any | null>} null: the clip is somebody else's */
  async revive() {
    if (this.aheadLease?.item === this.current.item) {
      // The clip to come was claimed after this one had lapsed, and is this one.
      this.current = this.aheadLease;
      this.#forget();
      return this.current;
    }
    try {
      this.current = await this.api.takeOver(this.current, this.tab);
      return this.current;
    } catch (error) {
      if (error instanceof Refusal) return null;
      throw error;
    }
  }

  /** @param {any} lease held by another tab of this person */
  async takeOver(lease) {
    const taken = await this.api.takeOver(lease, this.tab);
    return this.#take(await this.#open(taken.item, taken));
  }

  /** Gives back what this tab holds, and what a claim on its way will have given it. */
  async release() {
    const coming = this.ahead;
    const leases = [this.current, this.aheadLease].filter((lease) => lease?.token);
    cool(this.warming);
    this.current = null;
    this.ahead = null;
    this.aheadLease = null;
    await Promise.allSettled([coming, ...leases.map((lease) => this.api.release(lease))]);
  }

  /** @param {Task} task */
  #take(task) {
    this.current = task.lease;
    localStorage.setItem(CURRENT, task.item.uid);
    return task;
  }

  async #claim() {
    const { lease, reason } = await this.api.claim({ ...this.choice, tab: this.tab }, randomId());
    return { task: lease ? await this.#open(lease.item, lease) : null, reason };
  }

  /** @returns {Promise<Task>} */
  async #open(uid, lease = null) {
    const item = await this.api.item(uid, this.tab);
    const held = lease ?? item.lease;
    const foreign = !lease && held !== null && held.tab !== this.tab;
    return { item, lease: held, foreign };
  }

  async #renew() {
    for (const lease of [this.current, this.aheadLease]) {
      if (!lease?.token) continue;
      try {
        lease.expires = (await this.api.renew(lease)).expires;
      } catch (error) {
        if (error instanceof Unreachable) continue;
        if (!(error instanceof Refusal)) throw error;
        if (error.code === "lease_gone" && lease === this.aheadLease) this.#forget();
        else if (error.code === "lease_gone") this.onLost(error);
      }
    }
  }

  #forget() {
    this.ahead = null;
    this.aheadLease = null;
  }
}

/** Width to ask the strip in: the smallest that is sharp in a cell. @param {any} item @param {number} css pixels */
export function stripWidth(item, css) {
  const wanted = css * Math.min(window.devicePixelRatio || 1, 2);
  const widths = [...item.widths].sort((a, b) => a - b);
  return widths.find((width) => width >= wanted) ?? widths.at(-1);
}

/** Has the browser fetch a clip's pictures into its cache. @returns {HTMLImageElement[]} */
export function warm(item) {
  const urls = [stripUrl(item, stripWidth(item, 96))];
  for (let i = 0; i < item.num_frames; i += 1) urls.push(frameUrl(item, i));
  return urls.map((url) => Object.assign(new Image(), { src: url }));
}

/** Stops fetching pictures, which a clip that was given back would refuse. @param {HTMLImageElement[]} images */
export function cool(images) {
  for (const image of images) if (!image.complete) image.removeAttribute("src");
}
