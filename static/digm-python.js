// Starts Python in the page: once, shared by every player on it.
// The fast path restores the interpreter's memory as it was when everything had been imported; where that does
// not work (another build, a browser that refuses it), the same modules are loaded from a zip of byte code.

import assets from './dist/assets.js';
import { cachedChunk, heldChunks, keepChunk } from './digm-cache.js';
import { openFrames } from './digm-crypto.js';
import { fetchFrames } from './digm-frames.js';

const DIST = new URL('./dist/', import.meta.url);
const LOADER = new URL(assets.pyodide, DIST);
// Everything is imported in the snapshot, so it needs no standard library: this is a zip without entries.
const EMPTY_ZIP = 'data:application/zip;base64,UEsFBgAAAAAAAAAAAAAAAAAAAAAAAA==';
const NO_PACKAGES = {
  info: { abi_version: '2026_0', arch: 'wasm32', platform: 'emscripten', version: '314.0.7', python: '3.14.0' },
  packages: {},
};

/**
 * @typedef {object} Boot module `web.boot`, as a proxy.
 * @property {(session: object) => any} open_player
 */

// One Python for a page, even when this code is on it twice: as a module, and in the player's one file.
const SHARED = Symbol.for(`digm python ${DIST.href}`);
/** @type {{starting: Promise<Boot> | null, start: {path: string, began_ms: number, ready_ms: number}}} */
const shared = globalThis[SHARED] ??= { starting: null, start: { path: '', began_ms: 0, ready_ms: 0 } };

/** How Python came up, for `stats` and tests: "snapshot" or "bundle", and when. */
export const pythonStart = shared.start;

// Python is eight megabytes to fetch and unpack, and waking it keeps the page's only thread busy for 0.3 s: the first
// frames travel alone, and the first sound goes first, if they come this soon.
const FRAMES_PATIENCE_MS = 4000;
const SOUND_PATIENCE_MS = 800;
const within = (promise, ms) => Promise.race([promise, new Promise((resolve) => { setTimeout(resolve, ms); })]);

/**
 * Start Python, or share the one that is starting.
 * @param {(done: number) => void} [onProgress] told 0..1 as the parts arrive.
 * @param {{frames?: Promise<any>, sound?: Promise<any>}} [first] what to let pass before anything is fetched: the first
 *   frames, the first sound.
 * @returns {Promise<Boot>}
 */
export function startPython(onProgress = () => {}, first = {}) {
  shared.starting ??= start(onProgress, first).catch((error) => {
    shared.starting = null; // the next press of play tries again
    throw error;
  });
  return shared.starting;
}

async function start(onProgress, { frames = Promise.resolve(), sound = Promise.resolve() }) {
  await within(frames, FRAMES_PATIENCE_MS);
  await within(sound, SOUND_PATIENCE_MS);
  pythonStart.began_ms = performance.now();
  const steps = 4;
  let done = 0;
  const step = (value) => {
    done += 1;
    onProgress(done / steps);
    return value;
  };
  const memory = fetchSnapshot();
  memory.then(step, () => {});
  // Named here so that all of them travel at once; the loader asks for the same addresses again.
  const machine = import(new URL('pyodide.asm.mjs', LOADER).href).then(step);
  const { loadPyodide } = step(await import(new URL('pyodide.mjs', LOADER).href));
  const createPyodideModule = (await machine).default;
  const common = { indexURL: LOADER.href, lockFileContents: NO_PACKAGES, createPyodideModule };
  await memory.catch(() => {});
  let pyodide;
  try {
    pyodide = await loadPyodide({ ...common, stdLibURL: EMPTY_ZIP, _loadSnapshot: memory });
    pythonStart.path = 'snapshot';
  } catch (error) {
    console.warn('DIGM: the memory snapshot did not load, using the bundle instead.', error);
    pyodide = await loadPyodide({ ...common, stdLibURL: new URL(assets.bundle, DIST).href });
    pythonStart.path = 'bundle';
  }
  pyodide.registerJsModule('digm_page', { cachedChunk, fetchFrames, heldChunks, keepChunk, openFrames });
  const boot = pyodide.pyimport('web.boot');
  // A snapshot restores the same random state for every visitor.
  boot.reseed(crypto.getRandomValues(new Uint8Array(32)));
  pythonStart.ready_ms = performance.now();
  onProgress(1);
  return boot;
}

/** @returns {Promise<ArrayBuffer>} */
async function fetchSnapshot() {
  const answer = await fetch(new URL(assets.snapshot, DIST), { priority: 'low' });
  if (!answer.ok) throw new Error(`snapshot: HTTP ${answer.status}`);
  const memory = await answer.arrayBuffer();
  if (memory.byteLength !== assets.snapshotBytes) throw new Error(`snapshot: ${memory.byteLength} bytes`);
  return memory;
}
