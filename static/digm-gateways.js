// Which gateway of a track is asked: the best that did not fail lately. When all that are known have failed, the hub
// is asked for others. What they send is checked like everything else.

const ASKED_AGAIN_MS = 5000;
const MOST = 24;

/** The gateways of one track; the head start and Python share one of these. */
export class Gateways {
  /** Best first; who fails goes to the end. @type {string[]} */
  #urls = [];
  #address;
  #signal;
  #asking = null;
  #askedAt = -Infinity;

  /** @param {string} address `{hub}/api/tracks/{track}` @param {AbortSignal} signal ends all of it. */
  constructor(address, signal) {
    this.#address = address;
    this.#signal = signal;
  }

  /** @param {string[]} urls what the hub named first. */
  start(urls) {
    this.#urls = urls.map((url) => url.replace(/\/+$/, ''));
  }

  get current() { return this.#urls[0]; }

  get isEmpty() { return !this.#urls.length; }

  /** Begin to fetch something. */
  attempt() { return new Attempt(this); }

  /** This one did not answer, or does not have it, or lies. @param {string} url */
  failed(url) {
    if (this.#urls.length > 1 && this.#urls.includes(url)) {
      this.#urls = [...this.#urls.filter((other) => other !== url), url];
    }
  }

  /** @param {Set<string>} tried @returns {Promise<string | undefined>} one that was not tried; undefined: there is none. */
  async other(tried) {
    const isNew = (url) => !tried.has(url);
    return this.#urls.find(isNew) ?? (await this.#ask()).find(isNew);
  }

  /** Ask the hub who else has it; not all the time. */
  async #ask() {
    if (!this.#asking && performance.now() - this.#askedAt > ASKED_AGAIN_MS) {
      this.#askedAt = performance.now();
      this.#asking = this.#fetchSources().finally(() => { this.#asking = null; });
    }
    await this.#asking;
    return this.#urls;
  }

  async #fetchSources() {
    try {
      const answer = await fetch(`${this.#address}/sources`, { signal: this.#signal });
      const { gateways } = await answer.json();
      const found = gateways.map(({ url }) => url).filter((url) => typeof url === 'string');
      this.#urls = [...new Set([...found, ...this.#urls])].slice(0, MOST);
    } catch {
      // The hub is away as well: what is known is all there is.
    }
  }
}

/** One thing that is fetched, from one gateway after the other. */
class Attempt {
  #gateways;
  #tried = new Set();

  /** @param {Gateways} gateways */
  constructor(gateways) {
    this.#gateways = gateways;
    this.url = gateways.current;
  }

  /** The one at `url` failed. @returns {Promise<boolean>} whether `url` is another one now. */
  async next() {
    this.#gateways.failed(this.url);
    this.#tried.add(this.url);
    const url = await this.#gateways.other(this.#tried);
    this.url = url ?? this.url;
    return url !== undefined;
  }
}
