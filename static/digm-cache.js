// What this browser keeps of tracks between visits: encrypted chunks under their SHA-256, in IndexedDB, bounded, the
// one that was not used longest goes first. Never a key, never a sound. Nothing that comes back from here is believed:
// its hash is checked again. Where the browser keeps nothing (opaque origins, private modes, full disks) every call
// answers as if the cache were empty, and nobody notices (docs/decisions/0014).
//
// What a listener keeps for good (static/music.js) is beside the bound and is not let go: a line with `pin`, the track
// that it is kept for, has no `used`, so that the index of uses does not know it.
//
// A chunk, its line in the index and the total change in one transaction. So several tabs may write at once, and a tab
// that is killed in the middle leaves what was there before.

import { sha256, toHex } from './digm-crypto.js';

const DATABASE = 'digm';
const SETTING = 'digm.cache_mib'; // in localStorage: the listener's own bound; 0 keeps nothing
const USED = 'digm.cache_used'; // in localStorage: something was kept here
const PINNED = 'digm.kept'; // in localStorage: {track: rendition} of what is kept for good, whole
const MIB = 2 ** 20;
const DEFAULT_LIMIT = 1024 * MIB;
const SHARE_OF_QUOTA = 0.1;
const OPEN_WITHIN_MS = 2_000; // some browsers never answer: then there is no cache
const MAX_WAITING = 64; // chunks on their way in; what comes on top of them is not kept
const TOUCH_AFTER_MS = 2_000;

/** @type {Promise<IDBDatabase | null> | null} */
let opening = null;
/** @type {Promise<unknown>} writes go one behind the other */
let writing = Promise.resolve();
let waiting = 0;
let siteLimit = Infinity;
/** @type {Promise<number> | null} */
let quota = null;
/** Read since the last time that it was noted. @type {Set<string>} */
const touched = new Set();
let lastUse = 0;

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
const answer = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

/** @param {IDBTransaction} transaction @returns {Promise<void>} */
const ended = (transaction) => new Promise((resolve, reject) => {
  transaction.oncomplete = () => resolve();
  transaction.onabort = () => reject(transaction.error ?? new DOMException('aborted', 'AbortError'));
});

/** Greater than any before it in this page: two uses in one millisecond keep their order. */
const useTime = () => { lastUse = Math.max(Date.now(), lastUse + 0.001); return lastUse; };

/** @returns {Promise<IDBDatabase | null>} null where nothing can be kept. */
function open() {
  opening ??= Promise.race([
    openDatabase().catch(() => null),
    new Promise((resolve) => { setTimeout(resolve, OPEN_WITHIN_MS, null); }),
  ]);
  return opening;
}

async function openDatabase() {
  const request = indexedDB.open(DATABASE, 1); // throws in an opaque origin
  request.onupgradeneeded = () => {
    const database = request.result;
    database.createObjectStore('chunks'); // hash -> Blob
    database.createObjectStore('index', { keyPath: 'hash' }).createIndex('used', 'used'); // {hash, size, used or pin}
    database.createObjectStore('totals'); // 'bytes' -> number, without what is pinned
  };
  const database = await answer(request);
  const forget = () => { database.close(); opening = null; };
  database.onversionchange = forget;
  database.onclose = forget;
  return database;
}

/** @returns {number} what the listener allows, in bytes. */
function listenersLimit() {
  try {
    const set = localStorage.getItem(SETTING);
    if (set !== null && set !== '' && Number(set) >= 0) return Number(set) * MIB;
  } catch { /* no localStorage here */ }
  return DEFAULT_LIMIT;
}

/** @returns {Promise<number>} bytes that may be kept here. */
async function limit() {
  quota ??= Promise.resolve(navigator.storage?.estimate?.()).then((found) => found?.quota ?? Infinity, () => Infinity);
  return Math.min(listenersLimit(), siteLimit, Math.floor(SHARE_OF_QUOTA * await quota));
}

/**
 * A site keeps less than the listener allows, never more.
 * @param {number} mib 0 keeps nothing.
 */
export function limitCache(mib) {
  if (mib >= 0) siteLimit = mib * MIB;
}

/**
 * The listener's own bound, for all pages of this origin.
 * @param {number | null} mib null: back to the default.
 */
export async function setCacheLimit(mib) {
  note(SETTING, mib === null ? null : String(mib));
  try {
    const database = await open();
    if (database) await shrink(database, await limit());
  } catch { /* nothing can be kept here, so nothing has to go */ }
}

/** @param {string} name @param {string | null} value null: nothing */
function note(name, value) {
  try {
    if (value === null) localStorage.removeItem(name);
    else localStorage.setItem(name, value);
  } catch { /* no localStorage here: it holds for nobody */ }
}

/** Whether anything can be kept already. Known at once, while opening an empty database takes a while. */
export function mayHold() {
  try {
    return localStorage.getItem(USED) !== null;
  } catch {
    return false; // an opaque origin keeps nothing
  }
}

