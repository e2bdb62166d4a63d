// <digm-account-copy>: the key of this browser: put a copy of it away, or bring one from another device. What it says of
// itself is what static/digm-account.js does.

import { account, changes } from './digm-account.js';
import { h } from './digm-html.js';
import { copyable } from './digm-purchase-views.js';
import { CopyError, LEAST_CHARACTERS, copyWithPasskey, copyWithPassphrase, hasPasskeys, readCopy, restoreCopy } from './digm-recovery.js';

export class DigmAccountCopy extends HTMLElement {
  #ending = new AbortController();
  #isWorking = false;

  connectedCallback() {
    if (globalThis.top !== globalThis) return;
    this.#ending = new AbortController();
    changes.addEventListener('account', () => this.#onAccount(), { signal: this.#ending.signal });
    this.#render();
  }

  disconnectedCallback() {
    this.#ending.abort();
  }

  /** What is being made, and what was made, stays until the person has done with it. */
  #onAccount() {
    if (!this.#isWorking && !this.querySelector('[data-made]')) this.#render();
  }

  async #render() {
    const known = await account();
    const keep = known && h('details', { open: !known.isCopied && this.hasAttribute('open') },
      h('summary', null, known.isCopied ? 'Make another copy of your key' : 'Keep a copy of your key'),
      this.#keeping());
    const bring = h('details', null,
      h('summary', null, known ? 'Bring another key here' : 'Bought it on another device? Bring your key'), this.#bringing(Boolean(known)));
    if (this.hasAttribute('bring-only')) return this.replaceChildren(bring);
    const urgent = known && !known.isCopied && h('p.buy-small', null,
      'The key to what you own is in this browser alone. With a copy you have it on other devices too, and do not lose it.');
    return this.replaceChildren(...[urgent, keep, bring].filter(Boolean).map((part) => /** @type {Node} */ (part)));
  }

  #keeping() {
    const words = h('input', { type: 'password', autocomplete: 'new-password', minlength: LEAST_CHARACTERS, name: 'passphrase' });
    const result = h('div', { role: 'status' });
    const form = h('form.buy-form', { onsubmit: (event) => {
      event.preventDefault();
      this.#do(result, async () => this.#made(await copyWithPassphrase(/** @type {any} */ (words).value)));
    } },
    h('label', null, `A passphrase, at least ${LEAST_CHARACTERS} characters`, words),
    h('p.buy-actions', null,
      h('button.buy-primary', { type: 'submit' }, 'Make the copy'),
      hasPasskeys() && h('button.buy-plain', {
        type: 'button', onclick: () => this.#do(result, async () => this.#made(await copyWithPasskey())),
      }, 'With a passkey instead')),
    h('p.buy-small', null, 'The copy is encrypted here before you see it. Without the passphrase, or the passkey, it is of no '
      + 'use to anybody, nor to you.'));
    return h('div', null, form, result);
  }

  #made(copy) {
    const href = URL.createObjectURL(new Blob([`${copy}\n`], { type: 'text/plain' }));
    return h('div.buy-form', { 'data-made': true },
      h('p', null, 'This is your recovery copy. Put it where you keep what you do not want to lose.'),
      h('p.buy-actions', null, h('a.buy-primary', { href, download: 'digm-recovery-copy.txt' }, 'Save it as a file')),
      copyable(copy));
  }

  #bringing(hasKey) {
    const text = /** @type {HTMLTextAreaElement} */ (h('textarea', { name: 'copy', spellcheck: 'false', autocomplete: 'off' }));
    const file = /** @type {HTMLInputElement} */ (h('input', { type: 'file', accept: '.txt,text/plain', onchange: async () => {
      text.value = (await file.files?.[0]?.text() ?? '').trim().slice(0, 8_192);
    } }));
    const words = h('input', { type: 'password', autocomplete: 'current-password', name: 'passphrase' });
    const result = h('div', { role: 'status' });
    const form = h('form.buy-form', { onsubmit: (event) => {
      event.preventDefault();
      this.#do(result, async () => {
        const { address } = readCopy(text.value);
        await restoreCopy(text.value, /** @type {any} */ (words).value);
        return h('p.buy-owned', null, `Your key ${address.slice(0, 6)}…${address.slice(-4)} is here.`);
      });
    } },
    hasKey && h('p.buy-small', null, 'It takes the place of the key that is here now. If that one owns something, keep a copy of '
      + 'it first.'),
    h('label', null, 'The copy', text), h('label', null, 'or its file', file),
    h('label', null, 'Its passphrase (not for a passkey)', words),
    h('p.buy-actions', null, h('button.buy-primary', { type: 'submit' }, 'Bring it here')));
    return h('div', null, form, result);
  }

  /** @param {HTMLElement} result @param {() => Promise<Node>} work */
  async #do(result, work) {
    result.replaceChildren(h('p.buy-busy', null, h('span.buy-wheel', { 'aria-hidden': 'true' }), 'One moment …'));
    this.#isWorking = true;
    try {
      result.replaceChildren(await work());
    } catch (error) {
      if (!(error instanceof CopyError)) console.error('DIGM: the copy failed.', error);
      const message = error instanceof CopyError ? error.message : 'That did not work. Nothing has changed.';
      result.replaceChildren(h('p.buy-problem', { role: 'alert' }, message));
    } finally {
      this.#isWorking = false;
    }
  }
}

if (!customElements.get('digm-account-copy')) customElements.define('digm-account-copy', DigmAccountCopy);
