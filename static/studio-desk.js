// The desk: recordings dropped into the page, their tags and covers, and listening to them before anybody else does.

import { artwork, ask, clock, el, icon, write } from './studio-api.js';
import { Waveform } from './digm-waveform.js';

const AUDIO = /\.(flac|wave?|bwf|rf64|aif|aiff|aifc|m4a|m4b|mp4|mp3|aac|alac|opus|ogg|oga)$/i;
const PICTURE = /\.(jpe?g|png|webp|gif|bmp)$/i;
const PLAY = 'M8 5v14l11-7z';
const PAUSE = 'M7 5h4v14H7zM14 5h4v14h-4z';
const CROSS = 'M6 6l12 12M18 6L6 18';
const DETAILS = [['artist', 'Artist'], ['album', 'Album'], ['year', 'Year'], ['genre', 'Genre'], ['isrc', 'ISRC'], ['licence', 'Licence']];
const NUMBERS = new Set(['year', 'track_number']);
const at = (id) => document.getElementById(id);

/** What a text in a field is as a tag. */
const valueOf = (name, text) => {
  const said = text.trim();
  if (!said) return null;
  return NUMBERS.has(name) && /^\d+$/.test(said) ? Number(said) : said;
};

/** One sound at a time. */
class Listening {
  #audio = at('audio');
  /** @type {TrackView | null} */
  #view = null;

  constructor() {
    for (const kind of ['play', 'pause', 'ended', 'timeupdate', 'seeked', 'emptied']) {
      this.#audio.addEventListener(kind, () => this.#view?.draw());
    }
    this.#audio.addEventListener('error', () => this.#view?.complain());
  }

