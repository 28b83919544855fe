// The Spot API as the page uses it.
import {learnClock} from './format.js';

const TIMEOUT_MS = 20_000;

/**
 * kind: "unreachable" (no answer), "token" (401), "throttled" (429), "unknown-call" (an older
 * controller), "refused" (400, 403; the message is for users), "failed" (its own fault).
 */
export class ApiError extends Error {
  constructor(kind, message, code = '') {
    super(message);
    this.kind = kind;
    this.code = code;
  }
}

function errorOf(status, response) {
  const errors = response.errors ?? [];
  const message = errors.map((error) => error.message).join('\n');
  const code = errors[0]?.code ?? '';
  if (status === 401) return new ApiError('token', 'The controller does not accept this token.');
  if (status === 429) return new ApiError('throttled', 'The rate limit of this account is reached.');
  if (code === 'ROUTE_DOESNT_EXIST') return new ApiError('unknown-call', message, code);
  const kind = status < 500 ? 'refused' : 'failed';
  return new ApiError(kind, message || `The controller answers with status ${status}.`, code);
}

export class Api {
  #token;
  #account;

  constructor(token, account) {
    this.#token = token;
    this.#account = account;
  }

  /** The items of the answer. `path` is below /aws/ec2/. */
  async call(method, path, query = {}) {
    const url = new URL(`aws/ec2/${path}`, document.baseURI);
    if (this.#account) url.searchParams.set('accountId', this.#account);
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    let status;
    let body;
    try {
      const answer = await fetch(url, {
        method,
        headers: {Authorization: `Bearer ${this.#token}`},
        cache: 'no-store',
        credentials: 'omit',
        redirect: 'error',
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      status = answer.status;
      body = await answer.json();
    } catch (error) {
      throw new ApiError('unreachable', `The controller cannot be reached (${error.message}).`);
    }
    learnClock(body?.request?.timestamp);
    if (status !== 200) throw errorOf(status, body?.response ?? {});
    return body?.response?.items ?? [];
  }

  listStatus() { return this.call('GET', 'managedInstance/status'); }
  async status(id) { return (await this.#get(id, 'status'))[0]; }
  async node(id) { return (await this.call('GET', `managedInstance/${encodeURIComponent(id)}`))[0]; }
  async costs(id, from, to) {
    const query = {fromDate: new Date(from).toISOString(), toDate: new Date(to).toISOString()};
    return (await this.#get(id, 'costs', query))[0];
  }
  events(id, after) { return this.#pages(id, 'events', after); }
  checkpoints(id, after) { return this.#pages(id, 'checkpoints', after); }
  async agent(id) { return (await this.#get(id, 'agent'))[0] ?? null; }
  configs() { return this.call('GET', 'applicationPersistency/config'); }
  act(id, action) { return this.call('PUT', `managedInstance/${encodeURIComponent(id)}/${action}`); }

  #get(id, what, query) {
    return this.call('GET', `managedInstance/${encodeURIComponent(id)}/${what}`, query);
  }

  // All that is newer than `after`, however many calls that takes.
  async #pages(id, what, after) {
    const limit = 500;
    const all = [];
    let last = after;
    for (;;) {
      const page = await this.#get(id, what, {after: last, limit});
      all.push(...page);
      if (page.length < limit) return all;
      last = page.at(-1).sequence;
    }
  }
}
