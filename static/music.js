// The page of what a listener owns: the tracks whose keys this browser's account has, a player for all of them, and for
// each a way to keep it here for later and to save it as a file. The list is the browser's own; the hub is asked for
// titles and covers, and for keys that were bought on another device.

import { changes, list } from './digm-account.js';
import { keptTracks, pinnedBytes } from './digm-cache.js';
import { KeepingError, canKeep, isKept, keepDetails, keepPage, keepTrack, letGo } from './music-keeping.js';
import { fetchOwned } from './music-syncing.js';

performance.setResourceTimingBufferSize(5_000); // music-keeping.js reads there what the page is made of
const HUES = 12; // of covers that are none, as the hub's pages have them
const MIB = 2 ** 20;
const place = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** @typedef {{track: string, details: any, element: HTMLElement, keeping: AbortController | null}} Row */
/** @type {Map<string, Row>} in the order of the page. */
const rows = new Map();
/** @type {any} */
let player = null;

// -- the list

/** @type {Promise<void> | null} */
let showing = null;
let isStale = false;

/** Show what is owned now. One after the other: of two at once the older list could be shown last. */
function show() {
  isStale = true;
  showing ??= (async () => {
    while (isStale) {
      isStale = false;
      await showOnce();
    }
  })().finally(() => { showing = null; });
  return showing;
}

async function showOnce() {
  const owned = await list();
  const isNews = owned.length !== rows.size || owned.some(({ track }) => !rows.has(track));
  if (isNews) {
    const found = await Promise.all(owned.map(async ({ track }) => [track, await detailsOf(track)]));
    const element = place('tracks');
    for (const [track, details] of found) if (!rows.has(track)) rows.set(track, newRow(track, details));
    for (const track of rows.keys()) if (!owned.some((one) => one.track === track)) rows.delete(track);
    element.replaceChildren(...owned.map(({ track }) => rows.get(track)?.element).filter(Boolean));
    setPlayer();
  }
  place('empty').hidden = rows.size > 0;
  place('tracks').hidden = rows.size === 0;
  await showKept();
}

/** @returns {Promise<any>} null: nobody here knows the track now. */
async function detailsOf(track) {
  try {
    const answer = await fetch(`/api/tracks/${track}`);
    const details = answer.ok ? await answer.json() : null;
    if (details && canKeep()) await keepDetails(details);
    return details;
  } catch {
    return null;
  }
}

/** @returns {Row} */
function newRow(track, details) {
  const template = /** @type {HTMLTemplateElement} */ (place('row'));
  const element = /** @type {HTMLElement} */ (template.content.firstElementChild.cloneNode(true));
  const find = (name) => /** @type {any} */ (element.querySelector(`.${name}`));
  const row = { track, details, element, keeping: null };
  const title = details?.title ?? `Track ${track.slice(0, 8)}…`;
  element.dataset.track = track;
  find('mine-cover').append(coverOf(track, details));
  find('mine-title').textContent = title;
  find('mine-artist').textContent = details
    ? [details.artist ?? 'Unknown artist', details.album].filter(Boolean).join(' · ')
    : 'This hub does not have it now';
  find('mine-time').textContent = details ? clock(details.duration_s) : '';
  find('mine-play').setAttribute('aria-label', `Play ${title}`);
  find('mine-play').addEventListener('click', () => play(track));
  find('mine-keep').addEventListener('click', () => toggleKept(row));
  find('mine-save').addEventListener('click', () => save(row));
  find('mine-page').href = `/tracks/${track}`;
  find('mine-page').setAttribute('aria-label', `Page of ${title}`);
  return row;
}

function coverOf(track, details) {
  if (details?.cover_url) {
    const picture = new Image(600, 600);
    Object.assign(picture, { className: 'cover', alt: '', decoding: 'async', src: new URL(details.cover_url).pathname });
    return picture;
  }
  const none = document.createElement('span');
  none.className = `cover cover-none hue-${parseInt(track.slice(0, 8), 16) % HUES}`;
  none.textContent = (details?.title ?? '?').trim()[0]?.toUpperCase() ?? '?';
  none.setAttribute('aria-hidden', 'true');
  return none;
}

/** @param {number} seconds */
function clock(seconds) {
  const whole = Math.floor(seconds);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return `${h ? `${h}:${String(m).padStart(2, '0')}` : m}:${String(s).padStart(2, '0')}`;
}

// -- playing

const queue = () => [...place('tracks').children]
  .map((element) => /** @type {HTMLElement} */ (element).dataset.track ?? '')
  .filter((track) => rows.get(track)?.details && (navigator.onLine || isKept(track)));

/** One player for all of them; a list that changes while it plays is taken over when it stops. */
function setPlayer() {
  const tracks = queue().join(' ');
  if (!tracks || (player && (!player.paused || player.getAttribute('tracks') === tracks))) return;
  if (player) return player.setAttribute('tracks', tracks);
  player = document.createElement('digm-player');
  player.setAttribute('tracks', tracks);
  const first = rows.get(queue()[0])?.details;
  Object.assign(player.dataset, { title: first?.title ?? '', artist: first?.artist ?? '' });
  place('player').append(player);
  for (const type of ['trackchange', 'play', 'pause', 'ended']) player.addEventListener(type, showPlaying);
  for (const type of ['pause', 'ended']) player.addEventListener(type, setPlayer);
  customElements.whenDefined('digm-player').then(showPlaying);
}

