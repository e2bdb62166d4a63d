// What is seen and touched of a player: it is there at once, long before Python is.

import { Panel } from './digm-panel.js';
import { sheet } from './digm-style.js';
import { Waveform } from './digm-waveform.js';

const MARKUP = `
<section part="player" role="group" aria-label="Audio player">
  <button id="play" type="button" part="play" aria-label="Play" title="Play (space)">
    <svg viewBox="0 0 24 24" aria-hidden="true">
      <path class="shape-play" d="M8 5.2v13.6a.7.7 0 0 0 1.07.6l10.6-6.8a.7.7 0 0 0 0-1.2L9.07 4.6A.7.7 0 0 0 8 5.2z"/>
      <path class="shape-pause" d="M7.5 5h2.6v14H7.5zM13.9 5h2.6v14h-2.6z"/>
      <circle class="shape-wait" cx="12" cy="12" r="10.6"/>
    </svg>
  </button>
  <div id="names"><div id="title" part="title">&nbsp;</div><div id="artist" part="artist">&nbsp;</div></div>
  <div id="time" part="time"><span id="now">0:00</span><span id="length"></span></div>
  <div id="scrubber" part="scrubber" role="slider" tabindex="0" aria-label="Position" aria-valuemin="0"
       aria-valuemax="0" aria-valuenow="0" aria-valuetext="0:00"><canvas aria-hidden="true"></canvas></div>
  <div id="foot">
    <div id="queue" role="group" aria-label="Queue" hidden>
      <button id="shuffle" type="button" aria-pressed="false" aria-label="Shuffle" title="Shuffle (s)">
        <svg viewBox="0 0 24 24" aria-hidden="true"><path d="M4 7.5h2.8c4.4 0 5 9 9.4 9H20M4 16.5h2.8c1.6 0 2.7-1.2 3.5-2.8M13 10.2c.8-1.6 1.8-2.7 3.2-2.7H20M17.6 5l2.6 2.5-2.6 2.5M17.6 14l2.6 2.5-2.6 2.5"/></svg>
      </button>
      <button id="previous" type="button" aria-label="Previous track" title="Previous track (p)">
        <svg viewBox="0 0 24 24" aria-hidden="true"><path class="full" d="M18 6.5v11L9.4 12zM6.2 6.5h1.9v11H6.2z"/></svg>
      </button>
      <button id="next" type="button" aria-label="Next track" title="Next track (n)">
        <svg viewBox="0 0 24 24" aria-hidden="true"><path class="full" d="M6 6.5v11l8.6-5.5zM15.9 6.5h1.9v11h-1.9z"/></svg>
      </button>
      <button id="repeat" type="button" aria-label="Repeat: off" title="Repeat (r)">
        <svg viewBox="0 0 24 24" aria-hidden="true"><path d="M5 11.5v-1.2A2.8 2.8 0 0 1 7.8 7.5h10.4M19 12.5v1.2a2.8 2.8 0 0 1-2.8 2.8H5.8M16 5l2.5 2.5L16 10M8 14l-2.5 2.5L8 19"/>
        <text class="one" x="12" y="14.6" text-anchor="middle">1</text></svg>
      </button>
    </div>
    <span id="preview" part="preview" hidden></span>
    <p id="status" part="status" role="status" aria-live="polite"></p>
    <button id="numbers" type="button" aria-label="Where the music comes from" aria-expanded="false" aria-controls="panel" title="Where the music comes from (i)">
      <svg viewBox="0 0 24 24" aria-hidden="true"><path d="M12 12 6 6.8M12 12l6.2-4.4M12 12l1 6.4"/>
      <circle cx="12" cy="12" r="2.6"/><circle cx="5.2" cy="6" r="1.7"/><circle cx="19" cy="7" r="1.7"/><circle cx="13.3" cy="19.6" r="1.7"/></svg>
    </button>
    <button id="mute" type="button" aria-label="Mute" aria-pressed="false" title="Mute (m)">
      <svg viewBox="0 0 24 24" aria-hidden="true"><path d="M4 9.5h3.6L12 5.6v12.8L7.6 14.5H4z"/>
      <path class="waves" d="M15 9a4.2 4.2 0 0 1 0 6M17.4 6.6a7.6 7.6 0 0 1 0 10.8"/>
      <path class="cross" d="m15.5 9.5 5 5m0-5-5 5"/></svg>
    </button>
    <input id="volume" type="range" min="0" max="1" step="0.01" value="1" aria-label="Volume">
  </div>
  <div id="panel" part="panel" role="region" aria-label="Where the music comes from" hidden></div>
</section>`;

const STEP_S = 5;
const STEP_VOLUME = 0.05;

