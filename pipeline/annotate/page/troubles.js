/** What stands between a stroke and the server, and what the person is asked about it. Nothing is decided in silence. */

import { t } from "./i18n.js";
import { Refusal, Unreachable } from "./io/api.js";
import { askConflict } from "./view/dialogs.js";
import { hideNotice, showNotice } from "./view/frame.js";

export class Troubles {
  /** @param {any} desk */
  constructor(desk) {
    this.desk = desk;
    this.offline = false;
  }

  /** @param {string} status of the saver @param {any} error */
  async hear(status, error) {
    if (status === "local") this.#offline();
    else if (this.offline) this.#online();
    if (status === "conflict") await this.#conflict(error.problem.draft);
    if (status === "lost") await this.lost(error.problem.holder);
    if (status === "refused") showNotice(t("notice.refused", { message: error.message }));
    if (status === "finished") this.#over("notice.finished");
    if (status === "signedout") {
      const { clip } = this.desk;
      await this.desk.signIn();
      clip.saver.resume();
    }
  }

  #offline() {
    if (this.offline) return;
    this.offline = true;
    showNotice(t("notice.offline"));
  }

  #online() {
    this.offline = false;
    hideNotice();
  }

  async #conflict(draft) {
    const { desk } = this;
    const { clip } = desk;
    // Without a draft there is nothing to choose: the server has begun the clip anew.
    const choice = draft ? await askConflict(clip.state.levels, draft.scores) : "mine";
    if (choice === "mine") await clip.saver.keepMine(draft?.version ?? 0);
    else await clip.adopt(draft);
    desk.render();
  }

  /** The lease is gone. @param {"you" | "other" | "nobody"} holder */
  async lost(holder) {
    const { desk } = this;
    const { clip } = desk;
    if (!clip?.writable) return;
    if (holder !== "you") {
      const lease = await desk.work.revive();
      if (lease) {
        await clip.continueWith(lease);
        return;
      }
    }
    this.freeze();
    if (holder === "you") this.taken(clip.lease);
    else this.#over(holder === "other" ? "notice.other" : "notice.lapsed");
  }

  /** The clip can be looked at, but not written. */
  freeze() {
    this.desk.clip.freeze();
    this.desk.busy = false;
    this.desk.show("lost");
    this.desk.render();
  }

  /** Another tab of this person took the clip over. @param {any} lease */
  taken(lease) {
    showNotice(t("notice.taken"), { label: t("notice.take"), act: () => void this.#takeOver(lease) });
  }

  /** The clip was open in another tab when this one came. @param {any} lease */
  foreign(lease) {
    showNotice(t("notice.tab"), { label: t("notice.take"), act: () => void this.#takeOver(lease) });
  }

  async #takeOver(lease) {
    const { desk } = this;
    try {
      const task = await desk.work.takeOver(lease);
      hideNotice();
      desk.channel.tell({ taken: task.item.uid });
      await desk.open(task);
    } catch (error) {
      if (error instanceof Unreachable) showNotice(t("empty.unreachable.title"));
      else if (error instanceof Refusal) this.#over("notice.finished");
      else throw error;
    }
  }

  /** Nothing more can be done with this clip. */
  #over(words) {
    showNotice(t(words), { label: t("notice.next"), act: () => void this.desk.advance() });
  }
}
