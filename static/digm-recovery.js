// A recovery copy: the seed of this browser's account, encrypted, as a text that people can put away in a file. It opens
// with a passphrase, or with a passkey that knows a secret for this site (WebAuthn's PRF extension).
//
// The text is `digm-copy-1.` and base64url of JSON: {v, kind, salt, iv, sealed, address, iterations?, credential?}.
// Sealed is AES-256-GCM; the additional data is everything else of the JSON, so nothing in it can be exchanged.

import { account, copied, list, restore, seedForCopy } from './digm-account.js';
import { concat } from './digm-crypto.js';

const PREFIX = 'digm-copy-1.';
const VERSION = 1;
/** PBKDF2-HMAC-SHA-256; 600,000 is what OWASP asked for in 2023. */
export const ITERATIONS = 1_200_000;
const FEWEST_ITERATIONS = 600_000;
const MOST_ITERATIONS = 20_000_000; // a forged copy must not freeze the page
export const LEAST_CHARACTERS = 12;
const MOST_CHARACTERS = 4_096;
const { subtle } = crypto;

/** What is wrong with a copy, a passphrase or a passkey; `code` is stable, `message` is a sentence. */
export class CopyError extends Error {
  /** @param {string} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

const base64url = (bytes) => (
  btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, ''));
const fromBase64url = (text) => (
  Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (letter) => letter.charCodeAt(0)));
const random = (bytes) => crypto.getRandomValues(new Uint8Array(bytes));

/** Everything but the ciphertext, in one order. */
const headOf = ({ v, kind, salt, iv, address, iterations = 0, credential = '' }) => (
  concat(JSON.stringify([v, kind, salt, iv, address, iterations, credential])));

/** @returns {Promise<CryptoKey>} */
async function passphraseKey(passphrase, salt, iterations) {
  const material = await subtle.importKey('raw', concat(passphrase.normalize('NFKC')), 'PBKDF2', false, ['deriveKey']);
  const how = { name: 'PBKDF2', hash: 'SHA-256', salt, iterations };
  return subtle.deriveKey(how, material, { name: 'AES-GCM', length: 256 }, false, ['encrypt', 'decrypt']);
}

/** @param {Uint8Array} secret what the passkey's PRF gave. @returns {Promise<CryptoKey>} */
async function passkeyKey(secret, salt) {
  const material = await subtle.importKey('raw', secret, 'HKDF', false, ['deriveKey']);
  const how = { name: 'HKDF', hash: 'SHA-256', salt, info: concat('digm/1 recovery copy') };
  return subtle.deriveKey(how, material, { name: 'AES-GCM', length: 256 }, false, ['encrypt', 'decrypt']);
}

async function seal(key, head) {
  const known = await account();
  if (!known) throw new CopyError('no_account', 'There is nothing to copy yet: this browser has no key.');
  const copy = { v: VERSION, ...head, iv: base64url(random(12)), address: known.pageAddress };
  const how = { name: 'AES-GCM', iv: fromBase64url(copy.iv), additionalData: headOf(copy) };
  const sealed = new Uint8Array(await subtle.encrypt(how, key, await seedForCopy()));
  await copied();
  return PREFIX + base64url(concat(JSON.stringify({ ...copy, sealed: base64url(sealed) })));
}

/** @param {string} passphrase @returns {Promise<string>} the copy. */
export async function copyWithPassphrase(passphrase) {
  if (passphrase.length < LEAST_CHARACTERS) {
    throw new CopyError('passphrase_short', `A passphrase has at least ${LEAST_CHARACTERS} characters: four or five words do.`);
  }
  const salt = random(16);
  const key = await passphraseKey(passphrase, salt, ITERATIONS);
  return seal(key, { kind: 'passphrase', salt: base64url(salt), iterations: ITERATIONS });
}

/** Whether this browser may be able to make passkeys. */
export const hasPasskeys = () => 'PublicKeyCredential' in globalThis && isSecureContext;

/** Make a passkey, and a copy that it opens. @returns {Promise<string>} */
export async function copyWithPasskey() {
  const known = await account();
  const salt = random(32);
  const name = `DIGM ${known?.pageAddress.slice(0, 8) ?? ''}`;
  const made = await askPasskey(() => navigator.credentials.create({
    publicKey: {
      challenge: random(32), // nobody checks it: the passkey proves nothing to anybody, it only keeps a secret
      rp: { name: 'DIGM' },
      user: { id: random(16), name, displayName: name },
      pubKeyCredParams: [{ type: 'public-key', alg: -7 }, { type: 'public-key', alg: -257 }],
      authenticatorSelection: { residentKey: 'preferred', userVerification: 'required' },
      extensions: /** @type {any} */ ({ prf: { eval: { first: salt } } }),
    },
  }));
  const id = base64url(new Uint8Array(made.rawId));
  const results = /** @type {any} */ (made.getClientExtensionResults()).prf;
  if (!results?.enabled && !results?.results) {
    throw new CopyError('no_prf', 'This passkey cannot keep a secret for a page. Use a passphrase instead.');
  }
  // Some give it at once, others only when they are asked the second time.
  const secret = results.results?.first ?? await askSecret(id, salt);
  return seal(await passkeyKey(new Uint8Array(secret), salt), { kind: 'passkey', salt: base64url(salt), credential: id });
}

async function askSecret(credential, salt) {
  const found = await askPasskey(() => navigator.credentials.get({
    publicKey: {
      challenge: random(32),
      allowCredentials: [{ type: 'public-key', id: fromBase64url(credential) }],
      userVerification: 'required',
      extensions: /** @type {any} */ ({ prf: { eval: { first: salt } } }),
    },
  }));
  const secret = /** @type {any} */ (found.getClientExtensionResults()).prf?.results?.first;
  if (!secret) throw new CopyError('no_prf', 'This passkey gives the page no secret here. Try another browser, or a passphrase.');
  return secret;
}

/** @returns {Promise<PublicKeyCredential>} */
async function askPasskey(ask) {
  if (!hasPasskeys()) throw new CopyError('no_passkeys', 'This browser has no passkeys. Use a passphrase instead.');
  try {
    return /** @type {PublicKeyCredential} */ (await ask());
  } catch (error) {
    console.info('DIGM: no passkey.', error);
    throw new CopyError('passkey_refused', 'There is no such passkey here, or you said no. Nothing has changed; you can try again.');
  }
}

const BROKEN = 'This is no recovery copy, or a part of it is missing. Take the whole text of the file.';

/** Read a copy. @param {string} text @returns {any} */
export function readCopy(text) {
  const compact = text.replace(/\s+/g, '');
  if (!compact.startsWith(PREFIX) || compact.length > MOST_CHARACTERS) throw new CopyError('bad_copy', BROKEN);
  let copy;
  try {
    copy = JSON.parse(new TextDecoder().decode(fromBase64url(compact.slice(PREFIX.length))));
    for (const name of ['salt', 'iv', 'sealed']) fromBase64url(copy[name]);
  } catch {
    throw new CopyError('bad_copy', BROKEN);
  }
  const isKnown = copy.v === VERSION && ['passphrase', 'passkey'].includes(copy.kind) && typeof copy.address === 'string';
  const { iterations } = copy;
  const isSafe = copy.kind === 'passkey' || (iterations >= FEWEST_ITERATIONS && iterations <= MOST_ITERATIONS);
  if (!isKnown || !isSafe) throw new CopyError('bad_copy', BROKEN);
  return copy;
}

/**
 * Become the account of a copy.
 * @param {string} text @param {string} [passphrase] for those that open with one.
 * @returns {Promise<import('./digm-account.js').Account>}
 */
export async function restoreCopy(text, passphrase = '') {
  const copy = readCopy(text);
  const salt = fromBase64url(copy.salt);
  const key = copy.kind === 'passphrase'
    ? await passphraseKey(passphrase, salt, copy.iterations)
    : await passkeyKey(new Uint8Array(await askSecret(copy.credential, salt)), salt);
  const how = { name: 'AES-GCM', iv: fromBase64url(copy.iv), additionalData: headOf(copy) };
  let seed;
  try {
    seed = new Uint8Array(await subtle.decrypt(how, key, fromBase64url(copy.sealed)));
  } catch {
    throw new CopyError('wrong_passphrase', copy.kind === 'passphrase'
      ? 'That is not the passphrase of this copy, or the copy was changed. Nothing has changed here.'
      : 'That is not the passkey of this copy, or the copy was changed. Nothing has changed here.');
  }
  const known = await account();
  if (known && !known.isCopied && known.pageAddress !== copy.address && (await list()).length) {
    throw new CopyError('copy_first',
      'The key that is here owns music, and there is no copy of it. Keep a copy first, then bring the other one.');
  }
  return restore(seed);
}
