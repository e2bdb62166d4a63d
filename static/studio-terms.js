// What the artist says about a release, and the button that sends it on its way.

import { ask, el, icon } from './studio-api.js';

const PREVIEW_S = 30;
const WHY_NOT = {
  chain: 'No chain is known here, so it is published at your own hub only: digm up brings a devnet, DIGM_CHAIN_RPC names another chain.',
  account: 'There is no account for the chain here, so it is published at your own hub only: digm chain key makes one.',
  sales: 'The contracts there sell nothing yet, so it can only be free: digm chain deploy puts the one that sells beside them.',
};
const at = (id) => document.getElementById(id);

export class Terms {
  #form = at('terms');
  #button = at('publish');
  #fault = at('terms-fault');
  #sells = false;

  constructor() {
    this.#form.addEventListener('input', () => { this.#fault.textContent = ''; this.#dress(); });
    this.#form.addEventListener('submit', (event) => { event.preventDefault(); this.#publish(); });
    at('add-share').onclick = () => { this.#addShare(); this.#dress(); };
    this.#dress();
  }

  /**
   * What the chain lets be done.
   * @param {{account: string | null, is_known: boolean, sells: boolean}} chain
   */
  know(chain) {
    const can = chain.is_known && chain.account !== null;
    const field = this.#form.querySelector('[name=is_on_chain]');
    if (field.disabled === can) {
      field.disabled = !can;
      field.checked = can;
    }
    const account = `Your account there is ${chain.account}.${chain.sells ? '' : ` ${WHY_NOT.sales}`}`;
    at('chain-said').textContent = can ? account : WHY_NOT[chain.is_known ? 'account' : 'chain'];
    this.#sells = can && chain.sells;
    this.#dress();
  }

  /** @param {{tracks: any[], journey: any}} state */
  show({ tracks, journey }) {
    at('album-price-part').hidden = tracks.length < 2;
    const ready = tracks.filter((track) => track.state === 'ready').length;
    const isBusy = journey?.state === 'running';
    this.#button.disabled = isBusy || !tracks.length || ready < tracks.length;
    const many = tracks.length === 1 ? 'Publish it' : `Publish ${tracks.length} tracks`;
    this.#button.textContent = ready < tracks.length ? `${ready} of ${tracks.length} are ready` : many;
  }

  #field(name) { return this.#form.elements.namedItem(name); }

  #dress() {
    const kind = this.#form.querySelector('[name=kind]:checked').value;
    const preview = this.#field('preview');
    at('price-fields').hidden = kind === 'free';
    at('price-name').textContent = kind === 'least' ? 'Each track, at least' : 'Each track costs';
    if (kind !== 'free' && !preview.value) preview.value = String(PREVIEW_S);
    const shares = at('shares').children.length;
    at('shares-said').textContent = shares ? `${shares} payee${shares === 1 ? '' : 's'}` : 'all of it is yours';
    const copies = this.#field('copies').value.trim();
    at('copies-said').textContent = copies && copies !== '0' ? `${copies} for ${this.#field('months').value} months` : 'none but your own';
    const isOnChain = this.#form.querySelector('[name=is_on_chain]').checked;
    at('kind').disabled = !(isOnChain && this.#sells);
    if (at('kind').disabled && kind !== 'free') {
      this.#form.querySelector('[value=free]').checked = true;
      at('price-fields').hidden = true;
    }
    for (const part of ['copies-part', 'shares-part']) at(part).hidden = !isOnChain;
  }

  #addShare() {
    const row = el('div', { class: 'share' },
      el('input', { name: 'account', placeholder: '0x… address', 'aria-label': 'Address', spellcheck: 'false' }),
      el('span', { class: 'joined' }, el('input', { name: 'percent', inputmode: 'decimal', 'aria-label': 'Per cent' }), el('span', { class: 'unit', text: '%' })),
      el('button', { type: 'button', class: 'icon-button', 'aria-label': 'Remove', onclick: () => { row.remove(); this.#dress(); } }, icon('M6 6l12 12M18 6L6 18', 'icon line')));
    at('shares').append(row);
    row.querySelector('input').focus();
  }

  #number(name) {
    const text = this.#field(name).value.trim();
    if (!text) return null;
    if (!/^\d{1,6}$/.test(text)) throw new Error(`${text} is no whole number.`);
    return Number(text);
  }

  #read() {
    const kind = this.#form.querySelector('[name=kind]:checked').value;
    const isOnChain = this.#form.querySelector('[name=is_on_chain]').checked;
    const shares = isOnChain ? [...at('shares').children] : [];
    return {
      is_on_chain: isOnChain,
      price: kind === 'free' ? '' : this.#field('price').value.trim() || '?',
      album_price: kind === 'free' || at('album-price-part').hidden ? '' : this.#field('album_price').value.trim(),
      token: this.#field('token').value,
      is_at_least: kind === 'least',
      preview_s: this.#number('preview'),
      shares: shares.map((row) => ({ account: row.querySelector('[name=account]').value, percent: row.querySelector('[name=percent]').value })),
      copies: isOnChain ? this.#number('copies') ?? 0 : 0,
      months: this.#number('months') ?? 18,
      copy_price: this.#field('copy_price').value.trim() || '1',
    };
  }

  async #publish() {
    this.#fault.textContent = '';
    this.#button.disabled = true;
    try {
      await ask('POST', '/api/publish', this.#read());
    } catch (fault) {
      this.#fault.textContent = fault.message;
      this.#button.disabled = false;
    }
  }
}