  isOn(view) { return this.#view === view && !this.#audio.paused; }

  time(view) { return this.#view === view ? this.#audio.currentTime : 0; }

  toggle(view) {
    if (this.#view === view && !this.#audio.paused) this.#audio.pause();
    else this.from(view, null);
  }

  /** @param {TrackView} view @param {number | null} seconds null: where it was */
  from(view, seconds) {
    const before = this.#view;
    if (before !== view) {
      this.#view = view;
      this.#audio.src = `/desk/${view.id}/audio`;
      before?.draw();
    }
    if (seconds !== null) this.#audio.currentTime = seconds;
    this.#audio.play().catch(() => {});
  }

  leave(view) {
    if (this.#view !== view) return;
    this.#audio.removeAttribute('src');
    this.#audio.load();
    this.#view = null;
  }
}

/** One recording, as it stands in the list. */
class TrackView {
  #listening;
  #say;
  #track;
  #fields = new Map();
  duration = 0;

  constructor(track, listening, say) {
    this.id = track.id;
    this.#listening = listening;
    this.#say = say;
    this.button = el('button', { type: 'button', class: 'play', 'aria-label': 'Listen', onclick: () => listening.toggle(this) }, icon(PLAY));
    this.canvas = el('canvas', {
      class: 'wave', role: 'slider', tabindex: '0', 'aria-label': 'Position',
      onclick: (event) => this.#seek(event), onkeydown: (event) => this.#keys(event),
    });
    this.length = el('span', { class: 'desk-length' });
    this.said = el('p', { class: 'desk-said' });
    this.bar = el('progress', { max: '1' });
    this.cover = el('button', { type: 'button', class: 'desk-cover', title: 'Another cover', onclick: () => this.#pickCover() });
    this.off = el('button', {
      type: 'button', class: 'icon-button', 'aria-label': 'Take it off the desk', title: 'Take it off the desk',
      onclick: () => ask('DELETE', `/api/desk/${this.id}`).catch((fault) => say(fault.message)),
    }, icon(CROSS, 'icon line'));
    const details = el('div', { class: 'fields three' }, ...DETAILS.map(([name, words]) => el('label', {}, el('span', { text: words }), this.#field(name))));
    this.element = el('li', { class: 'desk-track card' },
      this.cover,
      el('div', { class: 'desk-words' },
        el('div', { class: 'desk-line' }, this.#field('track_number', 'No.'), this.#field('title', 'Title'), this.length, this.off),
        el('div', { class: 'desk-sound' }, this.button, this.canvas, this.bar),
        this.said,
        el('details', {}, el('summary', { text: 'More about it' }), details)));
    this.waveform = new Waveform(this.canvas, this);
  }

  get currentTime() { return this.#listening.time(this); }

  #field(name, words) {
    const field = el('input', {
      class: `tag-${name}`, dir: 'auto', maxlength: 500, autocomplete: 'off', placeholder: words ?? '', 'aria-label': words ?? null,
      inputmode: NUMBERS.has(name) ? 'numeric' : null, onchange: () => this.tell({ [name]: valueOf(name, field.value) }),
    });
    this.#fields.set(name, field);
    return field;
  }

  /** @param {Record<string, string | number | null>} words */
  tell(words) {
    return ask('PATCH', `/api/desk/${this.id}`, words).then(() => this.#say('')).catch((fault) => this.#say(fault.message));
  }

  #pickCover() {
    pickPicture((file) => ask('PUT', `/api/desk/${this.id}/cover?name=${encodeURIComponent(file.name)}`, file).catch((fault) => this.#say(fault.message)));
  }

  #seek(event) {
    if (!this.duration || !this.#track.can_be_heard) return;
    this.#listening.from(this, (event.offsetX / this.canvas.clientWidth) * this.duration);
  }

  #keys(event) {
    const step = { ArrowLeft: -5, ArrowRight: 5 }[event.key];
    if (step) this.#listening.from(this, Math.max(0, Math.min(this.duration, this.currentTime + step)));
    else if (event.key === ' ' || event.key === 'Enter') this.#listening.toggle(this);
    else return;
    event.preventDefault();
  }

  complain() { write(this.said, 'This browser cannot play that kind of file before it is published; listeners will hear it.'); }

  draw() {
    const isOn = this.#listening.isOn(this);
    this.button.firstChild.firstChild.setAttribute('d', isOn ? PAUSE : PLAY);
    this.button.setAttribute('aria-label', isOn ? 'Pause' : 'Listen');
    const now = this.currentTime;
    write(this.length, now ? `${clock(now)} / ${clock(this.duration)}` : clock(this.duration));
    for (const [name, value] of [['min', 0], ['max', Math.round(this.duration)], ['now', Math.round(now)]]) this.canvas.setAttribute(`aria-value${name}`, value);
    this.canvas.setAttribute('aria-valuetext', `${clock(now)} of ${clock(this.duration)}`);
    this.waveform.draw();
  }

  show(track) {
    const isNew = this.#track?.state !== track.state;
    const cover = this.#track?.cover;
    this.#track = track;
    this.element.dataset.state = track.state;
    for (const [name, field] of this.#fields) {
      const text = String(track.tags[name] ?? '');
      if (document.activeElement !== field && field.value !== text) field.value = text;
      field.disabled = track.state !== 'ready';
    }
    const isReady = track.state === 'ready';
    this.bar.hidden = isReady || track.state === 'refused';
    this.canvas.hidden = !isReady;
    this.button.disabled = !track.can_be_heard || track.state === 'receiving' || track.state === 'refused';
    if (track.done) this.bar.value = track.done; else this.bar.removeAttribute('value');
    if (!isReady && track.state !== 'refused') this.#fields.get('title').value = track.name;
    if (isNew || cover !== track.cover) this.cover.replaceChildren(artwork(track.cover, track.tags.title || track.name));
    if (!isNew) return;
    if (isReady) {
      this.duration = track.duration_s;
      this.waveform.origins = [[0, track.duration_s, 'peer']];
      this.waveform.peaks = Uint8Array.from(atob(track.peaks), (letter) => letter.charCodeAt(0));
      this.draw();
    }
    write(this.said, words(track));
  }

  leave() {
    this.#listening.leave(this);
    this.element.remove();
  }
}

/** @param {any} track @returns {string} */
function words(track) {
  if (track.state === 'receiving') return 'coming in';
  if (track.state === 'waiting') return 'waits to be read';
  if (track.state === 'reading') return 'being read, as publishing does';
  if (track.state === 'refused') return track.fault;
  const loud = track.loudness_lufs === null ? 'silent' : `${track.loudness_lufs.toFixed(1)} LUFS`;
  const before = track.published ? [`Published already, as “${track.published.title}”: that stays as it is; only its price, shares and copies can be changed from here.`] : [];
  return [...before, `${track.codec.toUpperCase()}, ${(track.size / 1e6).toFixed(1)} MB, ${loud}.`, ...track.notes].join(' ');
}

/** @param {(file: File) => void} then */
function pickPicture(then) {
  const field = at('cover-file');
  field.value = '';
  field.onchange = () => { if (field.files[0]) then(field.files[0]); };
  field.click();
}

/** All files in what was dropped, folders and all. @param {DataTransfer} dropped @returns {Promise<File[]>} */
async function filesOf(dropped) {
  const entries = [...dropped.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...dropped.files];
  const found = [];
  const walk = async (entry) => {
    if (entry.isFile) {
      found.push(await new Promise((resolve, reject) => { entry.file(resolve, reject); }));
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((resolve, reject) => { reader.readEntries(resolve, reject); });
      if (!some.length) return;
      for (const one of some) await walk(one);
    }
  };
  for (const entry of entries) await walk(entry);
  return found;
}

export class Desk {
  #say;
  #listening = new Listening();
  /** @type {Map<string, TrackView>} */
  #views = new Map();
  /** @type {any[]} */
  tracks = [];

  /** @param {(sentence: string) => void} say */
  constructor(say) {
    this.#say = say;
    this.#wireDrop();
    at('cover').onclick = () => pickPicture((file) => this.#cover(file, false));
    at('clear').onclick = () => ask('DELETE', '/api/desk').catch((fault) => say(fault.message));
    for (const name of ['album', 'artist', 'year', 'genre']) {
      at(`all-${name}`).onchange = (event) => {
        for (const view of this.#views.values()) view.tell({ [name]: valueOf(name, event.target.value) });
      };
    }
  }

  #wireDrop() {
    const drop = document.body;
    let depth = 0;
    const lit = () => drop.classList.toggle('is-over', depth > 0);
    drop.addEventListener('dragenter', (event) => { event.preventDefault(); depth += 1; lit(); });
    drop.addEventListener('dragleave', () => { depth -= 1; lit(); });
    drop.addEventListener('dragover', (event) => event.preventDefault());
    drop.addEventListener('drop', async (event) => {
      event.preventDefault();
      depth = 0;
      lit();
      await this.take(await filesOf(event.dataTransfer));
    });
    for (const [button, field] of [['pick-files', 'files'], ['pick-folder', 'folder'], ['more', 'files']]) {
      at(button).onclick = () => at(field).click();
    }
    for (const field of [at('files'), at('folder')]) {
      field.onchange = async () => {
        const files = [...field.files];
        field.value = '';
        await this.take(files);
      };
    }
  }

  /** @param {File[]} files */
  async take(files) {
    const shown = files.filter((file) => !file.name.startsWith('.'));
    const audio = shown.filter((file) => AUDIO.test(file.name));
    audio.sort((one, other) => (one.webkitRelativePath || one.name).localeCompare(other.webkitRelativePath || other.name, undefined, { numeric: true }));
    const pictures = shown.filter((file) => PICTURE.test(file.name));
    const left = shown.filter((file) => !AUDIO.test(file.name) && !PICTURE.test(file.name));
    this.#say(left.length ? `Left out, because it is neither audio nor a picture: ${left.map((file) => file.name).join(', ')}.` : '');
    try {
      for (const file of audio) await ask('PUT', `/api/desk/files?name=${encodeURIComponent(file.name)}`, file);
      const picture = pictures.find((file) => /^(cover|folder|front)\./i.test(file.name)) ?? pictures[0];
      if (picture) await this.#cover(picture, audio.length > 0);
    } catch (fault) {
      this.#say(fault.message);
    }
  }

  #cover(file, onlyMissing) {
    const missing = onlyMissing ? '&missing' : '';
    return ask('PUT', `/api/desk/cover?name=${encodeURIComponent(file.name)}${missing}`, file).catch((fault) => this.#say(fault.message));
  }

  /** @param {{tracks: any[], journey: any}} state */
  show({ tracks, journey }) {
    this.tracks = tracks;
    const isBusy = journey?.state === 'running';
    at('drop').hidden = tracks.length > 0 || isBusy;
    at('release').hidden = !tracks.length || isBusy;
    const known = new Set(tracks.map((track) => track.id));
    for (const [id, view] of this.#views) {
      if (!known.has(id)) {
        view.leave();
        this.#views.delete(id);
      }
    }
    for (const [place, track] of tracks.entries()) {
      const view = this.#views.get(track.id) ?? new TrackView(track, this.#listening, this.#say);
      this.#views.set(track.id, view);
      const list = at('tracks');
      if (list.children[place] !== view.element) list.insertBefore(view.element, list.children[place] ?? null);
      view.show(track);
    }
    this.#showCommon(tracks);
  }

  #showCommon(tracks) {
    for (const name of ['album', 'artist', 'year', 'genre']) {
      const values = new Set(tracks.map((track) => track.tags[name] ?? ''));
      const field = at(`all-${name}`);
      const text = values.size === 1 ? String([...values][0]) : '';
      if (document.activeElement !== field && field.value !== text) field.value = text;
      field.placeholder = values.size > 1 ? 'various' : '';
    }
    const first = tracks.find((track) => track.cover) ?? tracks[0];
    const shown = first ? `${first.cover} ${first.tags.title}` : '';
    const cover = at('cover');
    if (cover.dataset.shown !== shown) {
      cover.dataset.shown = shown;
      cover.replaceChildren(artwork(first?.cover, first?.tags.title || first?.name), el('span', { class: 'cover-words', text: first?.cover ? 'Change the cover' : 'Add a cover' }));
    }
  }
}
