// <digm-purchase track="64 hex digits">: what a track costs, and all the steps from "Buy" to "it is yours". It shows
// nothing for tracks that are free, and in a frame it does not work at all: buying happens in a window of its own. With
// `follows` it goes over to the track whose preview has just ended, on pages that play several.

import { account, changes, create, disconnectWallet, owned, waiting } from './digm-account.js';
import { deliberate } from './digm-html.js';
import { SalesHub, SaleError, buy, choicesOf, follow, keepKeys, lacking, mined, takeBack } from './digm-sales.js';
import './digm-account-copy.js';
import * as views from './digm-purchase-views.js';
import { PageWallet, WalletError, current, discover } from './digm-wallet.js';

const OWN_HUB = new URL(import.meta.url).origin;
const AWAY_AFTER_MS = 15_000; // a vault that is there answers sooner
const SLOW_MS = 15_000;

export class DigmPurchase extends HTMLElement {
  static observedAttributes = ['track'];

  #hub = new SalesHub(OWN_HUB);
  /** @type {any} */
  #offer = null;
  /** @type {import('./digm-sales.js').Choice[]} */
  #choices = [];
  /** @type {import('./digm-sales.js').Choice | null} */
  #choice = null;
  /** What the listener gives, in smallest units. @type {bigint} */
  #amount = 0n;
  /** @type {any} */
  #wallet = null;
  /** @type {any} what was paid and waits, as the hub tells it */
  #pending = null;
  /** @type {any} what came back, as the hub tells it */
  #refunded = null;
  #time = 0;
  #problem = '';
  #view = 'none';
  #isEnding = new AbortController();
  #following = '';
  #isAway = false;
  #step = '';
  /** @type {any[]} */
  #wallets = [];
  /** @type {any[]} */
  #missing = [];

