// <digm-player track="64 hex digits" [hub="https://…"] [preload="auto|none"] [cache-mib="1024"]>: an audio element
// whose bytes come from peers. It mirrors HTMLMediaElement (play, pause, currentTime, duration, paused, ended, buffered,
// volume, muted, readyState and their events) and adds `stats` and the event `digm-error` ({code, message}).
// Python (web/) finds, checks, unlocks and feeds the audio; this file shows the player at once and keeps out of the way.

import { forgetEverything, limitCache } from './digm-cache.js';
import { FirstSound } from './digm-first-sound.js';
import { PlayerError, begin } from './digm-head-start.js';
import { connectMediaSession } from './digm-media-session.js';
import { pythonStart, startPython } from './digm-python.js';
import { hasPeerConnections, mediaSourceClass, whatIsMissing } from './digm-support.js';
import { Sharing, mountSharing } from './digm-sharing.js';
import { Surface } from './digm-surface.js';

const MIRRORED_EVENTS = [
  'canplay', 'canplaythrough', 'durationchange', 'ended', 'loadeddata', 'loadedmetadata', 'loadstart', 'pause', 'play',
  'playing', 'progress', 'ratechange', 'seeked', 'seeking', 'stalled', 'timeupdate', 'volumechange', 'waiting',
];
const TRACK = /^[0-9a-f]{64}$/;
const OWN_HUB = new URL(import.meta.url).origin;

/**
 * @typedef {object} Stats
 * @property {{peer: number, gateway: number, cache: number}} bytes of audio by where they came from.
 * @property {number} peers connected now.
 * @property {number} stalls times the music waited for bytes after it had begun.
 * @property {number | null} first_sound_ms from the press of play to the first sound.
 * @property {number | null} ready_ms from navigation to Python being up.
 * @property {string} python "snapshot" or "bundle": how it came up.
 */

export class DigmPlayer extends HTMLElement {
  static observedAttributes = ['track', 'hub'];

  #surface;
  #sharing = new Sharing(this);
  #audio;
  /** @type {import('./digm-head-start.js').HeadStart | null} */
  #headStart = null;
  /** @type {any} the Python player of the current track */
  #python = null;
  #generation = 0;
  #isLoading = false;
  #pressedAt = 0;
  #firstSound = null;
  #counts = { bytes: { peer: 0, gateway: 0, cache: 0 }, peers: 0, stalls: 0, codec: '', uploaded: 0 };
  #error = null;
  #duration = NaN;

  /** Title, artist, album, cover_url of the track, as far as they are known. @type {any} */
  description = {};

