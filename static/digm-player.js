// <digm-player track="64 hex digits" | tracks="several of them" | release="id" [hub="https://…"] [preload="auto|none"]
// [cache-mib="1024"]>: an audio element whose bytes come from peers, and that plays its tracks without a gap. It mirrors
// HTMLMediaElement (play, pause, currentTime, duration, paused, ended, buffered, volume, muted, readyState and their
// events), each for the track that is heard, and adds `stats`, the queue (queue, index, next(), previous(), playTrack(),
// shuffle, repeat, event `trackchange`), what can be heard (preview, owned, unlockWith(), events `digm-preview-ended` and
// `digm-unlocked`) and the event `digm-error` ({code, message}).
// Python (web/) finds, checks, unlocks and feeds the audio; this file shows the player at once and keeps out of the way.

import { forgetEverything, limitCache } from './digm-cache.js';
import { FirstSound } from './digm-first-sound.js';
import { PlayerError, begin } from './digm-head-start.js';
import { connectMediaSession } from './digm-media-session.js';
import { pythonStart, startPython } from './digm-python.js';
import { Timeline, fetchRelease, knownDetails, namedTracks, rangesOf } from './digm-queue.js';
import { Sharing, mountSharing } from './digm-sharing.js';
import { Fade, Preview } from './digm-preview.js';
import { FirstHeard, nothingYet } from './digm-stats.js';
import { hasPeerConnections, mediaSourceClass, whatIsMissing } from './digm-support.js';
import { Surface } from './digm-surface.js';

const MIRRORED_EVENTS = [
  'canplay', 'canplaythrough', 'durationchange', 'ended', 'loadeddata', 'loadedmetadata', 'loadstart', 'pause', 'play',
  'playing', 'progress', 'ratechange', 'seeked', 'seeking', 'stalled', 'timeupdate', 'volumechange', 'waiting',
];
const RESTART_AFTER_S = 3; // "previous" later than this plays the same track again
const OWN_HUB = new URL(import.meta.url).origin;

export class DigmPlayer extends HTMLElement {
  static observedAttributes = ['track', 'tracks', 'release', 'hub'];

  #surface;
  #sharing = new Sharing(this);
  #audio;
  /** @type {import('./digm-head-start.js').HeadStart | null} */
  #headStart = null;
  /** @type {any} the Python player of the current track */
  #python = null;
  #generation = 0;
  #isLoading = false;
  #isShown = false;
  #firstHeard;
  #fade;
  #preview;
  #counts = nothingYet();
  #error = null;
  /** Roots, in the order in which the page names them. @type {string[]} */
  #tracks = [];
  /** What the hub says of them. @type {Map<string, any>} */
  #details = new Map();
  #timeline = new Timeline();
  /** What was shown last. @type {import('./digm-queue.js').Place | null} */
  #shown = null;
  #first = 0;
  #order = { isShuffled: false, repeat: 'off', hasNext: false, hasPrevious: false };

  /** Title, artist, album, cover_url of the track, as far as they are known. @type {any} */
  description = {};
  /** @type {import('./digm-head-start.js').ProofFor | null} */
  proofFor = null;

