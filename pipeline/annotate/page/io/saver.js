/**
 * Brings the answer to one clip to the server: one operation at a time, repeated under the same name until answered.
 *
 * The journal has every stroke before `changed` is called. An operation is kept there before it is sent, so after a
 * reload it is repeated as it was and the server recognises it. Time, the service and the journal come from outside.
 */

import { Refusal, Unreachable, randomId } from "./api.js";

const QUIET_MS = 400;
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 15_000;
/** Fewer strokes than any answer has: the server's answer lacks what is here, though no stroke may be new. */
const UNSENT = -1;

/**
 * @typedef {object} Operation
 * @property {string} id
 * @property {"save" | "submit" | "flag"} kind
 * @property {any} body
 * @property {number} strokes strokes that the body includes
 */
/**
 * saved: the server has all of it. saving: on its way. local: kept on this computer, repeated until it arrives.
 * conflict: the server holds something newer. signedout, lost (the lease), finished, refused: see the error.
 * @typedef {"saved" | "saving" | "local" | "conflict" | "signedout" | "lost" | "finished" | "refused"} Status
 */

export class Saver {
  /**
   * @param {object} parts
   * @param {any} parts.api
   * @param {any} parts.journal
   * @param {string} parts.key of the clip in the journal
   * @param {string} parts.uid
   * @param {{token: string}} parts.lease
   * @param {import("./journal.js").ClipRecord} parts.record
   * @param {() => any} parts.body the whole answer as it is now, as `DraftIn`
   * @param {(status: Status, error?: any) => void} parts.onStatus
   * @param {(error: any) => void} [parts.onUnkept] the journal cannot write
   * @param {{set: (work: () => void, ms: number) => any, clear: (timer: any) => void}} [parts.timers]
   */
  constructor({ api, journal, key, uid, lease, record, body, onStatus, onUnkept, timers }) {
    this.api = api;
    this.journal = journal;
    this.key = key;
    this.uid = uid;
    this.lease = lease;
    this.body = body;
    this.onStatus = onStatus;
    this.onUnkept = onUnkept ?? (() => {});
    this.timers = timers ?? { set: (work, ms) => setTimeout(work, ms), clear: (timer) => clearTimeout(timer) };
    this.version = record.version;
    this.strokes = record.strokes;
    /** Strokes on their way into the journal: not to be sent yet, but nothing is saved while there are any. */
    this.coming = 0;
    this.acknowledged = record.acknowledged;
    /** @type {Operation | null} */
    this.operation = record.operation;
    /** @type {Status} */
    this.status = "saved";
    this.timer = null;
    this.sending = false;
    this.wait = FIRST_WAIT_MS;
    this.closed = false;
    /** @type {{kind: "submit" | "flag", body?: any, promise?: Promise<any>, resolve: (answer: any) => void} | null} */
    this.finish = null;
  }

  /** Whether anything is not yet with the server. */
  get pending() {
    return this.operation !== null || this.strokes > this.acknowledged || this.finish !== null;
  }

  /** Takes up what a reload left behind. */
  start() {
    if (this.pending) this.#later(0);
    else this.#say("saved");
  }

  /** A stroke was made, and is on its way into the journal. */
  announced() {
    this.coming += 1;
    if (!this.closed && !this.#stuck() && this.status !== "local") this.#say("saving");
  }

  /** It is there. */
  changed() {
    this.coming = Math.max(0, this.coming - 1);
    this.strokes += 1;
    if (this.#stuck()) return;
    if (!this.sending && this.status !== "local") this.#later(QUIET_MS);
  }

  /** Finishes the clip; resolves with the server's answer, however long that takes, or null where it said no. */
  submit() {
    return this.#finishWith({ kind: "submit" });
  }

  /** Hands the clip back with a reason; likewise. @param {{reason: string, note: string}} body */
  flag(body) {
    return this.#finishWith({ kind: "flag", body });
  }

  /** The network or the session is back: try now. */
  resume() {
    if (this.closed || !this.pending || this.sending) return;
    this.wait = FIRST_WAIT_MS;
    this.status = "saving";
    this.#later(0);
  }

  /** After a takeover or a new claim. @param {{token: string}} lease */
  renewLease(lease) {
    this.lease = lease;
    this.resume();
  }

  /** After a conflict: what the server holds is known, what is here counts. @param {number} version */
  async keepMine(version) {
    this.version = version;
    this.operation = null;
    this.acknowledged = UNSENT;
    await this.#remember({ version, operation: null, acknowledged: UNSENT });
    this.resume();
  }

  /** Begins anew from another record: what is here now is what the server holds. @param {any} record */
  restart(record) {
    this.version = record.version;
    this.strokes = record.strokes;
    this.acknowledged = record.acknowledged;
    this.operation = null;
    this.#say("saved");
  }

  /** Sends nothing any more; whoever waits for the end of the clip hears that it did not come. */
  close() {
    this.closed = true;
    this.timers.clear(this.timer);
    this.#end(null);
  }

  /** @param {any} answer */
  #end(answer) {
    const finish = this.finish;
    this.finish = null;
    finish?.resolve(answer);
  }

  #finishWith(finish) {
    if (this.finish) return this.finish.promise;
    const promise = new Promise((resolve) => (this.finish = { ...finish, resolve }));
    this.finish.promise = promise;
    if (!this.#stuck()) {
      this.#say("saving");
      if (!this.sending) this.#later(0);
    }
    return promise;
  }

