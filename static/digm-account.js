// Who this browser is to artists, and what it owns: an account on the chain, a listening key, wrapped track keys. The
// only module that touches the database `digm-account`.
//
// Everything comes from one seed of 32 bytes. It lies here encrypted under an AES key that WebCrypto does not give out,
// so that neither a copy of the profile's files read by another program, nor a look into the database, shows it. The
// listening key (X25519, or P-256 where the browser lacks it) is in WebCrypto and cannot leave it. Scripts of this
// origin can use both, and can open the seed: that is how a recovery copy is made. Code that does not come from this
// hub has no way in. What a recovery copy is: docs/decisions/0035.
//
// Where the browser keeps nothing (opaque origins, private modes) there is no account, and nobody is told.

import { concat, fromHex, sha256, toHex } from './digm-crypto.js';

const DATABASE = 'digm-account';
const OPEN_WITHIN_MS = 2_000; // some browsers never answer
const CURRENT = 'current';
const { subtle } = crypto;

export const X25519 = 1;
export const P256 = 2;

/** Fires `owned` ({trackRoot}) and `account`, also for what other tabs of this browser did. */
export const changes = new EventTarget();

const channel = openChannel();

function openChannel() {
  try {
    const opened = new BroadcastChannel(DATABASE);
    opened.onmessage = ({ data }) => fire(data);
    return opened;
  } catch {
    return null; // an opaque origin has no other tabs
  }
}

const fire = ({ type, detail }) => changes.dispatchEvent(new CustomEvent(type, { detail }));

function tell(type, detail = {}) {
  fire({ type, detail });
  channel?.postMessage({ type, detail });
}

// -- the database

/** @type {Promise<IDBDatabase | null> | null} */
let opening = null;

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
const answer = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

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
    request.result.createObjectStore('account'); // 'current' -> Kept
    request.result.createObjectStore('owned', { keyPath: 'track' });
    request.result.createObjectStore('waiting', { keyPath: 'item' }); // paid, no key yet
  };
  const database = await answer(request);
  const forget = () => { database.close(); opening = null; };
  database.onversionchange = forget;
  database.onclose = forget;
  return database;
}

/**
 * One transaction on one store.
 * @template T @param {string} store @param {IDBTransactionMode} mode @param {(store: IDBObjectStore) => Promise<T>} work
 * @returns {Promise<T | null>} null where nothing can be kept.
 */
async function within(store, mode, work) {
  const database = await open();
  if (!database) return null;
  const transaction = database.transaction(store, mode);
  const done = new Promise((resolve, reject) => {
    transaction.oncomplete = resolve;
    transaction.onabort = () => reject(transaction.error ?? new DOMException('aborted', 'AbortError'));
  });
  done.catch(() => {});
  const result = await work(transaction.objectStore(store));
  await done;
  return result;
}

// -- the keys

const PKCS8 = {
  [X25519]: '302e020100300506032b656e04220420',
  [P256]: '3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420',
};
const ALGORITHM = { [X25519]: { name: 'X25519' }, [P256]: { name: 'ECDH', namedCurve: 'P-256' } };
const P256_ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

const fromBase64url = (text) => (
  Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (letter) => letter.charCodeAt(0)));

/** @param {Uint8Array} seed @param {string} purpose @returns {Promise<Uint8Array>} 32 bytes. */
async function derived(seed, purpose) {
  const material = await subtle.importKey('raw', seed, 'HKDF', false, ['deriveBits']);
  const how = { name: 'HKDF', hash: 'SHA-256', salt: new Uint8Array(0), info: concat(purpose) };
  return new Uint8Array(await subtle.deriveBits(how, material, 256));
}

