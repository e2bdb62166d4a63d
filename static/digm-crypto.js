// The few cryptographic steps that the head start takes before Python is up. Each has its twin in digm/ and web/,
// where it is described; all ciphers and hashes are the browser's own (WebCrypto).

import { FRAME_BYTES } from './digm-frames.js';

const { subtle } = crypto;
const TEXT = new TextEncoder();

/** @param {string} hex @returns {Uint8Array} */
export function fromHex(hex) {
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

/** @param {ArrayBuffer | Uint8Array} bytes @returns {string} lower case. */
export function toHex(bytes) {
  return Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** @param {...(Uint8Array | string)} parts @returns {Uint8Array} */
export function concat(...parts) {
  const arrays = parts.map((part) => (typeof part === 'string' ? TEXT.encode(part) : part));
  const whole = new Uint8Array(arrays.reduce((sum, array) => sum + array.length, 0));
  let at = 0;
  for (const array of arrays) {
    whole.set(array, at);
    at += array.length;
  }
  return whole;
}

/** @param {number} value @param {number} size bytes, big-endian. */
export function number(value, size) {
  return Uint8Array.from({ length: size }, (_, i) => Math.floor(value / 256 ** (size - 1 - i)) % 256);
}

/** @param {Uint8Array} data @returns {Promise<Uint8Array>} */
export const sha256 = async (data) => new Uint8Array(await subtle.digest('SHA-256', data));

async function hmac(key, data) {
  const imported = await subtle.importKey('raw', key, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']);
  return new Uint8Array(await subtle.sign('HMAC', imported, data));
}

/**
 * RFC 6962 §2.1, level by level: pairs are joined, an odd last node moves up as it is (digm.merkle).
 * @param {Uint8Array[]} leaves
 */
export async function treeRoot(leaves) {
  let level = await Promise.all(leaves.map((leaf) => sha256(concat(number(0, 1), leaf))));
  while (level.length > 1) {
    const pairs = [];
    for (let i = 0; i < level.length; i += 2) {
      const isOdd = i + 1 === level.length;
      pairs.push(isOdd ? level[i] : sha256(concat(number(1, 1), level[i], level[i + 1])));
    }
    level = await Promise.all(pairs);
  }
  return level[0];
}

/** @returns {Promise<boolean>} whether an Ed25519 signature is genuine. */
export async function isSigned(publicKey, signature, message) {
  const key = await subtle.importKey('raw', publicKey, 'Ed25519', true, ['verify']);
  return subtle.verify('Ed25519', key, signature, message);
}

const KEM = concat('KEM', number(0x20, 2));
const SUITE = concat('HPKE', number(0x20, 2), number(1, 2), number(2, 2));
const extract = (suite, salt, label, material) => hmac(salt, concat('HPKE-v1', suite, label, material));
const expand = async (suite, secret, label, info, length) =>
  (await hmac(secret, concat(number(length, 2), 'HPKE-v1', suite, label, info, number(1, 1)))).slice(0, length);

/** From the Diffie-Hellman result to the AEAD's key and nonce (RFC 9180 §4.1 and §5.1, base mode). */
async function hpkeContext(shared, enc, publicKey, info) {
  const none = new Uint8Array(0);
  const zeros = new Uint8Array(32);
  const prk = await extract(KEM, zeros, 'eae_prk', shared);
  const [secret, pskHash, infoHash] = await Promise.all([
    expand(KEM, prk, 'shared_secret', concat(enc, publicKey), 32),
    extract(SUITE, zeros, 'psk_id_hash', none),
    extract(SUITE, zeros, 'info_hash', concat(info)),
  ]);
  const schedule = concat(number(0, 1), pskHash, infoHash);
  const root = await extract(SUITE, secret, 'secret', none);
  const [key, iv] = await Promise.all([
    expand(SUITE, root, 'key', schedule, 32),
    expand(SUITE, root, 'base_nonce', schedule, 12),
  ]);
  return { key: await subtle.importKey('raw', key, 'AES-GCM', false, ['encrypt', 'decrypt']), iv };
}

const rawOf = async (key) => new Uint8Array(await subtle.exportKey('raw', key));

async function agreed(privateKey, publicKey) {
  return new Uint8Array(await subtle.deriveBits({ name: 'X25519', public: publicKey }, privateKey, 256));
}

/**
 * HPKE open, base mode, X25519 / HKDF-SHA256 / AES-256-GCM (RFC 9180; web/unlock.py).
 * @param {CryptoKeyPair} keys @param {Uint8Array} enc @param {Uint8Array} sealed @param {string} info
 * @param {Uint8Array} additionalData
 */
export async function hpkeOpen(keys, enc, sealed, info, additionalData) {
  const other = await subtle.importKey('raw', enc, 'X25519', true, []);
  const [shared, own] = await Promise.all([agreed(keys.privateKey, other), rawOf(keys.publicKey)]);
  const { key, iv } = await hpkeContext(shared, enc, own, info);
  return new Uint8Array(await subtle.decrypt({ name: 'AES-GCM', iv, additionalData }, key, sealed));
}

/**
 * HPKE seal, likewise. @param {Uint8Array} publicKey X25519. @param {Uint8Array} plain @param {string} info
 * @param {Uint8Array} additionalData
 * @returns {Promise<Uint8Array>} enc || ciphertext.
 */
export async function hpkeSeal(publicKey, plain, info, additionalData) {
  const [own, other] = await Promise.all([
    subtle.generateKey({ name: 'X25519' }, false, ['deriveBits']), subtle.importKey('raw', publicKey, 'X25519', true, []),
  ]);
  const pair = /** @type {CryptoKeyPair} */ (own);
  const [shared, enc] = await Promise.all([agreed(pair.privateKey, other), rawOf(pair.publicKey)]);
  const { key, iv } = await hpkeContext(shared, enc, publicKey, info);
  return concat(enc, new Uint8Array(await subtle.encrypt({ name: 'AES-GCM', iv, additionalData }, key, plain)));
}

/**
 * The key of one chunk: from the track key by HKDF (digm.keys), or as the grant lists it.
 * @param {any} grant opened. @returns {Promise<CryptoKey | null>} null where the grant does not reach.
 */
export async function chunkKey(grant, rendition, chunk) {
  if (grant.track_key) {
    const material = await subtle.importKey('raw', fromHex(grant.track_key), 'HKDF', false, ['deriveKey']);
    const info = concat('digm/1 chunk', number(rendition, 2), number(chunk, 4));
    const how = { name: 'HKDF', hash: 'SHA-256', salt: new Uint8Array(0), info };
    return subtle.deriveKey(how, material, { name: 'AES-GCM', length: 256 }, false, ['decrypt']);
  }
  const run = grant.chunk_keys.find((keys) => keys.rendition === rendition);
  const at = 64 * (chunk - (run?.first_chunk ?? 0));
  const key = at >= 0 ? run?.keys.slice(at, at + 64) : null;
  return key?.length === 64 ? subtle.importKey('raw', fromHex(key), 'AES-GCM', false, ['decrypt']) : null;
}

const FRAME_PLAINTEXT_BYTES = 65520;
const NONCE_BYTES = 12;

/**
 * Open consecutive frames of a chunk (format: Encryption); Python calls it too, because one call from there costs as
 * much as opening a frame does.
 * @param {CryptoKey | Uint8Array} key of the chunk. @param {Uint8Array} data whole frames.
 * @param {Uint8Array} places for each frame its nonce and its additional data, one behind the other.
 * @returns {Promise<Uint8Array>} of the frames in front of the first that is not genuine; all, if there is none.
 */
export async function openFrames(key, data, places) {
  const opener = key instanceof Uint8Array ? await subtle.importKey('raw', key, 'AES-GCM', false, ['decrypt']) : key;
  const count = data.length / FRAME_BYTES;
  const size = places.length / count;
  const plaintext = new Uint8Array(count * FRAME_PLAINTEXT_BYTES);
  const isGenuine = await Promise.all(Array.from({ length: count }, async (_, frame) => {
    const place = places.subarray(frame * size, (frame + 1) * size);
    const how = { name: 'AES-GCM', iv: place.subarray(0, NONCE_BYTES), additionalData: place.subarray(NONCE_BYTES) };
    const sealed = data.subarray(frame * FRAME_BYTES, (frame + 1) * FRAME_BYTES);
    try {
      plaintext.set(new Uint8Array(await subtle.decrypt(how, opener, sealed)), frame * FRAME_PLAINTEXT_BYTES);
      return true;
    } catch {
      return false;
    }
  }));
  const good = isGenuine.indexOf(false);
  return good < 0 ? plaintext : plaintext.subarray(0, good * FRAME_PLAINTEXT_BYTES);
}

/**
 * Open some frames of a chunk.
 * @param {CryptoKey} key @param {Uint8Array} data whole frames.
 * @param {{rendition: number, chunk: number, first: number, last: number}} place `first`: number of the first of these
 *   frames; `last`: of the last frame of the whole rendition, -1 in every chunk but the last.
 * @returns {Promise<Uint8Array>} as `openFrames`.
 */
export function openRun(key, data, { rendition, chunk, first, last }) {
  const places = Array.from({ length: data.length / FRAME_BYTES }, (_, i) => concat(
    number(first + i, NONCE_BYTES),
    'digm/1 frame', number(rendition, 2), number(chunk, 4), number(first + i, 2), number(first + i === last ? 1 : 0, 1),
  ));
  return openFrames(key, data, concat(...places));
}
