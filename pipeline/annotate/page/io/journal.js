/**
 * What a person did, kept in this browser before anything is sent: it survives a lost network, a reload, an ended
 * session and a crash.
 *
 * A clip's record holds the answer its strokes start from, the server's version that is known here, and the operation
 * that was sent and not yet answered; strokes are appended one by one. Clips are named `<person>/<uid>`, so two people
 * at one computer never see each other's work.
 */

const NAME = "star-annotation";

/**
 * @typedef {object} ClipRecord
 * @property {string} key
 * @property {import("../core/editor.js").Answer} base
 * @property {number} version what the server held when it last answered
 * @property {number} strokes strokes appended so far
 * @property {number} acknowledged how many of them the server has
 * @property {import("./saver.js").Operation | null} operation sent, not yet answered
 * @property {string} lease token that the operation was sent with
 * @property {number} seconds active time on the clip
 */

const NEW = { version: 0, strokes: 0, acknowledged: 0, operation: null, lease: "", seconds: 0 };

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
function result(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** @returns {Promise<IDBDatabase>} */
function open() {
  const request = indexedDB.open(NAME, 1);
  request.onupgradeneeded = () => {
    request.result.createObjectStore("clips", { keyPath: "key" });
    request.result.createObjectStore("strokes", { autoIncrement: true }).createIndex("key", "key");
  };
  return result(request);
}

export class Journal {
  /** @param {IDBDatabase} database */
  constructor(database) {
    this.database = database;
    this.durable = true;
  }

  static async open() {
    return new Journal(await open());
  }

  /**
   * Runs `work` in one transaction and waits until it is on disk.
   *
   * @template T
   * @param {(clips: IDBObjectStore, strokes: IDBObjectStore) => Promise<T>} work
   * @returns {Promise<T>}
   */
  async #write(work) {
    const transaction = this.database.transaction(["clips", "strokes"], "readwrite", { durability: "strict" });
    const done = new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onabort = () => reject(transaction.error);
    });
    const value = await work(transaction.objectStore("clips"), transaction.objectStore("strokes"));
    await done;
    return value;
  }

  /** @param {string} key @returns {Promise<{clip: ClipRecord, edits: any[]} | null>} */
  async load(key) {
    const transaction = this.database.transaction(["clips", "strokes"]);
    const [clip, strokes] = await Promise.all([
      result(transaction.objectStore("clips").get(key)),
      result(transaction.objectStore("strokes").index("key").getAll(key)),
    ]);
    return clip ? { clip, edits: strokes.map(({ edit }) => edit) } : null;
  }

  /** Clips of a person whose last operation was sent and not answered. @param {string} person @returns {Promise<ClipRecord[]>} */
  async unanswered(person) {
    const clips = await result(this.database.transaction("clips").objectStore("clips").getAll());
    return clips.filter(({ key, operation }) => key.startsWith(`${person}/`) && operation);
  }

  /** Begins a clip anew; what was kept of it goes. @param {string} key @param {Partial<ClipRecord>} record */
  start(key, record) {
    const fresh = { ...NEW, ...record, key };
    return this.#write(async (clips, strokes) => {
      await this.#clear(strokes, key);
      await result(clips.put(fresh));
    });
  }

  /** Keeps one stroke. @param {string} key @param {any} edit */
  append(key, edit) {
    return this.#write(async (clips, strokes) => {
      const clip = await result(clips.get(key));
      await result(strokes.add({ key, edit }));
      await result(clips.put({ ...clip, strokes: clip.strokes + 1 }));
    });
  }

  /** Changes the clip's record, which must be there. @param {string} key @param {Partial<ClipRecord>} part */
  update(key, part) {
    return this.#write(async (clips) => {
      const clip = await result(clips.get(key));
      if (clip) await result(clips.put({ ...clip, ...part }));
    });
  }

  /** Forgets a clip whose answer the server has for good. @param {string} key */
  drop(key) {
    return this.#write(async (clips, strokes) => {
      await this.#clear(strokes, key);
      await result(clips.delete(key));
    });
  }

  /** @param {IDBObjectStore} strokes @param {string} key */
  async #clear(strokes, key) {
    const kept = await result(strokes.index("key").getAllKeys(key));
    await Promise.all(kept.map((id) => result(strokes.delete(id))));
  }
}

/** The same without a disk, for browsers that refuse one; the page says loudly that it is in use. */
export class MemoryJournal {
  constructor() {
    /** @type {Map<string, {clip: ClipRecord, edits: any[]}>} */
    this.kept = new Map();
    this.durable = false;
  }

  async load(key) {
    return structuredClone(this.kept.get(key) ?? null);
  }

  async unanswered() {
    return [];
  }

  async start(key, record) {
    const clip = { ...NEW, ...record, key };
    this.kept.set(key, { clip, edits: [] });
  }

  async append(key, edit) {
    const entry = this.kept.get(key);
    entry.edits.push(edit);
    entry.clip.strokes += 1;
  }

  async update(key, part) {
    const entry = this.kept.get(key);
    if (entry) Object.assign(entry.clip, part);
  }

  async drop(key) {
    this.kept.delete(key);
  }
}
