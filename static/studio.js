// The artist's studio: what lies on the desk, how far a release is, and what became of those before.
// The page key came in the address's fragment; it opens the studio's API for this tab and nothing else.

import { Counter } from './studio-counter.js';
import { Desk } from './studio-desk.js';
import { Journey } from './studio-journey.js';
import { Music } from './studio-music.js';
import { ask, keepKey } from './studio-api.js';
import { Vault } from './studio-vault.js';
import { Terms } from './studio-terms.js';

const AGAIN_MS = 2000;
const MUSIC_EVERY_MS = 5000;
const trouble = document.getElementById('trouble');

/** @param {string} sentence '' when all is well. */
function say(sentence) {
  trouble.hidden = !sentence;
  if (trouble.textContent !== sentence) trouble.textContent = sentence;
}

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
const desk = new Desk(say);
const terms = new Terms();
const counter = new Counter(() => lookNow());
const music = new Music((chain) => terms.know(chain), (track) => counter.open(track));
const vault = new Vault();
const journey = new Journey(lookNow);

async function follow() {
  let version = 0;
  for (;;) {
    try {
      const state = await ask('GET', `/api/desk?after=${version}`);
      if (version === 0) say('');
      version = state.version;
      desk.show(state);
      terms.show(state);
      journey.show(state.journey);
    } catch (fault) {
      version = 0;
      say(fault.message);
      await pause(AGAIN_MS);
    }
  }
}

/** The lists below the desk. */
function lookNow() {
  return Promise.allSettled([music.update(), vault.update()]);
}

async function look() {
  for (;;) {
    if (document.visibilityState === 'visible') await lookNow();
    await pause(MUSIC_EVERY_MS);
  }
}

if (keepKey()) {
  follow();
  look();
} else {
  say('Open the studio once more by the address that digm studio printed: this tab has lost its key.');
}
