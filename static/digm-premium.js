// <digm-premium track="64 hex digits">: for listeners whose account holds what the artist asks for. They show the
// account with a signature, and hear the whole track for as long as it holds that; a pass can be bought here. It
// shows nothing where no artist's vault says so, and in a frame it does not work at all.

import { account, changes, create, owned } from './digm-account.js';
import { deliberate, h } from './digm-html.js';
import { busy, card, span } from './digm-purchase-views.js';
import { COIN, SaleError, SalesHub, amountText, chainOf, mined } from './digm-sales.js';
import { PageWallet, WalletError, current, discover, signIn } from './digm-wallet.js';

const OWN_HUB = new URL(import.meta.url).origin;
const SIGNED_FOR_H = 12;
const SPARE_MS = 600_000; // a grant that is asked for later than this before its end needs a new message
const GAS = 160_000;

const plain = (text, onclick) => h('button.buy-plain', { type: 'button', onclick }, text);
const money = (token, units) => `${amountText(BigInt(units), token.decimals)} ${token.symbol}`;

export class DigmPremium extends HTMLElement {
  #hub = new SalesHub(OWN_HUB);
  /** @type {any} */
  #offer = null;
  /** @type {any} */
  #wallet = null;
  /** What was signed, by the session key that it is for. @type {Map<string, {proof: any, endsAt: number}>} */
  #signed = new Map();
  #problem = '';
  #ending = new AbortController();
  /** What the listener wanted when no account was there. @type {() => void} */
  #wanted = () => {};

  connectedCallback() {
    if (globalThis.top !== globalThis) return;
    this.#ending = new AbortController();
    const { signal } = this.#ending;
    changes.addEventListener('owned', async () => { this.hidden ||= Boolean(await owned(this.track)); }, { signal });
    this.#start();
  }

  disconnectedCallback() {
    this.#ending.abort();
  }

  get track() { return this.getAttribute('track') ?? ''; }

  /** @returns {any} the player of this page that plays the track. */
  get player() { return document.querySelector(`digm-player[track="${this.track}"]`); }

  async #start() {
    if (await owned(this.track)) return; // what was bought needs no pass
    this.#offer = await this.#hub.offer(this.track).catch(() => null);
    if (this.#offer?.premium?.length) this.#show('offered');
  }