  connectedCallback() {
    if (globalThis.top !== globalThis) return;
    this.#isEnding = new AbortController();
    const { signal } = this.#isEnding;
    changes.addEventListener('owned', () => this.#look(), { signal });
    changes.addEventListener('account', () => this.#meet(), { signal });
    document.addEventListener('digm-preview-ended', ({ detail }) => this.#invite(detail?.track), { signal });
    this.#start();
  }

  attributeChangedCallback(name, before, after) {
    if (before === null || before === after || !this.isConnected || globalThis.top !== globalThis) return;
    this.#problem = '';
    this.#pending = null;
    this.#start();
  }

  disconnectedCallback() {
    this.#isEnding.abort();
  }

  get track() { return this.getAttribute('track') ?? ''; }

  /** Ask the hub again, and show where things are. */
  async #start() {
    if (await owned(this.track)) return this.#show('owned');
    try {
      this.#offer = await this.#hub.offer(this.track);
      this.#choices = choicesOf(this.#offer);
      await this.#meet();
      if (await owned(this.track)) return this.#show('owned');
      if (this.#pending || await this.#isOwed()) return this.#show('waiting');
      if (this.#choices.length) return this.#show('offer');
      return this.#show(this.#offer.state === 'withdrawn' ? 'withdrawn' : 'none');
    } catch (error) {
      return this.#fail(error, 'retry');
    }
  }

  /** What this browser's account has already; on any device of the same account. */
  async #meet() {
    const known = await account();
    if (!known || !this.#offer?.sales || this.#following === known.address) return;
    this.#hearKeys(await keepKeys(await this.#hub.keys(known.address), this.#offer, known.address));
    const isExpected = (await waiting()).some(({ tracks }) => tracks.includes(this.track));
    if (this.#pending || isExpected) this.#follow(known.address);
  }

  /** Whether money lies in the contract that came back for this track. */
  async #isOwed() {
    const known = await account();
    if (!known || !this.#refunded) return false;
    const { credits } = await this.#hub.account(known.address);
    const token = this.#refunded.coin_or_token.address.toLowerCase();
    if (credits.some((one) => one.contract === 'sales' && one.token.toLowerCase() === token)) this.#pending = this.#refunded;
    return Boolean(this.#pending);
  }

  #follow(address) {
    if (this.#following === address) return;
    this.#following = address;
    const { signal } = this.#isEnding;
    setTimeout(() => { this.#isAway = true; if (this.#view === 'waiting') this.#render(); }, AWAY_AFTER_MS);
    follow(this.#hub, this.#offer, address, signal, (keys, time) => {
      this.#time = time;
      this.#hearKeys(keys);
      if (this.#pending && this.#view !== 'owned') this.#show('waiting');
    });
  }

  #hearKeys(keys) {
    const mine = keys.filter(({ tracks }) => tracks.includes(this.track));
    const before = this.#pending;
    this.#pending = mine.find(({ state }) => state === 'waiting') ?? null;
    // Anybody may have asked for the refund; the money is fetched by the buyer alone.
    if (before && !this.#pending) {
      this.#pending = mine.find(({ item, state }) => item === before.item && state === 'refunded') ?? null;
    }
    this.#refunded = mine.find(({ state }) => state === 'refunded') ?? null;
    const foreign = mine.find(({ wrapped, isOther }) => wrapped && isOther);
    if (foreign) {
      this.#problem = 'Your account owns this, but with the key of another browser. Bring that key here, from its recovery '
        + 'copy, and it plays.';
    }
  }

  async #look() {
    if (await owned(this.track)) {
      this.#problem = '';
      this.#show('owned');
      this.dispatchEvent(new CustomEvent('digm-bought', { detail: { track: this.track }, bubbles: true }));
    }
  }

  /** The free part is over. */
  #invite(track) {
    const isBusy = !['none', 'offer', 'owned', 'withdrawn', 'retry'].includes(this.#view);
    if (track && track !== this.track && this.hasAttribute('follows') && !isBusy) this.setAttribute('track', track);
    if (this.#view !== 'offer') return;
    this.toggleAttribute('data-invites', true);
    this.scrollIntoView({ block: 'nearest', behavior: 'smooth' });
  }

  #show(view) {
    const isThere = view === 'owned' && this.#view === view && this.childElementCount > 0;
    this.#view = view;
    if (!isThere) this.#render(); // a recovery copy may be in the making there
  }

  /** @param {any} error @param {string} [view] where to go on from. */
  #fail(error, view = this.#view) {
    if (error?.name === 'AbortError') return;
    const isKnown = error instanceof SaleError || error instanceof WalletError;
    if (!isKnown) console.error('DIGM: buying failed.', error);
    this.#problem = isKnown ? error.message : 'That did not work. Nothing was paid; reload the page to try again.';
    this.#missing = error?.facts?.missing ?? [];
    this.#show(view);
  }

  #render() {
    const view = {
      offer: () => views.offer(this.#offer, this.#choices, this.hasAttribute('follows'), (choice, amount) => this.#choose(choice, amount)),
      payers: () => views.payers(this.#wallets, this.#offer, {
        wallet: (wallet) => this.#connect(wallet), page: () => this.#usePage(), back: () => this.#back(),
        link: () => this.#showLink(),
      }),
      confirm: () => views.confirm(this.#offer, this.#choice, this.#amount, this.#wallet, this.#missing, {
        pay: deliberate(() => this.#pay()), other: () => this.#choosePayer(), back: () => this.#back(),
        faucet: () => this.#askFaucet(), again: () => this.#toConfirm(),
      }),
      paying: () => views.paying(this.#step, this.#wallet),
      waiting: () => views.waiting(this.#offer, this.#pending, this.#time, this.#isAway, deliberate(() => this.#takeBack())),
      returning: () => views.busy('Your money comes back …'),
      returned: () => views.returned(() => this.#start()),
      link: () => views.link(this.#offer, this.#link, () => this.#show('payers')),
      owned: () => views.owned(this.hasAttribute('popup')),
      withdrawn: () => views.withdrawn(),
      retry: () => views.retry(() => { this.#problem = ''; this.#start(); }),
      none: () => null,
    }[this.#view]();
    const hadFocus = this.contains(document.activeElement);
    this.replaceChildren(...views.card(this.#view, this.#problem, view));
    this.hidden = !view;
    if (hadFocus) /** @type {HTMLElement | null} */ (this.firstElementChild)?.focus({ preventScroll: true });
    this.dispatchEvent(new CustomEvent('digm-shown', { detail: { view: this.#view } }));
  }

  #link = '';

  #back() {
    this.#problem = '';
    this.#show('offer');
  }

  #choose(choice, amount) {
    this.#choice = choice;
    this.#amount = amount;
    this.#problem = '';
    this.#toConfirm();
  }

  /** Who pays is known, or asked. */
  async #toConfirm() {
    this.#problem = '';
    try {
      this.#wallet = await current(this.#hub);
      if (!this.#wallet) return await this.#choosePayer();
      const has = await this.#hub.account(this.#wallet.address);
      this.#missing = lacking(has, /** @type {any} */ (this.#choice), this.#amount);
      return this.#show('confirm');
    } catch (error) {
      if (error?.code === 'no_wallet') {
        await this.#choosePayer();
        return this.#fail(error, 'payers');
      }
      return this.#fail(error, this.#wallet ? 'confirm' : 'offer');
    }
  }

  async #choosePayer() {
    this.#problem = '';
    this.#wallets = await discover();
    this.#show('payers');
  }

  async #connect(wallet) {
    this.#problem = '';
    try {
      await wallet.connect();
      wallet.onChange(() => { if (this.#view === 'confirm') this.#toConfirm(); });
      await this.#toConfirm();
    } catch (error) {
      this.#fail(error, 'payers');
    }
  }

  async #usePage() {
    try {
      await create();
      await disconnectWallet();
      await this.#toConfirm();
    } catch (error) {
      if (error?.name !== 'InvalidStateError') return this.#fail(error, 'payers');
      return this.#fail(new WalletError('nothing_kept',
        'This browser keeps nothing for this site, so a key would be lost at once. Leave the private window, or use a wallet.'),
      'payers');
    }
    return null;
  }

  /** The listener's code: what the artist needs to give a track for money that went another way. */
  async #showLink() {
    try {
      const { address, publicKey } = await create();
      this.#link = `${address} ${Array.from(publicKey, (byte) => byte.toString(16).padStart(2, '0')).join('')}`;
      this.#show('link');
      this.#follow(address);
    } catch (error) {
      this.#fail(error, 'payers');
    }
  }

  async #askFaucet() {
    try {
      await this.#hub.faucet(this.#wallet.address);
      await this.#toConfirm();
    } catch (error) {
      this.#fail(error, 'confirm');
    }
  }

  async #pay() {
    if (this.#view === 'paying') return;
    this.#problem = '';
    const step = (what) => { this.#step = what; this.#show('paying'); };
    try {
      if (!(this.#wallet instanceof PageWallet)) await this.#wallet.resume(this.#wallet.address);
      const choice = /** @type {any} */ (this.#choice);
      const hash = await buy({
        hub: this.#hub, wallet: this.#wallet, offer: this.#offer, choice, amount: this.#amount, step,
      });
      this.#isAway = false;
      this.#follow(this.#wallet.address);
      const slow = setTimeout(() => { if (this.#view === 'paying') step('slow'); }, SLOW_MS);
      await mined(this.#wallet, hash, this.#isEnding.signal);
      clearTimeout(slow);
      if (this.#view === 'paying') this.#show('waiting');
    } catch (error) {
      this.#fail(error, 'confirm');
    }
  }

  async #takeBack() {
    this.#problem = '';
    const { item, coin_or_token: token } = this.#pending;
    this.#show('returning');
    try {
      const wallet = await current(this.#hub);
      await takeBack({
        hub: this.#hub, wallet, offer: this.#offer, item, token: token.address, signal: this.#isEnding.signal,
      });
      this.#pending = null;
      this.#show('returned');
    } catch (error) {
      this.#fail(error, 'waiting');
    }
  }
}

if (!customElements.get('digm-purchase')) customElements.define('digm-purchase', DigmPurchase);
