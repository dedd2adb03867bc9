/** Sealed batches, and sealing the next one. */

import { t } from "../i18n.js";
import { manifestUrl } from "../io/api.js";
import { ask, button, row } from "../view/dialogs.js";
import { byId, make, say } from "../view/dom.js";
import { moment, table } from "./table.js";

export class Batches {
  /** @param {{api: any, me: any, told: (work: any) => any}} parts */
  constructor({ api, me, told }) {
    this.api = api;
    byId("seal").hidden = me.role !== "admin";
    byId("seal").addEventListener("click", told(() => this.#seal()));
  }

  /** @param {string} campaign */
  async show(campaign) {
    this.campaign = campaign;
    const [progress, batches] = await Promise.all([this.api.progress(campaign), this.api.batches()]);
    this.ready = progress.classes.reduce((total, { resolved }) => total + resolved, 0);
    byId("ready").textContent = t("review.ready", { count: this.ready });
    byId("seal").disabled = this.ready === 0;
    const heads = [["review.batch", ""], ["review.items", "number"], ["review.sealed.at", ""], ["review.id", ""], ["", ""]];
    const rows = batches
      .filter((batch) => batch.campaign === campaign)
      .map((batch) => [
        t("review.batch.number", { number: batch.sequence }),
        String(batch.items),
        moment(batch.sealed),
        make("code", { title: batch.id }, batch.id.slice(0, 12)),
        batch.published ? make("a", { href: manifestUrl(batch.id) }, t("review.manifest")) : t("review.unpublished"),
      ]);
    byId("batch-table").replaceChildren(table(t("review.batches"), heads, rows, t("review.none.batches")));
  }

  async #seal() {
    const title = t("review.seal.title", { count: this.ready });
    const sure = await ask(
      title,
      (answer) => [
        make("p", {}, t("review.seal.text")),
        row(button(t("dialog.cancel"), () => answer(false)), button(t("review.seal"), () => answer(true), "primary")),
      ],
      { escape: false },
    );
    if (!sure) return;
    const { manifest } = await this.api.seal(this.campaign);
    await this.show(this.campaign);
    say(t("review.sealed", { count: manifest?.items ?? 0 }));
  }
}