/** @param {number} seconds @returns {string} m:ss, h:mm:ss from an hour on. */
export function clock(seconds) {
  if (!Number.isFinite(seconds)) return '–:––';
  const whole = Math.floor(Math.max(0, seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return `${h ? `${h}:${String(m).padStart(2, '0')}` : m}:${String(s).padStart(2, '0')}`;
}

export class Surface {
  #player;
  #audio;
  #part;
  #waveform;
  #panel;
  #isFailed = false;
  #notice = '';

  /**
   * @param {ShadowRoot} shadow
   * @param {any} player the element: what is pressed here is done there.
   * @param {HTMLAudioElement} audio
   */
  constructor(shadow, player, audio) {
    this.#player = player;
    this.#audio = audio;
    shadow.adoptedStyleSheets = [sheet];
    const template = document.createElement('template');
    template.innerHTML = MARKUP;
    shadow.append(template.content, audio);
    const part = (id) => /** @type {any} */ (shadow.getElementById(id));
    this.#part = Object.fromEntries(
      ['play', 'title', 'artist', 'now', 'length', 'scrubber', 'status', 'mute', 'volume', 'queue', 'shuffle', 'previous',
        'next', 'repeat', 'numbers', 'panel', 'preview'].map((id) => [id, part(id)]),
    );
    this.#part.section = shadow.querySelector('section');
    this.#waveform = new Waveform(shadow.querySelector('canvas'), player);
    this.#panel = new Panel(this.#part.panel, this.#part.numbers, player);
    this.#listen();
  }

  /** For controls of other parts. @returns {HTMLElement} inside the panel. */
  get more() { return this.#panel.more; }

  #listen() {
    const { play, scrubber, mute, volume, section, shuffle, previous, next, repeat } = this.#part;
    shuffle.addEventListener('click', () => { this.#player.shuffle = !this.#player.shuffle; });
    previous.addEventListener('click', () => this.#player.previous());
    next.addEventListener('click', () => this.#player.next());
    repeat.addEventListener('click', () => this.#nextRepeat());
    play.addEventListener('click', () => this.#toggle());
    mute.addEventListener('click', () => { this.#player.muted = !this.#player.muted; });
    volume.addEventListener('input', () => {
      this.#player.volume = Number(volume.value);
      this.#player.muted = false;
    });
    section.addEventListener('keydown', (event) => this.#onKey(event));
    scrubber.addEventListener('pointerdown', (event) => {
      scrubber.setPointerCapture(event.pointerId);
      this.#seekToPointer(event);
    });
    scrubber.addEventListener('pointermove', (event) => {
      if (scrubber.hasPointerCapture(event.pointerId)) this.#seekToPointer(event);
    });
    for (const type of ['play', 'pause', 'playing', 'waiting', 'ended', 'seeking', 'seeked', 'canplay', 'emptied']) {
      this.#audio.addEventListener(type, () => this.#showState());
    }
    for (const type of ['timeupdate', 'seeking', 'durationchange', 'progress']) {
      this.#audio.addEventListener(type, () => this.#showTime());
    }
    this.#audio.addEventListener('volumechange', () => this.#showVolume());
  }

  #toggle() {
    if (this.#player.paused) this.#player.play().catch(() => {});
    else this.#player.pause();
  }

  #seekToPointer({ clientX }) {
    const { left, width } = this.#part.scrubber.getBoundingClientRect();
    const { duration } = this.#player;
    if (Number.isFinite(duration) && width) {
      this.#player.currentTime = Math.min(Math.max((clientX - left) / width, 0), 1) * duration;
      this.#showTime();
    }
  }

  #onKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const player = this.#player;
    const isVolume = event.target === this.#part.volume;
    if (isVolume && event.key.startsWith('Arrow')) return; // the range input has its own arrows
    const louder = (by) => { player.volume = Math.min(1, Math.max(0, player.volume + by)); };
    const actions = {
      ' ': () => this.#toggle(),
      k: () => this.#toggle(),
      m: () => { player.muted = !player.muted; },
      ArrowLeft: () => { player.currentTime -= STEP_S; },
      ArrowRight: () => { player.currentTime += STEP_S; },
      ArrowUp: () => louder(STEP_VOLUME),
      ArrowDown: () => louder(-STEP_VOLUME),
      Home: () => { player.currentTime = 0; },
      End: () => { player.currentTime = player.duration; },
      i: () => this.#panel.toggle(),
      n: () => player.next(),
      p: () => player.previous(),
      s: () => { player.shuffle = !player.shuffle; },
      r: () => this.#nextRepeat(),
    };
    const action = actions[event.key];
    // Space and Enter press buttons themselves; only the big one is what the space bar means.
    const { target } = event;
    const isOtherButton = target instanceof HTMLButtonElement && target !== this.#part.play;
    if (!action || (event.key === ' ' && isOtherButton) || this.#part.panel.contains(target)) return;
    event.preventDefault();
    action();
  }

  #nextRepeat() {
    const ways = ['off', 'all', 'one'];
    this.#player.repeat = ways[(ways.indexOf(this.#player.repeat) + 1) % ways.length];
  }

  /** @param {{length: number, isShuffled: boolean, repeat: string, hasNext: boolean, hasPrevious: boolean}} order */
  queue({ length, isShuffled, repeat: what, hasNext }) {
    const { queue, shuffle, next, repeat } = this.#part;
    queue.hidden = length < 2;
    shuffle.setAttribute('aria-pressed', String(isShuffled));
    repeat.dataset.repeat = what;
    repeat.setAttribute('aria-label', `Repeat: ${{ off: 'off', one: 'this track', all: 'all' }[what]}`);
    next.disabled = !hasNext;
  }

  #showState() {
    const { section, play } = this.#part;
    const { paused, readyState, ended, seeking } = this.#audio;
    const isWaiting = !paused && !ended && (readyState < 3 || seeking);
    section.dataset.state = paused ? 'paused' : 'playing';
    section.toggleAttribute('data-waiting', isWaiting);
    play.setAttribute('aria-label', paused ? 'Play' : 'Pause');
    play.title = paused ? 'Play (space)' : 'Pause (space)';
    this.#waveform.draw();
  }

  #showTime() {
    const { now, length, scrubber } = this.#part;
    const { currentTime, duration } = this.#player;
    now.textContent = clock(currentTime);
    length.textContent = Number.isFinite(duration) ? clock(duration) : '';
    scrubber.setAttribute('aria-valuenow', String(Math.floor(currentTime)));
    scrubber.setAttribute('aria-valuemax', String(Number.isFinite(duration) ? Math.floor(duration) : 0));
    scrubber.setAttribute('aria-valuetext', `${clock(currentTime)} of ${clock(duration)}`);
    this.#waveform.draw();
  }

  #showVolume() {
    const { mute, volume } = this.#part;
    const { muted, volume: asked } = this.#player; // the audio element's own is less while a preview ends
    const isSilent = muted || asked === 0;
    volume.value = String(muted ? 0 : asked);
    mute.setAttribute('aria-pressed', String(isSilent));
    mute.setAttribute('aria-label', isSilent ? 'Unmute' : 'Mute');
  }

  /** Nothing loads before it is pressed. */
  invite() {
    this.status('Nothing is loaded until you press play.');
  }

  starting() {
    this.#isFailed = false;
    this.#notice = '';
    this.#part.section.toggleAttribute('data-failed', false);
    this.#part.section.dataset.start = '';
    this.progress(0.05);
  }

  /** @param {number} done how much of Python is there, 0..1. */
  progress(done) {
    this.#part.section.style.setProperty('--done', String(done));
    if (!this.#isFailed && !this.#notice) this.#part.status.textContent = done < 1 ? 'Getting ready …' : '';
  }

  ready() {
    delete this.#part.section.dataset.start;
    if (!this.#isFailed && !this.#notice) this.#part.status.textContent = '';
  }

  /** @param {{title?: string, artist?: string, peaks?: Uint8Array}} track */
  describe(track) {
    this.#part.title.textContent = track.title || 'Untitled';
    this.#part.artist.textContent = track.artist || '';
    this.#part.section.setAttribute('aria-label', `Audio player: ${track.title || 'Untitled'}`);
    if (track.peaks) this.#waveform.peaks = track.peaks;
    this.#showTime();
  }

  /** @param {import('./digm-preview.js').PreviewState} state */
  preview({ preview, owned }) {
    const { preview: sign } = this.#part;
    sign.hidden = !preview && !owned;
    if (preview) sign.textContent = `${preview.ended ? 'Preview over' : 'Free preview'} · ${clock(preview.seconds)}`;
    else if (owned) sign.textContent = 'Yours';
    this.#waveform.end = preview?.seconds ?? Infinity;
  }

  /** @param {any} stats as Python reports them. */
  stats(stats) {
    this.#waveform.origins = stats.origins ?? [];
    this.#panel.stats(stats);
    const { peer, gateway, cache } = stats.bytes;
    const total = peer + gateway + cache;
    if (total && !this.#isFailed && !this.#notice) {
      const share = Math.round((100 * (peer + cache)) / total);
      const others = stats.peers === 1 ? '1 peer' : `${stats.peers} peers`;
      this.#part.status.textContent = `${others} · ${share} % from peers · ${(total / 1e6).toFixed(1)} MB`;
    }
    this.#waveform.draw();
  }

  /** @param {string} text stays until the next load. */
  status(text) {
    this.#notice = text;
    if (!this.#isFailed) this.#part.status.textContent = text;
  }

  /** @param {string} message */
  failed(message) {
    this.#isFailed = true;
    delete this.#part.section.dataset.start;
    this.#part.section.toggleAttribute('data-failed', true);
    this.#part.status.textContent = message;
    this.#showState();
  }

  clear() {
    this.#isFailed = false;
    this.#notice = '';
    this.#part.section.toggleAttribute('data-failed', false);
    this.#part.status.textContent = '';
    this.#waveform.origins = [];
    this.#panel.clear();
    this.#showState();
    this.#showTime();
  }
}