/**
 * A chunk that was kept, if it still is what its name says.
 * @param {string} hash 64 hex digits.
 * @returns {Promise<Uint8Array | null>}
 */
export async function cachedChunk(hash) {
  try {
    const database = await open();
    const blob = database && await answer(database.transaction('chunks').objectStore('chunks').get(hash));
    if (!blob) return null;
    const data = new Uint8Array(await blob.arrayBuffer());
    if (toHex(await sha256(data)) === hash) {
      touch(hash);
      return data;
    }
  } catch { /* a file that is gone or cannot be read is as good as a wrong one */ }
  await dropChunk(hash);
  return null;
}

/**
 * Which of these are kept. Cheap: no chunk is read.
 * @param {string[]} hashes
 * @returns {Promise<boolean[]>}
 */
export async function heldChunks(hashes) {
  try {
    const database = await open();
    if (!database) return hashes.map(() => false);
    const isAnyHeld = await limit() > 0; // where nothing may be kept, what is pinned still is
    const lines = await answer(database.transaction('index').objectStore('index')[isAnyHeld ? 'getAllKeys' : 'getAll']());
    const held = new Set(isAnyHeld ? lines : lines.filter(({ pin }) => pin).map(({ hash }) => hash));
    return hashes.map((hash) => held.has(hash));
  } catch {
    return hashes.map(() => false);
  }
}

/**
 * Keep a chunk whose hash was checked.
 * @param {string} hash @param {Uint8Array} data
 * @returns {Promise<{isKept: boolean, evicted: string[]}>} and what had to go for it.
 */
export function keepChunk(hash, data) {
  if (waiting >= MAX_WAITING) return Promise.resolve({ isKept: false, evicted: [] });
  waiting += 1;
  const blob = new Blob([data]); // a copy: what happens to `data` later does not matter
  const kept = writing.then(() => write(hash, blob)).finally(() => { waiting -= 1; });
  writing = kept;
  return kept;
}

async function write(hash, blob) {
  const nothing = { isKept: false, evicted: [] };
  const database = await open();
  const most = await limit();
  if (!database || blob.size > most) return nothing;
  try {
    return await put(database, hash, blob, most);
  } catch (error) {
    if (error?.name !== 'QuotaExceededError') return nothing;
  }
  try { // less room than promised: be content with half of what is kept, once
    const evicted = await shrink(database, await total(database) / 2);
    const second = await put(database, hash, blob, most);
    return { isKept: second.isKept, evicted: [...evicted, ...second.evicted] };
  } catch {
    return nothing;
  }
}

async function put(database, hash, blob, most, pin = '') {
  const transaction = database.transaction(['chunks', 'index', 'totals'], 'readwrite');
  const done = ended(transaction);
  done.catch(() => {});
  const [chunks, index, totals] = ['chunks', 'index', 'totals'].map((name) => transaction.objectStore(name));
  const [known, bytes] = await Promise.all([answer(index.get(hash)), answer(totals.get('bytes'))]);
  const isPinned = pin || known?.pin;
  index.put({ hash, size: blob.size, ...(isPinned ? { pin: isPinned } : { used: useTime() }) });
  let evicted = [];
  if (!known) chunks.put(blob, hash);
  const before = (known && !known.pin ? -blob.size : 0) + (bytes ?? 0);
  if (isPinned) totals.put(before, 'bytes');
  else if (!known) evicted = await makeRoom(transaction, before + blob.size, most, hash);
  await done;
  note(USED, '1');
  return { isKept: true, evicted };
}

/** Inside a transaction: let the longest unused go until what is left fits. @returns {Promise<string[]>} what went. */
async function makeRoom(transaction, bytes, most, kept = '') {
  const evicted = [];
  const chunks = transaction.objectStore('chunks');
  let left = bytes;
  if (left > most) {
    await new Promise((resolve, reject) => {
      const request = transaction.objectStore('index').index('used').openCursor();
      request.onerror = () => reject(request.error);
      request.onsuccess = () => {
        const cursor = request.result;
        if (!cursor || left <= most) return resolve(null);
        const { hash, size } = cursor.value;
        if (hash !== kept) {
          chunks.delete(hash);
          cursor.delete();
          left -= size;
          evicted.push(hash);
        }
        return cursor.continue();
      };
    });
  }
  transaction.objectStore('totals').put(left, 'bytes');
  return evicted;
}

/** @param {IDBDatabase} database @param {number} most bytes to leave. */
async function shrink(database, most) {
  const transaction = database.transaction(['chunks', 'index', 'totals'], 'readwrite');
  const done = ended(transaction);
  done.catch(() => {});
  const bytes = await answer(transaction.objectStore('totals').get('bytes'));
  const evicted = await makeRoom(transaction, bytes ?? 0, most);
  await done;
  return evicted;
}

