/** Starts the page of reviewers and admins: session, campaign, and the room that the address names. */

import { arrive, signIn, visitor } from "./door.js";
import { preferred, speak, t } from "./i18n.js";
import { Refusal, Unreachable, patient } from "./io/api.js";
import { Batches } from "./review/batches.js";
import { Clips } from "./review/clips.js";
import { People } from "./review/people.js";
import { Progress } from "./review/progress.js";
import { byId, make } from "./view/dom.js";
import { hideNotice, showNotice } from "./view/frame.js";

const REFRESH_MS = 15_000;

/** What goes wrong in a room is told once, in words; what is not the service's is a fault of ours. */
function told(work) {
  return async (...values) => {
    try {
      const answer = await work(...values);
      hideNotice();
      return answer;
    } catch (error) {
      if (error instanceof Unreachable) showNotice(t("empty.unreachable.title"));
      else if (error instanceof Refusal) showNotice(error.message);
      else throw error;
      return undefined;
    }
  };
}

async function start() {
  await speak(preferred());
  await arrive();
  if (visitor.me.language !== document.documentElement.lang) await speak(visitor.me.language);
  document.title = t("review.title");
  document.documentElement.dataset.palette = visitor.me.settings.palette ?? "calm";
  if (visitor.me.role === "annotator") {
    byId("campaign").parentElement.hidden = true;
    return showNotice(t("review.forbidden"), { label: t("review.annotate"), act: () => location.assign("./") });
  }
  return open(patient(signIn));
}

async function open(api) {
  const parts = { api, me: visitor.me, told };
  const rooms = { progress: new Progress(parts), clips: new Clips(parts), batches: new Batches(parts) };
  const admin = visitor.me.role === "admin";
  if (admin) rooms.people = new People(parts);
  byId("people-link").hidden = !admin;
  byId("rooms").hidden = false;
  const campaigns = await api.campaigns();
  byId("campaign").replaceChildren(...campaigns.map(({ id, name }) => make("option", { value: id }, name)));
  byId("campaign").value = campaigns.find(({ id }) => id === visitor.me.settings.campaign)?.id ?? campaigns[0]?.id ?? "";
  let shown = "";

  const show = told(async () => {
    const wanted = location.hash.slice(1);
    const name = wanted in rooms ? wanted : "progress";
    for (const room of document.querySelectorAll(".room")) room.hidden = room.id !== name;
    for (const link of byId("rooms").children) {
      if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    shown = name;
    if (name === "people" || campaigns.length) await rooms[name].show(byId("campaign").value);
  });
  window.addEventListener("hashchange", () => void show());
  byId("campaign").addEventListener("change", () => void show());
  await show();
  if (!campaigns.length) showNotice(t("empty.none"));
  // Only figures change under people's eyes; a list stays as it is while somebody works on it.
  setInterval(() => {
    if (shown === "progress" && document.visibilityState === "visible") void show();
  }, REFRESH_MS);
}

void start();