/** @returns {Promise<{listening: CryptoKeyPair, publicKey: Uint8Array}>} the private half is not extractable. */
async function importPair(suite, secret) {
  const algorithm = ALGORITHM[suite];
  const document = concat(fromHex(PKCS8[suite]), secret);
  const open = await subtle.importKey('pkcs8', document, algorithm, true, ['deriveBits']);
  const { x, y } = await subtle.exportKey('jwk', open);
  // On the chain a P-256 key is its x alone, with an even y: n - d has the same x and the other y.
  if (suite === P256 && fromBase64url(y)[31] % 2) {
    const other = P256_ORDER - BigInt(`0x${toHex(secret)}`);
    return importPair(suite, fromHex(other.toString(16).padStart(64, '0')));
  }
  const raw = suite === P256 ? concat(fromHex('04'), fromBase64url(x), fromBase64url(y)) : fromBase64url(x);
  const [privateKey, publicKey] = await Promise.all([
    subtle.importKey('pkcs8', document, algorithm, false, ['deriveBits']),
    subtle.importKey('raw', raw, algorithm, true, []),
  ]);
  return { listening: { privateKey, publicKey }, publicKey: raw };
}

async function listeningKeys(seed) {
  try {
    return { suite: X25519, ...await importPair(X25519, await derived(seed, 'digm/1 listening key')) };
  } catch {
    let secret = await derived(seed, 'digm/1 listening key P-256');
    while (BigInt(`0x${toHex(secret)}`) >= P256_ORDER) secret = await sha256(secret);
    return { suite: P256, ...await importPair(P256, secret) };
  }
}

async function chainSecret(seed) {
  const { keyFrom } = await import('./digm-eth.js');
  return keyFrom(await derived(seed, 'digm/1 account key'));
}

// -- the account

/**
 * @typedef {object} Account
 * @property {string} address who buys: the wallet's, while one is connected, else the page's own.
 * @property {'page' | 'wallet'} kind
 * @property {string | null} walletId which wallet it is.
 * @property {string} pageAddress of the key made in this page.
 * @property {CryptoKeyPair} listening keys of tracks are wrapped to it.
 * @property {Uint8Array} publicKey raw: 32 bytes, or 65 of P-256.
 * @property {number} suite X25519 or P256.
 * @property {boolean} isCopied a recovery copy was made, or this account came from one.
 */

/** @returns {Account | null} */
function shown(kept) {
  if (!kept) return null;
  const { wallet, walletId, pageAddress, listening, publicKey, suite, isCopied } = kept;
  const kind = wallet ? 'wallet' : 'page';
  return { address: wallet ?? pageAddress, kind, walletId, pageAddress, listening, publicKey, suite, isCopied };
}

/** @returns {Promise<Account | null>} null: nobody yet. */
export async function account() {
  return shown(await within('account', 'readonly', (store) => answer(store.get(CURRENT))));
}

/** Make one, unless there is one. @returns {Promise<Account>} @throws DOMException where nothing can be kept. */
export async function create() {
  return await account() ?? keepSeed(crypto.getRandomValues(new Uint8Array(32)), false);
}

/** @param {Uint8Array} seed @param {boolean} isReplacing @param {boolean} [isCopied] @returns {Promise<Account>} */
async function keepSeed(seed, isReplacing, isCopied = false) {
  const [keys, pageAddress, wrap] = await Promise.all([
    listeningKeys(seed),
    chainSecret(seed).then(async (secret) => (await import('./digm-eth.js')).addressOf(secret)),
    subtle.generateKey({ name: 'AES-GCM', length: 256 }, false, ['encrypt', 'decrypt']),
  ]);
  const iv = crypto.getRandomValues(new Uint8Array(12));
  const sealed = new Uint8Array(await subtle.encrypt({ name: 'AES-GCM', iv }, wrap, seed));
  const made = { ...keys, pageAddress, wallet: null, walletId: null, wrap, iv, sealed, isCopied };
  // Two tabs may have come here at once: the first one's account counts.
  const kept = await within('account', 'readwrite', async (store) => {
    const before = isReplacing ? null : await answer(store.get(CURRENT));
    if (!before) await answer(store.put(made, CURRENT));
    return before ?? made;
  });
  if (!kept) throw new DOMException('This browser keeps nothing for this site.', 'InvalidStateError');
  navigator.storage?.persist?.().catch(() => {});
  tell('account');
  return /** @type {Account} */ (shown(kept));
}

