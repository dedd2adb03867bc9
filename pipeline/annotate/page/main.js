/** Starts the page: language, journal, tab, session; then the desk. Keys and buttons come in here. */

import { bindingOf } from "./core/keys.js";
import { Desk, commandOf } from "./desk.js";
import { arrive, signIn, visitor } from "./door.js";
import { preferred, speak, t } from "./i18n.js";
import { Refusal, Unreachable, api, patient } from "./io/api.js";
import { Journal, MemoryJournal } from "./io/journal.js";
import { Channel, tabName } from "./io/tabs.js";
import { Work } from "./io/work.js";
import { isOpen } from "./view/dialogs.js";
import { byId } from "./view/dom.js";
import { showBadge, showEmpty, showProgress } from "./view/frame.js";
import { askSettings, showHelp } from "./view/settings.js";

const PROGRESS_MS = 15_000;

/** @type {{campaigns: any[], desk: Desk | null, work: Work | null}} */
const page = { campaigns: [], desk: null, work: null };

/** @param {string} name */
const setting = (name, otherwise) => visitor.me?.settings[name] ?? otherwise;

function applySettings() {
  document.documentElement.dataset.palette = setting("palette", "calm");
  document.documentElement.dataset.letters = setting("letters", "on");
  byId("open-review").hidden = visitor.me.role === "annotator";
}

/** What to work on: as chosen before, where it still exists. */
function choose() {
  const { campaigns } = page;
  const campaign = campaigns.find(({ id }) => id === setting("campaign", "")) ?? campaigns[0];
  const label = campaign?.classes.find((one) => String(one.label) === setting("label", ""))?.label ?? null;
  const mode = visitor.me.role === "annotator" ? "annotate" : setting("mode", "annotate");
  page.work.choice = { campaign: campaign?.id ?? "", label, mode };
}

async function settings() {
  const { campaign, label, mode } = page.work.choice;
  const { language } = document.documentElement.lang ? { language: document.documentElement.lang } : visitor.me;
  const [palette, letters] = [setting("palette", "calm"), setting("letters", "on")];
  const now = { language, campaign, label: label === null ? "" : String(label), mode, palette, letters };
  const chosen = await askSettings(now, visitor.me, page.campaigns);
  if (chosen === null) return;
  if (chosen === "signout") {
    await page.desk.clip?.written;
    page.desk.close();
    await page.work.release();
    await page.desk.api.signOut();
    location.reload();
    return;
  }
  const { language: wanted, ...rest } = chosen;
  visitor.me = await page.desk.api.prefer({ language: wanted, settings: rest });
  applySettings();
  const elsewhere = ["campaign", "label", "mode"].some((name) => chosen[name] !== now[name]);
  if (wanted !== now.language) await speak(wanted);
  choose();
  if (elsewhere) {
    await page.desk.clip?.written;
    page.desk.close();
    await page.work.release();
    await page.desk.advance();
  } else if (wanted !== now.language) location.reload();
}

async function progress() {
  const { desk, work } = page;
  if (!desk.clip || document.visibilityState !== "visible") return;
  try {
    const counts = await desk.api.progress(work.choice.campaign);
    if (desk.clip) showProgress(counts, desk.clip.item.label.label, visitor.me.id);
  } catch (error) {
    // The next one comes soon; the badge tells of the connection.
    if (!(error instanceof Unreachable) && !(error instanceof Refusal)) throw error;
  }
}

/** @param {KeyboardEvent} event */
function pressed(event) {
  const { desk } = page;
  const target = /** @type {HTMLElement} */ (event.target);
  if (!desk?.clip || isOpen() || target.matches("input, textarea, select")) return;
  desk.touched();
  const presses = event.key === "Enter" || event.key === " ";
  if (target.matches("button, a") && presses) return;
  const binding = bindingOf(event, setting("letters", "on") === "on");
  if (!binding || (target.matches(".guide") && binding.command === "move")) return;
  event.preventDefault();
  if (!event.repeat || ["move", "extend", "edge", "undo", "redo"].some((name) => binding.command.startsWith(name))) {
    desk.command(binding);
  }
}

function listen() {
  const { desk } = page;
  document.addEventListener("keydown", pressed);
  document.addEventListener("pointerdown", () => desk.touched());
  byId("tools").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const command = commandOf(button.dataset);
    // The pointer picks up a brush to paint with next; a key paints what is selected at once.
    if (event.detail > 0 && command.command === "paint") desk.act({ type: "brush", level: command.value });
    else desk.command(command);
    // After a click with the pointer the keyboard stays on the strip, so that keys and pointer can be mixed.
    if (event.detail > 0 && !isOpen() && desk.clip) desk.strip.focus(desk.clip.state.focus);
  });
  const buttons = { play: "play", loop: "loop", overlay: "overlay", "whatif-ask": "whatif", "open-help": "help" };
  for (const [id, command] of Object.entries(buttons)) {
    byId(id).addEventListener("click", () => (command === "help" ? showHelp() : desk.command({ command })));
  }
  byId("step-back").addEventListener("click", () => desk.act({ type: "move", by: -1 }));
  byId("step-on").addEventListener("click", () => desk.act({ type: "move", by: 1 }));
  byId("open-settings").addEventListener("click", () => void settings());
  window.addEventListener("online", () => desk.clip?.saver?.resume());
  window.addEventListener("beforeunload", (event) => {
    if (desk.clip?.saver?.pending) event.preventDefault();
  });
}

async function start() {
  await speak(preferred());
  showBadge("saved", "saved");
  showEmpty(t("empty.loading"), "");
  const journal = await Journal.open().catch(() => new MemoryJournal());
  const tab = await tabName();
  await arrive();
  if (visitor.me.language !== document.documentElement.lang) await speak(visitor.me.language);
  applySettings();
  const waiting = patient(signIn);
  const person = visitor.me.id;
  page.work = new Work({ api: waiting, journal, person, tab, onLost: (error) => page.desk.troubles.lost(error.problem.holder) });
  page.campaigns = await waiting.campaigns();
  choose();
  const channel = new Channel(({ taken }) => {
    const { clip } = page.desk;
    if (clip?.item.uid === taken && clip.writable) void page.desk.troubles.lost("you");
  });
  const saving = { ...waiting, save: api.save, submit: api.submit, flag: api.flag };
  page.desk = new Desk({ api: saving, work: page.work, journal, person, channel, signIn, onProgress: () => void progress(), onHelp: showHelp });
  listen();
  if (!page.campaigns.length) return showEmpty(t("empty.title"), t("empty.none"));
  await page.work.recover();
  const task = await page.work.resume();
  if (task) await page.desk.open(task);
  else await page.desk.advance();
  setInterval(() => void progress(), PROGRESS_MS);
}

start().catch((error) => {
  if (!(error instanceof Unreachable)) throw error;
  showEmpty(t("empty.unreachable.title"), t("empty.unreachable"), { label: t("empty.again"), act: () => location.reload() });
});
