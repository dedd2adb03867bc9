/** Clips that wait for a decision: what was answered or flagged, and accept or return. */

import { differing } from "../core/levels.js";
import { levelName, t } from "../i18n.js";
import { stripUrl } from "../io/api.js";
import { levelBars } from "../view/bars.js";
import { byId, make, say } from "../view/dom.js";
import { figure } from "./table.js";

const DECIDED = ["flagged", "resolved"];
const PICTURE = 112;

export class Clips {
  /** @param {{api: any, me: any, told: (work: any) => any}} parts */
  constructor({ api, me, told }) {
    this.api = api;
    this.me = me;
    this.told = told;
    this.campaign = null;
    this.lists = 0;
    const wanted = ["flagged", "adjudicate", "resolved", "open", "needs_second", "sealed"];
    byId("clip-state").replaceChildren(...wanted.map((state) => make("option", { value: state }, t(`state.${state}`))));
    for (const id of ["clip-state", "clip-class"]) byId(id).addEventListener("change", told(() => this.#list()));
    byId("clip-more").addEventListener("click", told(() => this.#more()));
    byId("clip-list").addEventListener("keydown", (event) => this.#arrow(event));
    byId("adjudicate").addEventListener("click", told(() => this.#adjudicate()));
  }

  /** @param {string} campaign */
  async show(campaign) {
    this.campaign = (await this.api.campaigns()).find(({ id }) => id === campaign);
    const chosen = byId("clip-class").value;
    const options = this.campaign.classes.map(({ label, text }) => make("option", { value: label }, text));
    byId("clip-class").replaceChildren(make("option", { value: "" }, t("settings.class.all")), ...options);
    byId("clip-class").value = this.campaign.classes.some(({ label }) => String(label) === chosen) ? chosen : "";
    await this.#list();
  }

  async #list() {
    if (!this.campaign) return;
    this.lists += 1;
    this.after = "";
    byId("adjudicate").hidden = byId("clip-state").value !== "adjudicate";
    byId("clip-list").replaceChildren();
    byId("clip-detail").replaceChildren(make("p", { className: "none" }, t("review.pick")));
    await this.#more();
  }

  async #more() {
    const list = this.lists;
    const [state, label] = [byId("clip-state").value, byId("clip-class").value];
    const { items, after } = await this.api.items(this.campaign.id, { state, label, after: this.after });
    // Another state was chosen in the meantime: its list is on the way.
    if (list !== this.lists) return;
    this.after = after;
    byId("clip-list").append(...items.map((row) => this.#entry(row)));
    this.#tellNone();
    byId("clip-more").hidden = after === "";
  }

  #tellNone() {
    const list = byId("clip-list");
    if (!list.children.length) list.append(make("li", { className: "none" }, t("review.none")));
  }

  #entry(row) {
    const words = [t("review.frames", { frames: row.num_frames })];
    if (row.flag) words.unshift(t(`flag.${row.flag}`));
    if (row.distance !== null) words.push(t("review.tile.distance", { distance: figure(row.distance, 2) }));
    if (row.reviewed) words.push(t("review.accepted"));
    const text = this.campaign.classes.find(({ label }) => label === row.label)?.text ?? String(row.label);
    const entry = make(
      "button",
      { type: "button", dataset: { uid: row.uid } },
      make("strong", {}, text),
      make("span", {}, words.join(" · ")),
    );
    entry.onclick = () => void this.told(() => this.#open(row, text))();
    return make("li", {}, entry);
  }

  /** Arrows go through the list, as in any list of a desktop. @param {KeyboardEvent} event */
  #arrow(event) {
    const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!by) return;
    const entries = [...byId("clip-list").querySelectorAll("button")];
    const next = entries[entries.indexOf(document.activeElement) + by];
    if (!next) return;
    event.preventDefault();
    next.focus();
    next.click();
  }

  async #open(row, text) {
    for (const entry of byId("clip-list").querySelectorAll("button")) {
      if (entry.dataset.uid === row.uid) entry.setAttribute("aria-current", "true");
      else entry.removeAttribute("aria-current");
    }
    const item = await this.api.item(row.uid, "");
    const picture = make("img", { className: "frames", alt: t("review.picture", { frames: item.num_frames }) });
    picture.src = stripUrl(item, PICTURE);
    const [first, second] = item.opinions.map(({ scores }) => scores);
    const apart = second ? differing(first, second) : [];
    const answers = item.opinions.flatMap((opinion, which) => [
      make("h3", {}, `${t(which ? "opinion.b" : "opinion.a")} · ${t("review.spent", { seconds: Math.round(opinion.seconds) })}`),
      levelBars(opinion.scores, t(which ? "opinion.b" : "opinion.a"), apart),
    ]);
    byId("clip-detail").replaceChildren(
      make("h2", {}, text),
      make("p", { className: "hint" }, `${t(`state.${row.state}`)} · ${t("review.said", { predicted: item.predicted.text })}`),
      ...(row.flag ? [make("p", { className: "flag" }, `${t(`flag.${row.flag}`)}${row.flag_note ? `: ${row.flag_note}` : ""}`)] : []),
      ...(row.note ? [make("p", { className: "hint" }, t("review.returned", { note: row.note }))] : []),
      picture,
      ...(answers.length ? [levels(), ...answers] : [make("p", { className: "none" }, t("review.unanswered"))]),
      ...(DECIDED.includes(row.state) ? [this.#decision(row)] : []),
    );
  }

  #decision(row) {
    const note = make("textarea", { rows: 2, maxLength: 2000 });
    const decide = (decision) =>
      this.told(async () => {
        await this.api.review(row.uid, { decision, note: note.value.trim() });
        say(t(`review.said.${decision}`));
        this.#decided(row, decision);
      });
    const accept = make("button", { type: "button", className: "primary" }, t(row.state === "flagged" ? "review.accept.flag" : "review.accept"));
    const back = make("button", { type: "button" }, t("review.return"));
    accept.onclick = () => void decide("accept")();
    back.onclick = () => void decide("return")();
    return make(
      "div",
      { className: "decision" },
      make("label", {}, t("review.note"), note),
      make("div", { className: "row" }, back, accept),
    );
  }

  /** Takes the clip off the list and goes to the one after it. */
  #decided(row, decision) {
    const entries = [...byId("clip-list").querySelectorAll("button")];
    const place = entries.findIndex((entry) => entry.dataset.uid === row.uid);
    const next = entries[place + 1] ?? entries[place - 1];
    entries[place].parentElement.remove();
    byId("clip-detail").replaceChildren(make("p", { className: "none" }, t(`review.said.${decision}`)));
    this.#tellNone();
    next?.focus();
    next?.click();
  }

  /** Goes to the annotation page, set to the class at hand and to adjudication. */
  async #adjudicate() {
    const settings = { ...this.me.settings, campaign: this.campaign.id, label: byId("clip-class").value, mode: "adjudicate" };
    await this.api.prefer({ settings });
    location.assign("./");
  }
}

/** What the heights mean. */
function levels() {
  const entries = [0, 0.5, 1].map((level) =>
    make("span", { className: "legend" }, make("i", { className: "swatch", dataset: { level } }), levelName(level)),
  );
  return make("p", { className: "legends" }, ...entries);
}
