// A track as a file: Python in the page opens the chunks with the key that was bought and writes what `digm fetch` writes,
// FLAC with tags and cover, MP3 and Opus as they are. Chunks come from what is kept here, else from the gateways.

import assets from './dist/assets.js';
import { cachedChunk } from './digm-cache.js';
import { Gateways } from './digm-gateways.js';
import { ownedKey } from './digm-owned.js';
import { startPython } from './digm-python.js';
import { KeepingError, fetchChunk, fetchManifest } from './music-keeping.js';

const TYPES = { flac: 'audio/flac', opus: 'audio/ogg', mp3: 'audio/mpeg', m4a: 'audio/mp4' };
const REVOKE_AFTER_MS = 60_000;

/** Bytes that grow, of which some are written again; the browser may put them on its disk meanwhile. */
class Parts {
  /** @type {Blob[]} */
  #parts = [];
  /** @type {[number, Uint8Array][]} */
  #patches = [];

  append(bytes) { this.#parts.push(new Blob([bytes])); }

  patch(at, bytes) { this.#patches.push([at, bytes]); }

  /** @param {string} type @returns {Blob} */
  whole(type) {
    let all = new Blob(this.#parts);
    for (const [at, bytes] of this.#patches) all = new Blob([all.slice(0, at), bytes, all.slice(at + bytes.length)]);
    return new Blob([all], { type });
  }
}

/**
 * Make the file and let the browser save it.
 * @param {any} details of the track, as the hub has them. @param {(done: number) => void} onProgress 0..1
 */
export async function saveTrack(details, onProgress) {
  const { track_root: track } = details;
  const owned = await ownedKey(track);
  if (!owned) throw new KeepingError('This browser does not have the key of this track.');
  const { signal } = new AbortController();
  const gateways = new Gateways(`/api/tracks/${track}`, signal);
  gateways.start(details.gateways);
  const [python, manifest] = await Promise.all([readyPython(), fetchManifest(track, gateways, signal)]);
  const parts = new Parts();
  let name;
  try {
    name = await python.save_track({
      track,
      manifest: manifest.buffer,
      owned,
      chunk: async (hash) => await cachedChunk(hash) ?? fetchChunk(hash, gateways, signal),
      cover: fetchCover,
      append: (bytes) => parts.append(bytes),
      patch: (at, bytes) => parts.patch(at, bytes),
      progress: onProgress,
    });
  } catch (error) {
    throw inWords(error);
  }
  offer(parts.whole(TYPES[name.slice(name.lastIndexOf('.') + 1)] ?? ''), name);
}

/** Python, with the modules that write files. */
async function readyPython() {
  const fetched = fetch(new URL(assets.saving, new URL('./dist/', import.meta.url)));
  fetched.catch(() => {});
  const python = await startPython();
  const answer = await fetched;
  if (!answer.ok) throw new KeepingError('A part of the page could not be fetched. Try again.');
  python.add_modules(new Uint8Array(await answer.arrayBuffer()));
  return python;
}

/** @returns {Promise<Uint8Array | null>} */
async function fetchCover(hash) {
  const answer = await fetch(`/covers/${hash}`).catch(() => null);
  return answer?.ok ? new Uint8Array(await answer.arrayBuffer()) : null;
}

/** What Python raised, as its own sentence: the last line of its words is `module.Class: sentence`. */
function inWords(error) {
  const [, sentence] = /(?:PeerFault|Unavailable|CallerFault|KeepingError): (.+)\s*$/.exec(error?.message ?? '') ?? [];
  return sentence ? new KeepingError(sentence) : error;
}

/** As if a link to the file had been pressed. */
function offer(blob, name) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), REVOKE_AFTER_MS);
}
