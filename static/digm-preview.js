// The free beginning of a track: how long it is, and its end. Python appends nothing behind its last sample and stops the
// listener there; here the end is made soft, and the page is told.

import { ownedKey, watchOwned } from './digm-owned.js';

const FADE_S = 0.3;
const STEP_MS = 10;
const LOOK_AHEAD_S = 1; // `timeupdate` comes four times a second
const QUIETEST = 0.02; // of what was asked for, at the last sample

/** The volume that the listener asked for, less at the end of what may be heard. */
export class Fade {
  #audio;
  #asked;
  #end = Infinity;
  #timer = 0;

  /** @param {HTMLAudioElement} audio */
  constructor(audio) {
    this.#audio = audio;
    this.#asked = audio.volume;
    for (const type of ['timeupdate', 'playing', 'seeked', 'ratechange', 'pause']) {
      audio.addEventListener(type, () => this.#look());
    }
  }

  get volume() { return this.#asked; }
  set volume(value) {
    this.#audio.volume = value; // which checks it
    this.#asked = value;
    this.#look();
  }

  /** @param {number} seconds of the audio element's clock; Infinity: it does not end. */
  set end(seconds) {
    this.#end = seconds;
    this.#look();
  }

  #look() {
    const { currentTime, paused, playbackRate } = this.#audio;
    const left = (this.#end - currentTime) / (playbackRate || 1);
    const isNear = !paused && left < LOOK_AHEAD_S && left > -LOOK_AHEAD_S;
    const share = isNear && left < FADE_S ? Math.max(QUIETEST, left / FADE_S) : 1;
    if (this.#audio.volume !== this.#asked * share) this.#audio.volume = this.#asked * share;
    clearTimeout(this.#timer);
    if (isNear) this.#timer = setTimeout(() => this.#look(), STEP_MS);
  }
}

/**
 * What a page may know of the track that is heard.
 * @typedef {object} PreviewState
 * @property {{seconds: number, ended: boolean} | null} preview null: all of it can be heard.
 * @property {boolean} owned the listener has the track's key.
 */

/** What a page knows of the keys of its tracks, and is told: `digm-preview-ended`, `digm-unlocked`, each with {track}. */
export class Preview {
  #element;
  #surface;
  #fade;
  /** Of the tracks that were begun. @type {Map<string, Promise<CryptoKeyPair>>} */
  #keys = new Map();
  /** @type {AbortController | null} */
  #watching = null;
  /** @type {PreviewState} */
  state = { preview: null, owned: false };

  /** @param {HTMLElement} element @param {Fade} fade @param {import('./digm-surface.js').Surface} surface */
  constructor(element, fade, surface) {
    this.#element = element;
    this.#fade = fade;
    this.#surface = surface;
  }

  /**
   * A track is begun. If it has a price, its key may be bought while it plays, in whichever tab.
   * @param {string} track @param {import('./digm-head-start.js').HeadStart} headStart
   * @param {(track: string, owned: any) => void} own told of a purchase.
   */
  begin(track, { details, keys }, own) {
    this.#keys.set(track, keys);
    details.then(({ preview_s: isLimited }) => {
      if (!isLimited || this.#watching) return;
      this.#watching = new AbortController();
      watchOwned(async (bought) => {
        const owned = this.#keys.has(bought) ? await ownedKey(bought) : null;
        if (owned) own(bought, owned);
      }, this.#watching.signal).catch(() => {});
    }, () => {});
  }

  /** @param {string} track @returns {Promise<Uint8Array | null>} */
  async sessionKey(track) {
    const pair = await this.#keys.get(track);
    return pair ? new Uint8Array(await crypto.subtle.exportKey('raw', pair.publicKey)) : null;
  }

  /** What Python reports of the track that is heard. @param {any} said @param {string} track */
  hear({ seconds, end_s: end, ended, owned }, track) {
    const hadEnded = this.state.preview?.ended;
    this.#show({ preview: seconds ? { seconds, ended } : null, owned }, end ?? Infinity);
    if (ended && !hadEnded) this.#tell('digm-preview-ended', track);
  }

  /** @param {string} track */
  unlocked(track) {
    this.#tell('digm-unlocked', track);
  }

  /** Nothing plays any more. */
  clear() {
    this.#watching?.abort();
    this.#watching = null;
    this.#keys.clear();
    this.#show({ preview: null, owned: false }, Infinity);
  }

  #show(state, end) {
    this.state = state;
    this.#fade.end = end;
    this.#surface.preview(state);
  }

  #tell(type, track) {
    this.#element.dispatchEvent(new CustomEvent(type, { detail: { track }, bubbles: true, composed: true }));
  }
}
