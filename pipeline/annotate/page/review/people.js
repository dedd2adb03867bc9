/** Who takes part: invitations, roles, leaving. */

import { LANGUAGES, t } from "../i18n.js";
import { ask, button, row } from "../view/dialogs.js";
import { byId, make, say } from "../view/dom.js";
import { moment, table } from "./table.js";

const ROLES = ["annotator", "reviewer", "admin"];

const roleOptions = (chosen) => ROLES.map((role) => make("option", { value: role, selected: role === chosen }, t(`role.${role}`)));

export class People {
  /** @param {{api: any, me: any, told: (work: any) => any}} parts */
  constructor({ api, me, told }) {
    this.api = api;
    this.me = me;
    this.told = told;
    byId("invite-role").replaceChildren(...roleOptions("annotator"));
    const languages = Object.entries(LANGUAGES).map(([value, name]) => make("option", { value }, name));
    byId("invite-language").replaceChildren(...languages);
    byId("invite-language").value = document.documentElement.lang;
    byId("invite").addEventListener("submit", (event) => {
      event.preventDefault();
      void told(() => this.#invite())();
    });
  }

  async show() {
    const people = await this.api.users();
    const heads = [["review.name", ""], ["review.role", ""], ["review.status", ""], ["review.seen", ""], ["", "actions"]];
    const rows = people.map((person) => [
      person.name,
      person.id === this.me.id ? t(`role.${person.role}`) : this.#role(person),
      status(person),
      moment(person.seen),
      this.#actions(person),
    ]);
    // Whoever goes by keyboard stays where they were, or in that person's row where the button is gone.
    const { person, act } = document.activeElement.dataset;
    byId("people-table").replaceChildren(table(t("review.people"), heads, rows, t("review.none")));
    const buttons = [...byId("people-table").querySelectorAll(`[data-person="${person}"]`)];
    (buttons.find((one) => one.dataset.act === act) ?? buttons[0])?.focus();
  }

  async #invite() {
    const name = byId("invite-name").value.trim();
    const invitation = await this.api.invite({ name, role: byId("invite-role").value, language: byId("invite-language").value });
    byId("invite-name").value = "";
    await this.show();
    await showLink(name, invitation);
  }

  #role(person) {
    const select = make("select", { dataset: { person: person.id, act: "role" } }, ...roleOptions(person.role));
    select.setAttribute("aria-label", `${t("review.role")}: ${person.name}`);
    select.onchange = () => void this.told(() => this.#change(person, { role: select.value }))();
    return select;
  }

  #actions(person) {
    const act = (name, work) => {
      const words = t(`person.${name}`);
      const made = button(words, () => void this.told(work)());
      Object.assign(made.dataset, { person: person.id, act: name });
      made.setAttribute("aria-label", `${words}: ${person.name}`);
      return made;
    };
    const shown = [act("link", () => this.#link(person))];
    if (person.invited !== null) shown.push(act("revoke", () => this.#revoke(person)));
    const change = () => this.#change(person, { active: !person.active });
    if (person.id !== this.me.id) shown.push(act(person.active ? "leave" : "rejoin", change));
    return make("span", { className: "row" }, ...shown);
  }

  async #link(person) {
    const invitation = await this.api.inviteAgain(person.id);
    await this.show();
    await showLink(person.name, invitation);
  }

  async #revoke(person) {
    await this.api.revoke(person.id);
    await this.show();
    say(t("review.revoked", { name: person.name }));
  }

  async #change(person, change) {
    try {
      await this.api.changeUser(person.id, change);
    } finally {
      await this.show();
    }
  }
}

/** @param {any} person `UserRow` */
function status(person) {
  if (!person.active) return t("review.left");
  return person.invited === null ? t("review.uninvited") : t("review.invited", { until: moment(person.invited) });
}

/** The link is shown this once: the store keeps a hash alone. */
function showLink(name, { path, expires }) {
  const link = new URL(path, location.href).href;
  return ask(
    t("review.link.title", { name }),
    (answer) => {
      const field = make("input", { type: "text", readOnly: true, value: link });
      field.onfocus = () => field.select();
      const copy = button(t("review.copy"), async () => {
        field.select();
        // The clipboard's own interface is missing on plain http.
        if (navigator.clipboard) await navigator.clipboard.writeText(link);
        else document.execCommand("copy");
        copy.textContent = t("review.copied");
        say(t("review.copied"));
      });
      return [
        make("p", {}, t("review.link.text", { until: moment(expires) })),
        make("label", {}, t("person.link"), field),
        row(copy, button(t("dialog.close"), () => answer(undefined), "primary")),
      ];
    },
    { escape: undefined },
  );
}