  constructor() {
    super();
    const shadow = this.attachShadow({ mode: 'open' });
    this.#audio = document.createElement('audio');
    this.#audio.preload = 'auto';
    this.#surface = new Surface(shadow, this, this.#audio);
    mountSharing(/** @type {HTMLElement} */ (shadow.getElementById('foot')), this);
    for (const type of MIRRORED_EVENTS) this.#audio.addEventListener(type, () => this.#forward(type));
    connectMediaSession(this, this.#audio);
  }

  connectedCallback() {
    // What the page says of the track is shown until the hub is asked; the manifest replaces both.
    const { title, artist } = this.dataset;
    if (title) this.#surface.describe({ title, artist });
    if (this.preload !== 'none') queueMicrotask(() => this.#load());
    else this.#surface.invite();
  }

  disconnectedCallback() {
    this.#unload();
  }

  attributeChangedCallback(name, before, after) {
    if (before === null || before === after || !this.isConnected) return;
    this.#unload();
    this.connectedCallback();
  }

  get track() { return this.getAttribute('track') ?? ''; }
  get hub() { return this.getAttribute('hub') ?? OWN_HUB; }
  get preload() { return this.getAttribute('preload') ?? 'auto'; }
  get currentTime() { return this.#audio.currentTime; }
  set currentTime(seconds) { this.#seek(seconds); }
  get duration() { return Number.isFinite(this.#audio.duration) ? this.#audio.duration : this.#duration; }
  get paused() { return this.#audio.paused; }
  get ended() { return this.#audio.ended; }
  get seeking() { return this.#audio.seeking; }
  get buffered() { return this.#audio.buffered; }
  get played() { return this.#audio.played; }
  get readyState() { return this.#audio.readyState; }
  get volume() { return this.#audio.volume; }
  set volume(value) { this.#audio.volume = value; }
  get muted() { return this.#audio.muted; }
  set muted(value) { this.#audio.muted = value; }
  get error() { return this.#error; }
  /** @returns {import('./digm-sharing.js').SharingSettings} what the listener decided, for all players of this origin. */
  get sharing() { return this.#sharing.settings; }
  set sharing(patch) { this.#sharing.change(patch); }

  /** @returns {Stats} */
  get stats() {
    return {
      ...structuredClone(this.#counts),
      first_sound_ms: this.#firstSound,
      ready_ms: pythonStart.ready_ms || null,
      python: pythonStart.path,
    };
  }

  /** @returns {Promise<void>} as HTMLMediaElement.play(): settles when sound begins, or rejects. */
  play() {
    if (this.#error?.fatal) this.#unload(); // pressing play again is how one tries again
    if (!this.#pressedAt) this.#pressedAt = performance.now();
    this.#load();
    if (this.#error?.fatal) return Promise.reject(new DOMException(this.#error.message, 'NotSupportedError'));
    this.#watchFirstSound();
    return this.#audio.play();
  }

  pause() {
    this.#audio.pause();
  }

  /** Forget what was kept of all tracks on this device, for this site. @returns {Promise<void>} */
  forgetEverything() {
    return forgetEverything();
  }

  /** @param {number} seconds */
  #seek(seconds) {
    const end = this.duration;
    this.#audio.currentTime = Math.max(0, Number.isFinite(end) ? Math.min(seconds, end) : seconds);
  }

  #load() {
    if (this.#isLoading || !this.isConnected) return;
    this.#isLoading = true;
    const missing = whatIsMissing();
    if (missing) return this.#fail(missing.code, missing.message);
    if (!TRACK.test(this.track)) {
      return this.#fail('bad_track', 'This player was given no track: its name is 64 hexadecimal digits.');
    }
    if (this.hasAttribute('cache-mib')) limitCache(Number(this.getAttribute('cache-mib')));
    const generation = ++this.#generation;
    const source = new (mediaSourceClass())();
    this.#audio.disableRemotePlayback = true; // ManagedMediaSource asks for it
    this.#audio.src = URL.createObjectURL(source);
    this.#headStart = begin(this.track, this.hub, this.#sharing.policy(), this.#known());
    const firstSound = new FirstSound(this.#headStart, this.track, source, this.#audio);
    this.#surface.starting();
    this.#headStart.details.then((details) => {
      if (generation === this.#generation) this.#describe(details);
    }, () => {});
    this.#open(generation, source, firstSound).catch((error) => {
      if (generation === this.#generation) this.#failWith(error);
    });
    if (!hasPeerConnections()) {
      this.#notice('no_webrtc', 'This browser cannot reach other listeners (WebRTC is off): everything comes from the gateway.');
    }
  }

  /** What the hub wrote into its own page; another track of another hub has to be asked for. */
  #known() {
    try {
      const details = JSON.parse(this.dataset.details ?? 'null');
      return details?.track_root === this.track && this.hub === OWN_HUB ? details : null;
    } catch {
      return null;
    }
  }

  /** Wait for Python, hand everything over. What the hub refuses is said at once, Python or not. */
  async #open(generation, source, firstSound) {
    const headStart = this.#headStart;
    Promise.all([headStart.details, headStart.keys, headStart.manifest, headStart.grant]).catch((error) => {
      if (generation === this.#generation) this.#failWith(error);
    });
    const boot = await startPython((done) => this.#surface.progress(done), {
      frames: firstSound.ready,
      sound: this.#firstSoundOf(firstSound),
    });
    if (generation !== this.#generation || this.#error?.fatal) return;
    this.#python = boot.open_player({
      track: this.track,
      sharing: this.#sharing,
      audio: this.#audio,
      source,
      begun: headStart,
      firstSound,
      report: (kind, value) => generation === this.#generation && this.#hear(kind, value),
    });
  }

  /** Settles when music begins, or could: when the head start is through, or has failed. */
  async #firstSoundOf(firstSound) {
    await firstSound.ready;
    const audio = this.#audio;
    if (!audio.buffered.length || (audio.paused && audio.readyState > 2) || audio.currentTime > 0) return;
    const sign = audio.paused ? 'canplay' : 'playing';
    await new Promise((resolve) => { audio.addEventListener(sign, resolve, { once: true }); });
  }

  /** End everything that fetches; what is buffered stays. */
  #stop() {
    this.#generation += 1;
    this.#headStart?.abort.abort();
    this.#headStart = null;
    this.#python?.close();
    this.#python?.destroy();
    this.#python = null;
  }

  #unload() {
    this.#stop();
    this.#isLoading = false;
    this.#error = null;
    this.#firstSound = null;
    this.#pressedAt = 0;
    this.#counts = { bytes: { peer: 0, gateway: 0, cache: 0 }, peers: 0, stalls: 0, codec: '', uploaded: 0 };
    if (this.#audio.src) {
      URL.revokeObjectURL(this.#audio.src);
      this.#audio.removeAttribute('src');
      this.#audio.load();
    }
    this.#surface.clear();
  }

  /** @param {any} details what the hub says of the track; the manifest replaces it once it is checked. */
  #describe(details) {
    this.description = { ...this.description, ...details };
    this.#duration = details.duration_s ?? NaN;
    this.#surface.describe(details);
    this.#forward('durationchange');
  }

  /** What Python reports. @param {string} kind @param {any} value */
  #hear(kind, value) {
    if (kind === 'stats') this.#counts = value;
    else if (kind === 'manifest') this.#describe(value);
    else if (kind === 'ready') this.#surface.ready();
    else if (kind === 'status') return this.#surface.status(value.text);
    else if (kind === 'notice') return this.#notice(value.code, value.message);
    else if (kind === 'error') return this.#fail(value.code, value.message);
    if (kind === 'stats') {
      this.#surface.stats(value);
      this.#forward('stats');
    }
  }

  #failWith(error) {
    if (error?.name === 'AbortError') return;
    if (error instanceof PlayerError) return this.#fail(error.code, error.message);
    console.error('DIGM: the player did not start.', error);
    this.#fail('player_failed', 'The player did not start. Reload the page to try again.');
  }

  #fail(code, message) {
    this.#error = { code, message, fatal: true };
    // Python may be the caller, so it is left alone until it has returned.
    queueMicrotask(() => this.#error?.fatal && this.#stop());
    this.#audio.pause();
    this.#surface.failed(message);
    this.dispatchEvent(new CustomEvent('digm-error', { detail: this.#error, bubbles: true, composed: true }));
  }

  /** Something the listener should know that does not end the music. */
  #notice(code, message) {
    this.#surface.status(message);
    const detail = { code, message, fatal: false };
    this.dispatchEvent(new CustomEvent('digm-error', { detail, bubbles: true, composed: true }));
  }

  #watchFirstSound() {
    if (this.#firstSound !== null) return;
    const look = () => {
      if (this.#firstSound !== null || !this.#pressedAt) return;
      if (this.#audio.currentTime > 0 && !this.#audio.paused && this.#audio.readyState > 2) {
        this.#firstSound = performance.now() - this.#pressedAt;
      } else if (!this.#audio.paused) setTimeout(look, 5);
    };
    setTimeout(look, 5);
  }

  #forward(type) {
    this.dispatchEvent(new Event(type));
  }
}

if (!customElements.get('digm-player')) customElements.define('digm-player', DigmPlayer);
