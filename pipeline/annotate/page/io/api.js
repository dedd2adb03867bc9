/**
 * The service as functions. Every answer from 400 on becomes a `Refusal`, every lost connection an `Unreachable`.
 */

/** The service said no. */
export class Refusal extends Error {
  /** @param {number} status @param {any} problem body as `Problem` describes it @param {number} retryAfter seconds */
  constructor(status, problem, retryAfter) {
    super(problem?.message ?? `HTTP ${status}`);
    this.name = "Refusal";
    this.status = status;
    this.code = problem?.code ?? "";
    this.problem = problem ?? {};
    this.retryAfter = retryAfter;
  }
}

/** No answer came: offline, server down, or it took too long. Whether the request was done is not known. */
export class Unreachable extends Error {
  constructor(cause) {
    super("the service cannot be reached", { cause });
    this.name = "Unreachable";
  }
}

const TIMEOUT_MS = 20_000;
const ROOT = "api/v1";

/**
 * @typedef {object} Headers
 * @property {string} [operation] names the intent; the same for its repetitions
 * @property {number} [version] the version that was read
 * @property {string} [lease] token of the lease
 */

/**
 * @param {string} method
 * @param {string} path below /api/v1
 * @param {any} [body]
 * @param {Headers & {keepalive?: boolean}} [options]
 */
async function request(method, path, body, { operation, version, lease, keepalive = false } = {}) {
  const headers = new Headers();
  if (body !== undefined) headers.set("Content-Type", "application/json");
  if (operation) headers.set("Operation-Id", operation);
  if (version !== undefined) headers.set("If-Match", `"${version}"`);
  if (lease) headers.set("Lease-Token", lease);
  let response;
  let text;
  try {
    response = await fetch(`${ROOT}/${path}`, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin",
      cache: "no-store",
      keepalive,
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    text = await response.text();
  } catch (error) {
    throw new Unreachable(error);
  }
  if (response.ok) return text ? JSON.parse(text) : null;
  let problem = null;
  try {
    problem = JSON.parse(text);
  } catch {
    // A proxy's error page instead of ours: the status has to do.
  }
  throw new Refusal(response.status, problem, Number(response.headers.get("Retry-After")) || 0);
}

/** Values of a query that are not empty. @param {Record<string, string>} values */
const query = (values) => new URLSearchParams(Object.entries(values).filter(([, value]) => value !== ""));

/** A name that nobody else has: of an intent, of a tab. (`crypto.randomUUID` is missing on plain http.) */
export function randomId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export const api = Object.freeze({
  session: () => request("GET", "session"),
  signIn: (token) => request("POST", "session", { token }),
  prefer: (preferences) => request("PATCH", "session", preferences),
  signOut: () => request("DELETE", "session"),
  campaigns: () => request("GET", "campaigns"),
  progress: (campaign) => request("GET", `campaigns/${campaign}/progress`),
  leases: () => request("GET", "leases"),
  claim: (claim, operation) => request("POST", "leases", claim, { operation }),
  renew: (lease) => request("POST", `leases/${lease.id}/renew`, undefined, { lease: lease.token }),
  takeOver: (lease, tab) => request("POST", `leases/${lease.id}/takeover`, { tab }),
  // keepalive: the browser finishes this one even while the page goes away.
  release: (lease) => request("DELETE", `leases/${lease.id}`, undefined, { lease: lease.token, keepalive: true }),
  item: (uid, tab) => request("GET", `items/${uid}?tab=${tab}`),
  save: (uid, body, headers) => request("PUT", `items/${uid}/draft`, body, headers),
  submit: (uid, body, headers) => request("POST", `items/${uid}/submit`, body, headers),
  flag: (uid, body, { operation, lease }) => request("POST", `items/${uid}/flag`, body, { operation, lease }),
  whatif: (uid, scores) => request("POST", `items/${uid}/whatif`, { scores }),
  // For reviewers and admins.
  items: (campaign, filter) => request("GET", `campaigns/${campaign}/items?${query(filter)}`),
  review: (uid, decision) => request("POST", `items/${uid}/review`, decision),
  batches: () => request("GET", "batches"),
  seal: (campaign) => request("POST", "batches", { campaign }),
  users: () => request("GET", "users"),
  invite: (person) => request("POST", "users", person),
  inviteAgain: (user) => request("POST", `users/${user}/invitation`),
  revoke: (user) => request("DELETE", `users/${user}/invitation`),
  changeUser: (user, change) => request("PATCH", `users/${user}`, change),
});

/**
 * The same functions, which wait for a sign-in when the session has ended and then repeat the call as it was.
 *
 * @param {() => Promise<void>} signIn resolves when the person is back
 * @returns {typeof api}
 */
export function patient(signIn) {
  const wait = (call) => async (...values) => {
    for (;;) {
      try {
        return await call(...values);
      } catch (error) {
        if (!(error instanceof Refusal) || error.status !== 401) throw error;
        await signIn();
      }
    }
  };
  return /** @type {any} */ (Object.fromEntries(Object.entries(api).map(([name, call]) => [name, wait(call)])));
}

/** Address of frame `index`; without a width the stored size. */
export function frameUrl({ uid, content }, index, width = 0) {
  return `${ROOT}/items/${uid}/frames/${index}.jpg?${width ? `w=${width}&` : ""}v=${content}`;
}

/** Address of all frames in one picture. */
export function stripUrl({ uid, content }, width) {
  return `${ROOT}/items/${uid}/strip.jpg?w=${width}&v=${content}`;
}

/** Address of a sealed batch's manifest. @param {string} batch */
export const manifestUrl = (batch) => `${ROOT}/batches/${batch}/manifest`;