const total = async (database) => await answer(database.transaction('totals').objectStore('totals').get('bytes')) ?? 0;

/** One chunk goes: it is not what its name says. @param {string} hash */
async function dropChunk(hash) {
  try {
    const database = await open();
    if (!database) return;
    const transaction = database.transaction(['chunks', 'index', 'totals'], 'readwrite');
    const done = ended(transaction);
    done.catch(() => {});
    const [index, totals] = [transaction.objectStore('index'), transaction.objectStore('totals')];
    const [known, bytes] = await Promise.all([answer(index.get(hash)), answer(totals.get('bytes'))]);
    if (known && !known.pin) totals.put(Math.max(0, bytes - known.size), 'bytes');
    index.delete(hash);
    transaction.objectStore('chunks').delete(hash);
    await done;
  } catch { /* it is refused again next time */ }
}

/** Note a use, soon and together with others: reading must not wait for writing. */
function touch(hash) {
  if (!touched.size) setTimeout(noteUses, TOUCH_AFTER_MS);
  touched.add(hash);
}

async function noteUses() {
  const hashes = [...touched];
  touched.clear();
  try {
    const database = await open();
    if (!database) return;
    const index = database.transaction('index', 'readwrite').objectStore('index');
    for (const hash of hashes) {
      const request = index.get(hash);
      request.onsuccess = () => { if (request.result && !request.result.pin) index.put({ ...request.result, used: useTime() }); };
    }
  } catch { /* its place in the order stays */ }
}

/** @returns {Promise<{bytes: number, limit: number, isPersistent: boolean}>} what is kept here, of all tracks. */
export async function cacheState() {
  const most = await limit();
  try {
    const database = await open();
    if (database) return { bytes: await total(database), limit: most, isPersistent: most > 0 };
  } catch { /* as if there were none */ }
  return { bytes: 0, limit: 0, isPersistent: false };
}

// -- for good

/** @returns {Record<string, number>} track -> the rendition that is kept of it, whole. Known at once. */
export function keptTracks() {
  try {
    return JSON.parse(localStorage.getItem(PINNED) ?? '{}') ?? {};
  } catch {
    return {}; // an opaque origin keeps nothing
  }
}

/** @param {string} track @param {number | null} rendition all of it is pinned; null: it is not any more. */
export function noteKept(track, rendition) {
  const { [track]: _, ...others } = keptTracks();
  note(PINNED, JSON.stringify(rendition === null ? others : { ...others, [track]: rendition }));
}

/**
 * Keep a chunk whose hash was checked until `unpin`.
 * @param {string} track @param {string} hash @param {Uint8Array} data
 * @returns {Promise<boolean>} @throws QuotaExceededError
 */
export function pinChunk(track, hash, data) {
  const blob = new Blob([data]);
  const pinned = writing.then(async () => {
    const database = await open();
    if (database) await put(database, hash, blob, Infinity, track);
    return Boolean(database);
  });
  writing = pinned.catch(() => {});
  return pinned;
}

/** What is pinned for a track is like all else again. @param {string} track */
export function unpin(track) {
  noteKept(track, null);
  const done = writing.then(async () => {
    const database = await open();
    if (!database) return;
    const transaction = database.transaction(['chunks', 'index', 'totals'], 'readwrite');
    const all = ended(transaction);
    const [index, totals] = [transaction.objectStore('index'), transaction.objectStore('totals')];
    const lines = (await answer(index.getAll())).filter(({ pin }) => pin === track);
    let bytes = await answer(totals.get('bytes')) ?? 0;
    for (const { hash, size } of lines) {
      index.put({ hash, size, used: useTime() });
      bytes += size;
    }
    totals.put(bytes, 'bytes');
    await all;
    await shrink(database, await limit());
  });
  writing = done.catch(() => {});
  return done;
}

/** @returns {Promise<Record<string, number>>} track -> bytes that are pinned for it. */
export async function pinnedBytes() {
  const bytes = {};
  try {
    const database = await open();
    const lines = database ? await answer(database.transaction('index').objectStore('index').getAll()) : [];
    for (const { pin, size } of lines) if (pin) bytes[pin] = (bytes[pin] ?? 0) + size;
  } catch { /* as if there were none */ }
  return bytes;
}

/** Forget everything that DIGM keeps on this device for this site; what is in memory goes with its page. */
export async function forgetEverything() {
  await writing;
  try {
    const database = await open();
    if (!database) return;
    const transaction = database.transaction(['chunks', 'index', 'totals'], 'readwrite');
    for (const name of ['chunks', 'index', 'totals']) transaction.objectStore(name).clear();
    await ended(transaction);
    note(USED, null);
    note(PINNED, null);
    await globalThis.caches?.delete('digm-kept');
  } catch { /* there was nothing */ }
}
