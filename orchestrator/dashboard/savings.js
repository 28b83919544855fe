// What nodes cost in the last 30 days, asked for bit by bit: there is one call for each node.
import {DAY, now} from './format.js';

const WINDOW_MS = 30 * DAY;
const FRESH_MS = 5 * 60_000;
// What is not looked at right now: of one account's calls a minute, most are left for others.
const CALLS_A_TURN = 10;
const REST_MS = 60_000;

export class Savings {
  #api;
  #known = new Map();  // id -> {at, costs}
  #restUntil = 0;

  constructor(api) { this.#api = api; }

  /** {percent, actual, potential, hours}, or null while it is not known. */
  of(id) {
    return this.#known.get(id)?.costs ?? null;
  }

  /** Asks for those of `shown` that are unknown or old, and for some of the others. */
  async fetchSome(shown, others = []) {
    const time = Date.now();
    if (time < this.#restUntil) return;
    const at = (id) => this.#known.get(id)?.at ?? 0;
    const isDue = (id) => time - at(id) > FRESH_MS;
    // The oldest first, or those at the end of a long list would never have their turn.
    const rest = others.filter(isDue).sort((a, b) => at(a) - at(b)).slice(0, CALLS_A_TURN);
    const due = new Set([...shown.filter(isDue), ...rest]);
    await Promise.all([...due].map((id) => this.#fetch(id)));
  }

  async #fetch(id) {
    const to = now();
    try {
      const {running, savings, costs} = await this.#api.costs(id, to - WINDOW_MS, to);
      this.#known.set(id, {at: Date.now(), costs: {
        percent: costs.potential > 0 ? savings.value : null,
        actual: costs.actual, potential: costs.potential, hours: running.value}});
    } catch (error) {
      if (error.kind === 'throttled') this.#restUntil = Date.now() + REST_MS;
      else if (error.kind !== 'refused') throw error;  // refused: the node is gone
    }
  }

  /** Sums over those that are known. */
  total(ids) {
    const total = {known: 0, actual: 0, potential: 0};
    for (const id of ids) {
      const costs = this.of(id);
      if (!costs) continue;
      ++total.known;
      total.actual += costs.actual;
      total.potential += costs.potential;
    }
    return total;
  }
}