  /** Only a person can go on from these. */
  #stuck() {
    return ["conflict", "signedout", "lost", "finished"].includes(this.status);
  }

  /** @param {Status} status */
  #say(status, error = null) {
    this.status = status;
    this.onStatus(status, error);
  }

  /** Keeps what is known of the operation; a full disk must not stop the sending. @param {any} part */
  async #remember(part) {
    try {
      await this.journal.update(this.key, part);
    } catch (error) {
      this.onUnkept(error);
    }
  }

  #later(ms) {
    this.timers.clear(this.timer);
    this.timer = this.timers.set(() => void this.#send(), ms);
  }

  /** @returns {Operation} what to do next */
  #next() {
    const finish = this.finish;
    const kind = finish ? finish.kind : "save";
    return { id: randomId(), kind, body: finish?.body ?? this.body(), strokes: this.strokes };
  }

  async #send() {
    if (this.sending || this.closed || !this.pending) return;
    this.sending = true;
    let again = null;
    try {
      if (!this.operation) {
        this.operation = this.#next();
        await this.#remember({ operation: this.operation });
      }
      const { id, kind, body } = this.operation;
      if (this.status !== "local") this.#say("saving");
      const headers = { operation: id, version: this.version, lease: this.lease.token };
      await this.#answered(await this.api[kind](this.uid, body, headers));
      again = this.pending ? QUIET_MS : null;
    } catch (error) {
      again = await this.#failed(error);
    } finally {
      this.sending = false;
    }
    if (again !== null && !this.closed) this.#later(this.finish && again === QUIET_MS ? 0 : again);
  }

  async #answered(answer) {
    const { kind, strokes } = this.operation;
    this.operation = null;
    this.wait = FIRST_WAIT_MS;
    if (kind !== "save") {
      // Where dropping fails, the operation is repeated after the next start, and recognised.
      await this.journal.drop(this.key).catch(this.onUnkept);
      // After a reload nobody waits for the answer: the clip is simply found finished.
      const status = this.finish ? "saved" : "finished";
      this.acknowledged = this.strokes;
      this.#end(answer);
      this.close();
      this.#say(status);
      return;
    }
    this.version = answer.version;
    this.acknowledged = strokes;
    await this.#remember({ version: answer.version, acknowledged: strokes, operation: null });
    this.#say(this.pending || this.coming > 0 ? "saving" : "saved");
  }

  /** @returns {Promise<number | null>} when to try again */
  async #failed(error) {
    const temporary = error instanceof Unreachable || (error instanceof Refusal && retryable(error));
    if (temporary) {
      this.#say("local", error);
      const wait = Math.max(this.wait, (error.retryAfter ?? 0) * 1000);
      this.wait = Math.min(2 * this.wait, LONGEST_WAIT_MS);
      // Jitter, so that 74 pages do not return in the same moment after an outage.
      return wait * (0.75 + Math.random() / 2);
    }
    if (!(error instanceof Refusal)) throw error;
    if (error.status === 401) this.#say("signedout", error);
    else if (error.code === "lease_gone") await this.#drop("lost", error);
    else if (error.code === "stale") await this.#drop("conflict", error);
    else if (error.code === "finished") await this.#drop("finished", error);
    else await this.#drop("refused", error);
    return null;
  }

  /** The server did not do the operation and never will; the strokes are kept, and are sent anew after a person's word. */
  async #drop(status, error) {
    this.operation = null;
    this.acknowledged = UNSENT;
    await this.#remember({ operation: null, acknowledged: UNSENT });
    // A lost lease may be revived, and then the clip is finished as was asked.
    if (status !== "lost") this.#end(null);
    this.#say(status, error);
  }
}

/** @param {Refusal} error */
function retryable(error) {
  return error.status >= 500 || error.status === 429 || error.status === 408;
}
