// Keeping a track on this device: its manifest, its cover, all chunks of its best rendition, and the files of the page
// that plays it. Everything is checked before it counts as kept; what is here already is not fetched again; broken off
// it goes on where it was. Keys are not kept here: who owns the track has them wrapped (static/digm-account.js).

import { cachedChunk, keptTracks, noteKept, pinChunk, unpin } from './digm-cache.js';
import { sha256, toHex } from './digm-crypto.js';
import { Gateways } from './digm-gateways.js';
import { chooseRendition } from './digm-link-speed.js';

const WORKER = '/music-worker.js';
const SHELL = 'digm-shell';
const KEPT = 'digm-kept';
const AT_ONCE = 3; // chunks under way

/** What can be said to the person. */
export class KeepingError extends Error {}

/** Whether this browser can keep a page for later: not in private windows of some, nor without TLS. */
export const canKeep = () => 'serviceWorker' in navigator && 'caches' in globalThis;

/** @param {string} track */
export const isKept = (track) => track in keptTracks();

/** Start the worker, and let it have the page's files as they are now. */
export async function keepPage() {
  if (!canKeep()) throw new KeepingError('This browser keeps no pages here, so nothing plays without a network.');
  await navigator.serviceWorker.register(WORKER, { scope: '/music' });
  await navigator.serviceWorker.ready;
  const cache = await caches.open(SHELL);
  const [known, wanted] = await Promise.all([cache.keys(), pageFiles()]);
  const before = new Set(known.map(({ url }) => new URL(url).pathname));
  const isHashed = (path) => /-[0-9a-f]{16}[./]/.test(path);
  await Promise.all([...wanted].map(async (path) => {
    if (before.has(path) && isHashed(path)) return;
    const answer = await fetch(path);
    if (!answer.ok) throw new KeepingError('A part of the player could not be fetched. Try again.');
    await cache.put(path, answer);
  }));
  // What an earlier player was made of.
  await Promise.all([...before].filter((path) => isHashed(path) && !wanted.has(path)).map((path) => cache.delete(path)));
}

/** @returns {Promise<Set<string>>} paths of what this page has loaded and will load. */
async function pageFiles() {
  await import('./music-saving.js'); // with all that it loads
  const assets = await (await fetch('/static/dist/assets.json')).json();
  const built = assets.files.filter((name) => !/\.(?:br|gz)$/.test(name)).map((name) => `/static/dist/${name}`);
  const loaded = performance.getEntriesByType('resource')
    .map(({ name }) => new URL(name))
    .filter(({ origin, pathname }) => origin === location.origin && pathname.startsWith('/static/'))
    .map(({ pathname }) => pathname);
  const modules = [...document.querySelectorAll('script[src], link[href^="/static/"]')]
    .map((element) => element.getAttribute('src') ?? element.getAttribute('href'));
  return new Set(['/music', ...built, ...loaded, ...modules]);
}

/**
 * Keep all of a track. What anybody sends is checked by its hash; the manifest is checked when it is played.
 * @param {any} details of the track, as the hub has them. @param {(done: number) => void} onProgress 0..1
 * @param {AbortSignal} signal
 */
export async function keepTrack(details, onProgress, signal) {
  const { track_root: track, cover_url: cover } = details;
  await keepPage();
  await navigator.storage?.persist?.().catch(() => {});
  const gateways = new Gateways(`/api/tracks/${track}`, signal);
  gateways.start(details.gateways);
  const manifest = await keepFacts(track, details, cover, gateways, signal);
  const number = chooseRendition(manifest.renditions, null);
  if (number < 0) throw new KeepingError('This browser plays none of the formats of this track.');
  const hashes = manifest.renditions[number].chunk_hashes;
  let next = 0;
  let done = 0;
  const work = async () => {
    while (next < hashes.length && !signal.aborted) {
      const hash = hashes[next++];
      await pinChunk(track, hash, await cachedChunk(hash) ?? await fetchChunk(hash, gateways, signal));
      done += 1;
      onProgress(done / hashes.length);
    }
  };
  try {
    await Promise.all(Array.from({ length: AT_ONCE }, work));
  } catch (error) {
    if (error?.name === 'QuotaExceededError') throw new KeepingError('There is no room for this track on this device.');
    throw error;
  }
  signal.throwIfAborted();
  noteKept(track, number);
}

const json = (text) => new Response(text, { headers: { 'content-type': 'application/json' } });

/** What the hub says of a track: its title is shown without a network, too. @param {any} details */
export async function keepDetails(details) {
  const cache = await caches.open(KEPT);
  await cache.put(`/api/tracks/${details.track_root}`, json(JSON.stringify(details)));
}

/** What hub and gateway say of the track, for the worker. @returns {Promise<any>} the manifest. */
async function keepFacts(track, details, cover, gateways, signal) {
  const manifest = await fetchManifest(track, gateways, signal);
  const cache = await caches.open(KEPT);
  const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(manifest);
  await cache.put(`/${track}/manifest.json`, json(text));
  await keepDetails(details);
  if (cover) {
    const answer = await fetch(cover, { signal }).catch(() => null);
    if (answer?.ok) await cache.put(new URL(cover).pathname, answer);
  }
  return JSON.parse(text);
}

/** @returns {Promise<Uint8Array>} the manifest's bytes, unchecked. */
export const fetchManifest = (track, gateways, signal) => fromGateways(gateways, `${track}/manifest.json`, signal);

/** One chunk from the gateways, its hash compared. */
export async function fetchChunk(hash, gateways, signal) {
  const isRight = async (data) => toHex(await sha256(data)) === hash;
  return fromGateways(gateways, hash, signal, isRight);
}

/** @returns {Promise<Uint8Array>} from the first gateway that has it right. */
async function fromGateways(gateways, path, signal, isRight = async () => true) {
  const attempt = gateways.attempt();
  do {
    try {
      const answer = await fetch(`${attempt.url}/${path}`, { signal });
      const data = answer.ok ? new Uint8Array(await answer.arrayBuffer()) : null;
      if (data && await isRight(data)) return data;
    } catch (error) {
      if (signal.aborted) throw error;
    }
  } while (await attempt.next());
  throw new KeepingError('Nobody has all of this track right now. Try again later: what came stays.');
}

/** It need not stay. @param {string} track */
export async function letGo(track) {
  await unpin(track);
  const cache = await caches.open(KEPT);
  await cache.delete(`/${track}/manifest.json`);
}
