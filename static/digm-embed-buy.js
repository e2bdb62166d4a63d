// The widget's way to the purchase. Nothing is bought in a frame: a button opens the hub's own window, in which the
// listener sees where they are, and the key comes back sealed to this player. The page around the widget learns that the
// track is unlocked, and nothing else.

import { fromHex, toHex } from './digm-crypto.js';

const hub = new URL(import.meta.url).origin;
const button = /** @type {HTMLButtonElement} */ (document.getElementById('buy'));
const player = /** @type {any} */ (document.querySelector('digm-player'));
const track = button.dataset.track ?? '';
/** @type {Window | null} */
let popup = null;

button.addEventListener('click', () => {
  popup = open(`${hub}/buy/${track}`, '_blank', 'popup,width=500,height=760');
  // In a frame that may open no windows the way there is an address.
  if (!popup) button.replaceWith(`The whole track: ${hub}/tracks/${track}`);
});

async function sessionKey() {
  if (!await player.sessionKey(track)) {
    player.play().catch(() => {}); // nothing of the track is loaded before it is wanted
    player.pause();
  }
  return player.sessionKey(track);
}

addEventListener('message', async ({ source, origin, data }) => {
  if (!popup || source !== popup || origin !== hub || data?.track !== track) return;
  if (data.type === 'digm-buy-ready') {
    const key = await sessionKey();
    if (key) popup.postMessage({ type: 'digm-buy-session', track, key: toHex(key) }, hub);
  } else if (data.type === 'digm-buy-key' && /^(?:[0-9a-f]{2}){33,200}$/.test(data.sealed)) {
    player.unlockWith(track, fromHex(data.sealed));
  }
});

player.addEventListener('digm-unlocked', ({ detail }) => {
  if (detail.track !== track) return;
  button.hidden = true;
  parent.postMessage({ type: 'digm-unlocked', track }, '*'); // who embeds it is not known; it is no secret
});
