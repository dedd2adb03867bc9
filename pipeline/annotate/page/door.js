/** Who is at the page: the invitation in the address, the session, and the question for one when there is none. */

import { t } from "./i18n.js";
import { Refusal, Unreachable, api } from "./io/api.js";
import { askSignIn } from "./view/dialogs.js";

const HASH = "#invite=";

/** @type {{me: any, asking: Promise<void> | null}} */
export const visitor = { me: null, asking: null };

/** @param {string} token @returns {Promise<string>} why not; empty: signed in */
async function enter(token) {
  try {
    const me = await api.signIn(token);
    // Another person's work is on the page: begin anew as who they are.
    if (visitor.me && visitor.me.id !== me.id) {
      location.reload();
      await new Promise(() => {});
    }
    visitor.me = me;
    return "";
  } catch (error) {
    if (error instanceof Unreachable) return t("empty.unreachable.title");
    if (error instanceof Refusal) return error.status === 403 ? t("signin.bad") : error.message;
    throw error;
  }
}

/** Asks for the invitation until somebody is signed in; once, however many calls wait for it. */
export function signIn() {
  visitor.asking ??= askSignIn(visitor.me !== null, enter).finally(() => (visitor.asking = null));
  return visitor.asking;
}

/** Signs in with the invitation in the address, or finds the session, or asks. */
export async function arrive() {
  if (location.hash.startsWith(HASH)) {
    const token = location.hash.slice(HASH.length);
    // The token must not stay in the address bar or in the history.
    history.replaceState(null, "", location.pathname + location.search);
    await enter(token);
  }
  visitor.me ??= (await api.session()).me;
  if (!visitor.me) await signIn();
}