function play(track) {
  const index = player.queue.findIndex((one) => one.track === track);
  if (index < 0) return;
  if (player.track !== track) player.playTrack(index).catch(() => {});
  else if (player.paused) player.play().catch(() => {});
  else player.pause();
}

function showPlaying() {
  for (const [track, { element }] of rows) {
    const isCurrent = player.track === track;
    element.toggleAttribute('data-playing', isCurrent && !player.paused);
    if (isCurrent) element.setAttribute('aria-current', 'true');
    else element.removeAttribute('aria-current');
  }
}

// -- keeping

async function showKept() {
  for (const row of rows.values()) showKeeping(row);
  const kept = [...rows.keys()].filter(isKept);
  const seconds = [...rows.values()].reduce((sum, { details }) => sum + (details?.duration_s ?? 0), 0);
  place('summary').textContent = rows.size
    ? `${rows.size} track${rows.size === 1 ? '' : 's'} · ${clock(seconds)}${summaryOf(kept.length)}`
    : 'What you own, on this device.';
  place('keep-all').hidden = !canKeep() || !navigator.onLine || kept.length === rows.size || rows.size < 2;
  const bytes = Object.values(await pinnedBytes()).reduce((sum, size) => sum + size, 0);
  const isLasting = await navigator.storage?.persisted?.().catch(() => false);
  place('storage').hidden = !kept.length;
  place('storage').textContent = `${Math.max(1, Math.round(bytes / MIB))} MB are kept on this device. ${isLasting
    ? 'They stay until you let them go.'
    : 'This browser may delete them when the disk gets full.'}`;
}

const summaryOf = (count) => {
  if (!count) return '';
  return count === rows.size ? ' · all of it plays offline' : ` · ${count} play${count === 1 ? 's' : ''} offline`;
};

/** @param {Row} row @param {number} [done] 0..1 */
function showKeeping(row, done) {
  const button = /** @type {any} */ (row.element.querySelector('.mine-keep'));
  const has = isKept(row.track);
  button.hidden = !canKeep();
  const isHere = row.details && (navigator.onLine || has);
  for (const other of row.element.querySelectorAll('button')) other.disabled = !isHere;
  button.setAttribute('aria-pressed', String(has));
  button.style.setProperty('--done', row.keeping ? String(done ?? 0) : '0');
  button.title = has ? 'It need not stay on this device' : 'Keep all of it on this device';
  button.querySelector('.mine-says').textContent = row.keeping
    ? `${Math.floor(100 * (done ?? 0))} %`
    : (has && 'Offline') || 'Keep offline';
}

/** @param {Row} row */
async function toggleKept(row) {
  if (row.keeping) return row.keeping.abort();
  if (isKept(row.track)) await letGo(row.track);
  else await keep(row);
  await showKept();
}

/** @param {Row} row */
async function keep(row) {
  row.keeping = new AbortController();
  showKeeping(row, 0);
  try {
    await keepTrack(row.details, (done) => showKeeping(row, done), row.keeping.signal);
    say('');
  } catch (error) {
    if (error?.name !== 'AbortError') complain(error);
  } finally {
    row.keeping = null;
    showKeeping(row);
  }
}

async function keepAll() {
  const button = /** @type {HTMLButtonElement} */ (place('keep-all'));
  button.disabled = true;
  for (const row of rows.values()) if (row.details && !isKept(row.track) && !row.keeping) await keep(row);
  button.disabled = false;
  await showKept();
}

// -- saving

/** @param {Row} row */
async function save(row) {
  const button = /** @type {any} */ (row.element.querySelector('.mine-save'));
  const says = button.querySelector('.mine-says');
  const before = says.textContent;
  button.disabled = true;
  const onProgress = (done) => {
    button.style.setProperty('--done', String(done));
    says.textContent = `${Math.floor(100 * done)} %`;
  };
  onProgress(0);
  try {
    const { saveTrack } = await import('./music-saving.js');
    await saveTrack(row.details, onProgress);
    say('');
  } catch (error) {
    complain(error);
  } finally {
    button.disabled = false;
    button.style.setProperty('--done', '0');
    says.textContent = before;
  }
}

// -- what is said

function say(sentence) {
  place('trouble').textContent = sentence;
  place('trouble').hidden = !sentence;
}

function complain(error) {
  if (!(error instanceof KeepingError)) console.error('DIGM:', error);
  say(error instanceof KeepingError ? error.message : 'That did not work. Check the connection and try again.');
}

async function showNetwork() {
  place('offline').hidden = navigator.onLine;
  await showKept();
  setPlayer();
}

place('keep-all').addEventListener('click', keepAll);
for (const type of ['online', 'offline']) addEventListener(type, showNetwork);
for (const type of ['owned', 'account']) changes.addEventListener(type, show);
await show();
await showNetwork();
fetchOwned().catch(() => {}); // what comes is told of by `changes`
changes.addEventListener('account', () => { fetchOwned().catch(() => {}); }); // a key from another device
// Whoever keeps music here wants the page of today's hub with it.
if (canKeep() && Object.keys(keptTracks()).length) keepPage().catch(() => {});
