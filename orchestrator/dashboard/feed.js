// Asks again and again while the page is looked at, and knows how that goes.

const INTERVAL_MS = 2000;
const RETRY_MAX_MS = 5000;
const THROTTLED_MS = 15_000;
const INTERVAL_MAX_MS = 30_000;

/**
 * state.kind: "connecting", "live", "hidden" (the tab is), "lost" (no answer), "throttled",
 * "failing" (the controller's own fault); state.goodAt: when the newest data came.
 */
export class Feed {
  #task = null;
  #timer = 0;
  #turn = 0;
  #failures = 0;
  #onState;
  #onToken;
  state = {kind: 'connecting', goodAt: 0, message: ''};

  constructor(onState, onToken) {
    this.#onState = onState;
    this.#onToken = onToken;
    document.addEventListener('visibilitychange', () => {
      if (!this.#task) return;
      if (document.hidden) {
        clearTimeout(this.#timer);
        this.#set('hidden', '');
      } else {
        this.refresh();
      }
    });
    addEventListener('online', () => this.refresh());
  }

  /** `task` fetches what a page shows and draws it. Null: nothing is asked. */
  follow(task) {
    this.#task = task;
    this.refresh();
  }

  /** Asks now; an answer to what was asked before is not waited for. */
  refresh() {
    clearTimeout(this.#timer);
    const turn = ++this.#turn;
    if (this.#task) this.#run(turn);
  }

  async #run(turn) {
    const began = performance.now();
    let wait = INTERVAL_MS;
    const isCurrent = () => turn === this.#turn;
    try {
      await this.#task(isCurrent);
      if (!isCurrent()) return;
      this.#failures = 0;
      this.state.goodAt = Date.now();
      // A controller that needs long for an answer is asked less often.
      wait = Math.min(INTERVAL_MAX_MS, Math.max(INTERVAL_MS, 3 * (performance.now() - began)));
      if (!document.hidden) this.#set('live', '');
    } catch (error) {
      if (!isCurrent()) return;
      if (error.kind === 'token') return this.#onToken(error);
      ++this.#failures;
      wait = error.kind === 'throttled' ? THROTTLED_MS : Math.min(RETRY_MAX_MS, 1000 + 500 * this.#failures);
      const kinds = {throttled: 'throttled', unreachable: 'lost'};
      this.#set(kinds[error.kind] ?? 'failing', error.message);
      if (!error.kind) console.error(error);
    }
    if (document.hidden) return this.#set('hidden', '');
    this.#timer = setTimeout(() => this.refresh(), wait);
  }

  #set(kind, message) {
    this.state = {...this.state, kind, message};
    this.#onState(this.state);
  }
}