async function change(patch) {
  await within('account', 'readwrite', async (store) => {
    const kept = await answer(store.get(CURRENT));
    if (kept) await answer(store.put({ ...kept, ...patch }, CURRENT));
  });
  tell('account');
}

/** Buy with a wallet's account from now on. @param {string} address @param {string} id of the wallet (EIP-6963: rdns). */
export async function connectWallet(address, id) {
  await create();
  await change({ wallet: address, walletId: id });
}

/** Buy with the page's own account from now on. */
export async function disconnectWallet() {
  await change({ wallet: null, walletId: null });
}

/** @returns {Promise<Uint8Array>} */
async function openSeed() {
  const kept = await within('account', 'readonly', (store) => answer(store.get(CURRENT)));
  if (!kept) throw new DOMException('There is no account in this browser.', 'InvalidStateError');
  return new Uint8Array(await subtle.decrypt({ name: 'AES-GCM', iv: kept.iv }, kept.wrap, kept.sealed));
}

/** For signing with the page's own account; not to be kept. @returns {Promise<Uint8Array>} */
export const pageSecret = async () => chainSecret(await openSeed());

/** For recovery copies (static/digm-recovery.js); not to be kept. */
export const seedForCopy = openSeed;

/** A recovery copy was put away. */
export const copied = () => change({ isCopied: true });

/**
 * Become the account of a recovery copy. What an account that goes owned goes with it.
 * @param {Uint8Array} seed
 */
export async function restore(seed) {
  const before = await account();
  const restored = await keepSeed(seed, true, true);
  if (before && toHex(before.publicKey) !== toHex(restored.publicKey)) {
    for (const store of ['owned', 'waiting']) await within(store, 'readwrite', (kept) => answer(kept.clear()));
    tell('account');
  }
  return restored;
}

// -- what it owns

/**
 * @typedef {object} Owned
 * @property {Uint8Array} wrapped as it lies on the chain: suite || enc || ciphertext.
 * @property {number} place of the track in the album that was bought, else 0.
 * @property {number} chainId
 * @property {string} sales address of the contract.
 * @property {string} item what was bought; 0x and 64 hex digits.
 * @property {string} buyer address.
 */

/** @param {string} trackRoot @returns {Promise<Owned | null>} */
export async function owned(trackRoot) {
  return (await within('owned', 'readonly', (store) => answer(store.get(trackRoot)))) ?? null;
}

/** @param {string} trackRoot @param {Owned} key */
export async function keep(trackRoot, key) {
  const isNew = await within('owned', 'readwrite', async (store) => {
    const before = await answer(store.get(trackRoot));
    if (before && before.item === key.item && toHex(before.wrapped) === toHex(key.wrapped)) return false;
    await answer(store.put({ ...key, track: trackRoot, since: before?.since ?? Date.now() }));
    return true;
  });
  if (isNew) tell('owned', { trackRoot });
}

/** @returns {Promise<(Owned & {track: string, since: number})[]>} what was bought last comes first. */
export async function list() {
  const all = await within('owned', 'readonly', (store) => answer(store.getAll())) ?? [];
  return all.sort((one, other) => other.since - one.since);
}

// -- what it paid for and waits for

/** @typedef {{item: string, tracks: string[], tx: string, since: number}} Waiting */

/** @param {Waiting} purchase */
export async function expect(purchase) {
  await within('waiting', 'readwrite', (store) => answer(store.put(purchase)));
  tell('waiting', { item: purchase.item });
}

/** The key or the money is there. @param {string} item */
export async function settled(item) {
  await within('waiting', 'readwrite', (store) => answer(store.delete(item)));
  tell('waiting', { item });
}

/** @returns {Promise<Waiting[]>} */
export async function waiting() {
  return await within('waiting', 'readonly', (store) => answer(store.getAll())) ?? [];
}
