// The window in which a widget's listener buys. The widget says which session key its player has; this window answers
// with the track's key, sealed to it. Both speak to this hub's own origin and to nobody else: a page that opens this
// window by itself, or puts itself between the two, is told nothing.

import { fromHex, toHex } from './digm-crypto.js';
import { deliberate, h } from './digm-html.js';
import './digm-purchase.js';
import { sealedFor } from './digm-seal.js';

const { opener } = globalThis;
const { origin } = location;
const purchase = /** @type {HTMLElement} */ (document.querySelector('digm-purchase'));
const track = purchase.getAttribute('track') ?? '';
let sessionKey = '';

async function hand(isNew = false) {
  const sealed = sessionKey ? await sealedFor(track, fromHex(sessionKey)) : null;
  if (!sealed) return;
  opener.postMessage({ type: 'digm-buy-key', track, sealed: toHex(sealed) }, origin);
  note(isNew ? 'It plays on where you were. You can close this window.' : 'It plays there now. You can close this window.');
}

const note = (...what) => document.getElementById('handing')?.replaceChildren(...what);

/** It was this browser's already: the person says that it shall play there. */
function offer() {
  if (!sessionKey || !purchase.querySelector('[data-view=owned]')) return;
  note(h('button.buy-primary', { type: 'button', onclick: deliberate(() => hand()) }, 'Play it where I was'));
}

addEventListener('message', ({ source, origin: from, data }) => {
  if (!opener || source !== opener || from !== origin || data?.type !== 'digm-buy-session') return;
  if (data.track !== track || !/^[0-9a-f]{64}$/.test(data.key)) return;
  sessionKey = data.key;
  offer();
});
purchase.addEventListener('digm-bought', () => hand(true));
purchase.addEventListener('digm-shown', offer);
opener?.postMessage({ type: 'digm-buy-ready', track }, origin);
