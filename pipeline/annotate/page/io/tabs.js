/**
 * Which browser tab this is, and whether the others of this browser still live.
 *
 * The name survives a reload (sessionStorage) but not a duplication of the tab, which copies sessionStorage: a held Web
 * Lock tells the two apart, and the browser lets go of it when the tab ends, however it ends. Browsers have no locks on
 * plain http: there a duplicated tab shares its name, and a tab that ended is asked about before it is replaced.
 */

import { randomId } from "./api.js";

const NAME = "star-tab";

/** Holds the lock until the tab ends. @param {string} tab @returns {Promise<boolean>} false: another tab has the name */
function hold(tab) {
  if (!navigator.locks) return Promise.resolve(true);
  return new Promise((resolve) => {
    void navigator.locks.request(`${NAME}-${tab}`, { ifAvailable: true }, (lock) => {
      resolve(lock !== null);
      return lock ? new Promise(() => {}) : undefined;
    });
  });
}

/** @returns {Promise<string>} this tab's name */
export async function tabName() {
  const kept = sessionStorage.getItem(NAME);
  if (kept && (await hold(kept))) return kept;
  const fresh = randomId();
  await hold(fresh);
  sessionStorage.setItem(NAME, fresh);
  return fresh;
}

/** @param {string} tab @returns {Promise<boolean>} whether a tab of this browser has that name now */
export async function lives(tab) {
  if (!navigator.locks) return true;
  const { held } = await navigator.locks.query();
  return (held ?? []).some(({ name }) => name === `${NAME}-${tab}`);
}

/** Tells the other tabs of this browser something, and hears them. */
export class Channel {
  /** @param {(message: any) => void} heard */
  constructor(heard) {
    this.channel = new BroadcastChannel(NAME);
    this.channel.onmessage = ({ data }) => heard(data);
  }

  /** @param {any} message */
  tell(message) {
    this.channel.postMessage(message);
  }
}