  /** The pass that is sold here, if one is asked for. */
  get #pass() {
    const issuers = this.#offer.premium.filter(({ kind }) => kind === 'pass').map(({ issuer }) => issuer.toLowerCase());
    return this.#offer.passes.find(({ issuer }) => issuers.includes(issuer.toLowerCase())) ?? null;
  }

  #show(view, ...facts) {
    const inside = this[`_${view}`](...facts);
    this.replaceChildren(...card(`premium-${view}`, this.#problem, inside));
    this.hidden = !inside;
  }

  /** @param {any} error @param {string} view to go on from. */
  #fail(error, view) {
    const isKnown = error instanceof SaleError || error instanceof WalletError;
    if (!isKnown) console.error('DIGM: the account could not be shown.', error);
    this.#problem = isKnown ? error.message : 'That did not work; reload the page to try again.';
    this.#show(view);
  }

  // -- what is seen

  _offered() {
    const pass = this.#pass;
    const words = this.#offer.premium.map((rule) => (
      rule.kind === 'hold' ? `holds ${money(rule.coin_or_token, rule.amount)}` : 'has a pass'));
    return [
      h('p', null, `Who ${words.join(' or ')} hears it whole, for as long as that is so.`),
      h('p.buy-actions', null,
        plain('Show my account', deliberate(() => this.#with(() => this.#enter()))),
        pass && plain(`Get a pass · ${money(pass.coin_or_token, pass.price)} for ${span(pass.seconds)}`,
          deliberate(() => this.#with(() => this.#buyPass(pass))))),
    ];
  }

  _accounts(wallets) {
    const row = (name, words, onclick) => h('li', null, h('button.buy-payer', { type: 'button', onclick },
      h('span.buy-icon', { 'aria-hidden': 'true' }, name[0]), h('span', null, h('strong', null, name), h('span.buy-small', null, words))));
    return [
      h('h2', null, 'Whose account?'),
      h('ul.buy-payers', null,
        ...wallets.map((wallet) => row(wallet.name, 'Your wallet', () => this.#take(() => wallet.connect()))),
        row('This browser', 'A key that is made here. No name, no account.', () => this.#take(create))),
      h('p.buy-actions', null, plain('Back', () => this.#show('offered'))),
    ];
  }

  _busy(text) { return busy(text); }

  _heard() {
    const { address } = this.#wallet;
    return [h('p', { role: 'status' }, 'You hear it whole with ',
      h('span.code', { title: address }, `${address.slice(0, 6)}…${address.slice(-4)}`), '.')];
  }

  // -- what is done

  /** With an account, which is asked for if there is none. @param {() => Promise<void>} action */
  async #with(action) {
    this.#problem = '';
    this.#wanted = () => this.#with(action);
    try {
      this.#wallet = await current(this.#hub);
      if (!this.#wallet) return this.#show('accounts', await discover());
      if (!(this.#wallet instanceof PageWallet)) await this.#wallet.resume(this.#wallet.address);
      return await action();
    } catch (error) {
      if (error?.code === 'no_wallet') return this.#show('accounts', await discover());
      return this.#fail(error, 'offered');
    }
  }

  async #take(connect) {
    try {
      await connect();
      if (await account()) this.#wanted();
    } catch (error) {
      this.#fail(error, 'offered');
    }
  }

  /** Show the account, and play on with what that brings. */
  async #enter() {
    this.#show('busy', 'Showing your account …');
    const player = this.player;
    player.proofFor = async (track, key) => (track === this.track ? this.#proof(key) : null);
    // The player asks for a grant when it takes the track on: so it does that once more, where it was.
    const { currentTime: at, paused: isPaused } = player;
    const granted = new Promise((resolve, reject) => { this.#answered = { resolve, reject }; });
    player.replaceWith(player);
    await granted;
    const goOn = () => {
      if (at > 0) player.currentTime = at;
      if (!isPaused) player.play().catch(() => {});
    };
    if (player.readyState > 0) goOn();
    else player.addEventListener('loadedmetadata', goOn, { once: true, signal: this.#ending.signal });
    this.#problem = '';
    this.#show('heard');
  }

  /** @type {{resolve: () => void, reject: (error: any) => void} | null} who waits for the vault's word */
  #answered = null;

  /** What a grant is asked for with; null: as everybody. @param {string} key the session's, hex. */
  async #proof(key) {
    try {
      let known = this.#signed.get(key);
      if (!known || known.endsAt - Date.now() < SPARE_MS) {
        const proof = await signIn(this.#wallet, key, this.#offer.chain_id, SIGNED_FOR_H);
        known = { proof, endsAt: Date.now() + 3_600_000 * SIGNED_FOR_H };
        this.#signed.set(key, known);
      }
      await this.#ask(key, known.proof);
      this.#answered?.resolve();
      return known.proof;
    } catch (error) {
      // Whoever is not entitled any more hears what everybody hears, and is told why.
      this.#signed.delete(key);
      if (this.#answered) this.#answered.reject(error);
      else this.#fail(error, 'offered');
      return null;
    } finally {
      this.#answered = null;
    }
  }

  /** Whether the vault takes a proof. Throws SaleError with its reason. */
  async #ask(key, proof) {
    const answer = await fetch(`${OWN_HUB}/api/tracks/${this.track}/grant`, {
      method: 'POST', body: JSON.stringify({ player_key: key, proof }), headers: { 'content-type': 'application/json' },
    });
    if (answer.ok) return;
    const body = await answer.json().catch(() => null);
    throw new SaleError(body?.error?.code ?? 'hub_failed', body?.error?.message ?? 'The hub answered with an error. Try again later.');
  }

  async #buyPass({ issuer, coin_or_token: token, price, seconds }) {
    const chain = chainOf(this.#offer.chain_id);
    const { passes_contract: passes } = this.#offer;
    const { signal } = this.#ending;
    this.#show('busy', 'Paying for the pass …');
    await this.#wallet.beOn(chain);
    const has = await this.#hub.account(this.#wallet.address);
    const isCoin = token.address === COIN;
    const send = async (to, data, value) => mined(this.#wallet, await this.#wallet.send({ to, data, value, gas: GAS, chain }), signal);
    const held = has.tokens.find(({ address }) => address.toLowerCase() === token.address.toLowerCase());
    if ((isCoin ? has.coin : BigInt(held?.balance ?? 0)) < BigInt(price)) {
      throw new SaleError('no_funds', `There is not enough on the account: the pass costs ${money(token, price)}. Its address is ${this.#wallet.address}.`);
    }
    const { call } = await import('./digm-eth.js');
    if (!isCoin && BigInt(held?.allowances?.passes ?? 0) < BigInt(price)) {
      await send(token.address, call('approve(address,uint256)', passes, BigInt(price)), 0n);
    }
    const data = call('buy_pass(address,address,uint256,uint256)', issuer, token.address, BigInt(price), BigInt(seconds));
    await send(passes, data, isCoin ? BigInt(price) : 0n);
    await this.#enter();
  }
}

if (!customElements.get('digm-premium')) customElements.define('digm-premium', DigmPremium);