  constructor() {
    super();
    const shadow = this.attachShadow({ mode: 'open' });
    this.#audio = document.createElement('audio');
    this.#audio.preload = 'auto';
    this.#firstHeard = new FirstHeard(this.#audio);
    this.#fade = new Fade(this.#audio);
    this.#surface = new Surface(shadow, this, this.#audio);
    this.#preview = new Preview(this, this.#fade, this.#surface);
    mountSharing(this.#surface.more, this);
    for (const type of MIRRORED_EVENTS) this.#audio.addEventListener(type, () => this.#forward(type));
    connectMediaSession(this, this.#audio);
  }

  connectedCallback() {
    this.#isShown = true;
    // What the page says of the track is shown until the hub is asked; the manifest replaces both.
    const { title, artist } = this.dataset;
    if (title) this.#surface.describe({ title, artist });
    try {
      this.#tracks = namedTracks(this) ?? [];
    } catch { /* said when it is loaded */ }
    this.#timeline.restart(this.#first);
    this.#showQueue();
    if (this.preload !== 'none') queueMicrotask(() => this.#load());
    else this.#surface.invite();
  }

  disconnectedCallback() {
    this.#isShown = false;
    this.#unload();
  }

  attributeChangedCallback(name, before, after) {
    if (before === after || !this.#isShown) return;
    this.#unload();
    this.#first = 0;
    this.connectedCallback();
  }

  /** Root of the track that is heard. */
  get track() { return this.#tracks[this.index] ?? this.getAttribute('track') ?? ''; }
  get index() { return this.#here.index; }
  /** @returns {{track: string, title?: string, artist?: string, duration_s?: number}[]} */
  get queue() { return this.#tracks.map((track) => ({ track, ...this.#details.get(track) })); }
  get hub() { return this.getAttribute('hub') ?? OWN_HUB; }
  get preload() { return this.getAttribute('preload') ?? 'auto'; }
  get currentTime() { return Math.max(0, this.#audio.currentTime - this.#here.offset_s); }
  set currentTime(seconds) { this.#seek(seconds); }
  get duration() {
    const { duration_s: known } = this.#here;
    return Number.isFinite(known) ? known : this.#details.get(this.track)?.duration_s ?? NaN;
  }
  get paused() { return this.#audio.paused; }
  get ended() { return this.#audio.ended; }
  get seeking() { return this.#audio.seeking; }
  get buffered() { return rangesOf(this.#audio.buffered, this.#here); }
  get played() { return this.#audio.played; }
  get readyState() { return this.#audio.readyState; }
  get volume() { return this.#fade.volume; }
  set volume(value) { this.#fade.volume = value; }
  get muted() { return this.#audio.muted; }
  set muted(value) { this.#audio.muted = value; }
  get error() { return this.#error; }
  /** How much of the track is free, and whether that is over; null: all of it can be heard. */
  get preview() { return this.#preview.state.preview; }
  /** Whether the listener has the key of the track. */
  get owned() { return this.#preview.state.owned; }
  /** What the listener decided, for all players of this origin. */
  get sharing() { return this.#sharing.settings; }
  set sharing(patch) { this.#sharing.change(patch); }

  /** @returns {import('./digm-stats.js').Stats} */
  get stats() {
    return {
      ...structuredClone(this.#counts),
      first_sound_ms: this.#firstHeard.ms,
      ready_ms: pythonStart.ready_ms || null,
      python: pythonStart.path,
    };
  }

  /** @returns {Promise<void>} as HTMLMediaElement.play(): settles when sound begins, or rejects. */
  play() {
    if (this.#error?.fatal) this.#unload(); // pressing play again is how one tries again
    this.#firstHeard.press();
    this.#load();
    if (this.#error?.fatal) return Promise.reject(new DOMException(this.#error.message, 'NotSupportedError'));
    // Behind the end of a queue it begins again; the audio element alone would go to the beginning of its clock.
    if (this.#audio.ended && this.#tracks.length > 1) this.#python?.begin_again();
    return this.#audio.play();
  }

  pause() { this.#audio.pause(); }

  /** Forget what was kept of all tracks on this device, for this site. @returns {Promise<void>} */
  forgetEverything() { return forgetEverything(); }

  /** @param {number} index in the queue. @returns {Promise<void>} as play(). */
  playTrack(index) {
    if (!(index in this.#tracks)) return Promise.reject(new RangeError(`The queue has no track ${index}.`));
    if (this.#python) this.#python.jump(index);
    else this.#restartAt(index);
    return this.play();
  }

  /** To which others seal what is for this page alone: X25519, 32 bytes; null: the track is not open. */
  sessionKey(track = this.track) { return this.#preview.sessionKey(track); }

  /** Go on with a key that was sealed to `sessionKey` (static/digm-seal.js). @param {string} track @param {Uint8Array} sealed */
  unlockWith(track, sealed) {
    this.#python?.own_sealed(track, sealed);
  }

  /** The next track, if there is one; what is fetched for this one is given up at once. */
  next() {
    if (this.#python) this.#python.next();
    else if (this.index + 1 < this.#tracks.length) this.#restartAt(this.index + 1);
  }

  /** The beginning of this track, or, from there, the track before it. */
  previous() {
    if (this.currentTime > RESTART_AFTER_S || !this.#python) this.currentTime = 0;
    else this.#python.previous();
  }

  get shuffle() { return this.#order.isShuffled; }
  set shuffle(isOn) {
    this.#order.isShuffled = Boolean(isOn);
    this.#python?.set_order(this.#order.isShuffled, this.#order.repeat);
    this.#showQueue();
  }

  /** @returns {'off' | 'one' | 'all'} */
  get repeat() { return /** @type {any} */ (this.#order.repeat); }
  set repeat(what) {
    if (!['off', 'one', 'all'].includes(what)) return;
    this.#order.repeat = what;
    this.#python?.set_order(this.#order.isShuffled, what);
    this.#showQueue();
  }

  /** Before Python is up: begin with another track. @param {number} index */
  #restartAt(index) {
    const isPlaying = !this.#audio.paused;
    this.#unload();
    this.#first = index;
    this.#timeline.restart(index);
    this.#load();
    if (isPlaying) this.play().catch(() => {});
  }

  get #here() { return this.#timeline.at(this.#audio.currentTime); }

  /** @param {number} seconds of the track that is heard. */
  #seek(seconds) {
    const end = Number.isFinite(this.duration) ? this.duration : Infinity;
    this.#audio.currentTime = this.#here.offset_s + Math.max(0, Math.min(seconds, end));
  }

  #load() {
    if (this.#isLoading || !this.isConnected) return;
    this.#isLoading = true;
    const missing = whatIsMissing();
    if (missing) return this.#fail(missing.code, missing.message);
    let tracks;
    try {
      tracks = namedTracks(this);
    } catch (error) {
      return this.#failWith(error);
    }
    if (this.hasAttribute('cache-mib')) limitCache(Number(this.getAttribute('cache-mib')));
    const generation = ++this.#generation;
    const source = new (mediaSourceClass())();
    this.#audio.disableRemotePlayback = true; // ManagedMediaSource asks for it
    this.#audio.src = URL.createObjectURL(source);
    this.#surface.starting();
    this.#start(generation, source, tracks).catch((error) => {
      if (generation === this.#generation) this.#failWith(error);
    });
    if (!hasPeerConnections()) {
      this.#notice('no_webrtc', 'This browser cannot reach other listeners (WebRTC is off): everything comes from the gateway.');
    }
  }

  /** @param {number} generation @param {MediaSource} source @param {string[] | null} tracks null: the release's. */
  async #start(generation, source, tracks) {
    if (!tracks) {
      const release = await fetchRelease(this.hub, this.getAttribute('release') ?? '');
      if (generation !== this.#generation) return;
      for (const details of release.tracks) this.#details.set(details.track_root, details);
    }
    this.#tracks = tracks ?? [...this.#details.keys()];
    this.#showQueue();
    const track = this.#tracks[this.#first];
    this.#headStart = this.#begin(track);
    await this.#open(generation, source, new FirstSound(this.#headStart, track, source, this.#audio));
  }

  /** Ask the hub for a track, and show what it says of it. @param {string} track */
  #begin(track) {
    const headStart = begin(track, this.hub, this.#sharing.policy(), this.proofFor, knownDetails(this, track, OWN_HUB));
    headStart.details.then((details) => {
      this.#details.set(track, details);
      if (track === this.track) this.#describe(details);
    }, () => {});
    this.#preview.begin(track, headStart, (bought, owned) => this.#python?.own(bought, owned));
    return headStart;
  }

  /** Wait for Python, hand everything over. What the hub refuses is said at once, Python or not. */
  async #open(generation, source, firstSound) {
    const headStart = this.#headStart;
    const allowed = headStart.grant.catch(async (error) => { if (!await headStart.owned) throw error; });
    Promise.all([headStart.details, headStart.keys, headStart.manifest, allowed]).catch((error) => {
      if (generation === this.#generation) this.#failWith(error);
    });
    const first = { frames: firstSound.ready, sound: firstSound.heard() };
    const boot = await startPython((done) => this.#surface.progress(done), first);
    if (generation !== this.#generation || this.#error?.fatal) return;
    this.#python = boot.open_player({
      sharing: this.#sharing,
      tracks: this.#tracks,
      first: this.#first,
      ...this.#order,
      begin: (track) => this.#begin(track),
      audio: this.#audio,
      source,
      begun: headStart,
      firstSound,
      resume: () => { this.play().catch(() => {}); },
      report: (kind, value) => generation === this.#generation && this.#hear(kind, value),
    });
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
    this.#firstHeard.clear();
    this.#shown = null;
    this.#preview.clear();
    this.#timeline.restart(this.#first);
    this.#counts = nothingYet();
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
    this.#surface.describe(details);
    this.#forward('durationchange');
  }

  /** What Python reports. @param {string} kind @param {any} value */
  #hear(kind, value) {
    if (kind === 'stats') this.#counts = value;
    else if (kind === 'timeline') this.#plan(value);
    else if (kind === 'preview') this.#preview.hear(value, this.#tracks[value.index]);
    else if (kind === 'unlocked') this.#preview.unlocked(value.track);
    else if (kind === 'ready') this.#surface.ready();
    else if (kind === 'status') return this.#surface.status(value.text);
    else if (kind === 'notice') return this.#notice(value.code, value.message);
    else if (kind === 'error') return this.#fail(value.code, value.message);
    if (kind === 'stats') {
      this.#surface.stats(value);
      this.#forward('stats');
    }
  }

  /** The tracks on the audio element's clock, from the one that is heard on. */
  #plan({ places, hasNext, hasPrevious }) {
    this.#timeline.set(places);
    this.#order = { ...this.#order, hasNext, hasPrevious };
    this.#follow(true);
  }

  /** Show the track that is heard, when it is another one than before or more is known of it. */
  #follow(isNews = false) {
    const here = this.#here;
    const before = this.#shown;
    if (here === before && !isNews) return;
    this.#shown = here;
    const isOther = before?.index !== here.index || before?.offset_s !== here.offset_s;
    if (isOther) this.description = { title: '…', artist: '', peaks: new Uint8Array(0) };
    this.#describe({ ...this.description, ...this.#details.get(this.#tracks[here.index]), ...here });
    this.#showQueue();
    if (isOther) this.dispatchEvent(new CustomEvent('trackchange', { detail: { index: here.index, track: this.track } }));
  }

  #showQueue() { this.#surface.queue({ ...this.#order, length: this.#tracks.length }); }

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
    this.#tellError(this.#error);
  }

  /** Something the listener should know that does not end the music. */
  #notice(code, message) {
    this.#surface.status(message);
    this.#tellError({ code, message, fatal: false });
  }

  #tellError(detail) {
    this.dispatchEvent(new CustomEvent('digm-error', { detail, bubbles: true, composed: true }));
  }

  #forward(type) {
    if (type === 'timeupdate' || type === 'seeking') this.#follow();
    this.dispatchEvent(new Event(type));
  }
}

if (!customElements.get('digm-player')) customElements.define('digm-player', DigmPlayer);
