// What an account on the chain needs, for people without a wallet: addresses, signatures, transactions, calls and typed
// data. The curve and Keccak come from two small libraries; the rest is a few lines of encoding. Loaded only when
// somebody makes or uses a key in the page.

import { getPublicKey, signAsync } from './dist/noble/secp256k1.js';
import { keccak_256 as keccak } from './dist/noble/sha3.js';
import { concat, fromHex, number, sha256, toHex } from './digm-crypto.js';

const TEXT = new TextEncoder();
const WORD = 32;

/** @param {string | Uint8Array} value with or without 0x. @returns {Uint8Array} */
export function bytesOf(value) {
  if (typeof value !== 'string') return value;
  const digits = value.replace(/^0x/, '');
  return fromHex(digits.length % 2 ? `0${digits}` : digits);
}

/** @param {Uint8Array} bytes */
export const hexOf = (bytes) => `0x${toHex(bytes)}`;

/** @param {Uint8Array | string} data text is UTF-8. @returns {Uint8Array} 32 bytes. */
export const keccak256 = (data) => keccak(typeof data === 'string' ? TEXT.encode(data) : data);

/** With the capitals that show a typing mistake (EIP-55). @param {string} address */
export function checksummed(address) {
  const digits = address.toLowerCase().replace(/^0x/, '');
  const hash = toHex(keccak256(digits));
  return `0x${Array.from(digits, (digit, i) => (parseInt(hash[i], 16) > 7 ? digit.toUpperCase() : digit)).join('')}`;
}

/** @param {Uint8Array} secret 32 bytes. @returns {string} the account's address. */
export function addressOf(secret) {
  const point = getPublicKey(secret, false).subarray(1);
  return checksummed(toHex(keccak256(point).subarray(12)));
}

/** @param {bigint | number} value @returns {Uint8Array} 32 bytes, big-endian; negative ones as two's complement. */
export function word(value) {
  return fromHex(BigInt.asUintN(256, BigInt(value)).toString(16).padStart(2 * WORD, '0'));
}

// -- calls (the contract ABI's encoding of what DIGM's contracts take)

const isDynamic = (type) => type === 'bytes' || type === 'string' || type.endsWith('[]');

const paddedRight = (bytes) => concat(bytes, new Uint8Array((WORD - (bytes.length % WORD)) % WORD));

function encodeValue(type, value) {
  if (type.endsWith('[]')) {
    return concat(word(value.length), encodeArguments(value.map(() => type.slice(0, -2)), value));
  }
  if (type === 'string' || type === 'bytes') {
    const bytes = type === 'string' ? TEXT.encode(value) : bytesOf(value);
    return concat(word(bytes.length), paddedRight(bytes));
  }
  if (type === 'bool') return word(value ? 1 : 0);
  if (type.startsWith('bytes')) return paddedRight(bytesOf(value));
  return word(BigInt(value)); // numbers and addresses
}

/** @param {string[]} types @param {any[]} values @returns {Uint8Array} */
export function encodeArguments(types, values) {
  let at = WORD * types.length;
  const heads = [];
  const tails = [];
  types.forEach((type, i) => {
    const encoded = encodeValue(type, values[i]);
    if (!isDynamic(type)) return heads.push(encoded);
    heads.push(word(at));
    tails.push(encoded);
    at += encoded.length;
    return null;
  });
  return concat(...heads, ...tails);
}

/**
 * @param {string} signature such as `buy(bytes32,address)`; structs of fixed size stand there as in `((uint8,bytes32),bool)`.
 * @param {...any} values those of structs one by one. @returns {string} hex.
 */
export function call(signature, ...values) {
  const types = signature.slice(signature.indexOf('(')).replace(/[()]/g, '').split(',').filter(Boolean);
  return hexOf(concat(keccak256(signature).subarray(0, 4), encodeArguments(types, values)));
}

// -- transactions (EIP-1559, EIP-2718, RLP)

const trimmed = (value) => (BigInt(value) ? bytesOf(BigInt(value).toString(16)) : new Uint8Array(0));

function rlpHead(length, offset) {
  if (length < 56) return number(offset + length, 1);
  const size = trimmed(length);
  return concat(number(offset + 55 + size.length, 1), size);
}

/** @param {Uint8Array | any[]} item @returns {Uint8Array} */
export function rlp(item) {
  if (Array.isArray(item)) {
    const body = concat(...item.map(rlp));
    return concat(rlpHead(body.length, 0xc0), body);
  }
  return item.length === 1 && item[0] < 0x80 ? item : concat(rlpHead(item.length, 0x80), item);
}

/** @param {Uint8Array} secret @param {Uint8Array} digest @returns {Promise<Uint8Array>} r || s || parity; 65 bytes. */
async function sign(secret, digest) {
  const signature = await signAsync(digest, secret, { prehash: false, format: 'recovered' });
  return concat(signature.subarray(1), signature.subarray(0, 1));
}

/**
 * @param {Uint8Array} secret
 * @param {{chainId: number, nonce: number, tip: bigint, most: bigint, gas: number, to: string, value: bigint,
 *   data: string}} transaction `tip` and `most`: for a unit of gas.
 * @returns {Promise<{raw: string, hash: string}>} signed.
 */
export async function signTransaction(secret, { chainId, nonce, tip, most, gas, to, value, data }) {
  const fields = [
    ...[chainId, nonce, tip, most, gas].map(trimmed), bytesOf(to), trimmed(value), bytesOf(data), [],
  ];
  const type = number(2, 1);
  const signature = await sign(secret, keccak256(concat(type, rlp(fields))));
  const parts = [signature[64], hexOf(signature.subarray(0, 32)), hexOf(signature.subarray(32, 64))];
  const raw = concat(type, rlp([...fields, ...parts.map(trimmed)]));
  return { raw: hexOf(raw), hash: hexOf(keccak256(raw)) };
}

// -- messages

/** For wallets, as `personal_sign` (EIP-191). @param {Uint8Array} secret @param {string} message */
export async function signMessage(secret, message) {
  const text = TEXT.encode(message);
  return walletSignature(await sign(secret, keccak256(concat(`\x19Ethereum Signed Message:\n${text.length}`, text))));
}

const walletSignature = (signature) => hexOf(concat(signature.subarray(0, 64), number(27 + signature[64], 1)));

function typeText(types, name, known = new Set()) {
  known.add(name);
  for (const { type } of types[name]) {
    const base = type.replace(/\[\]$/, '');
    if (types[base] && !known.has(base)) typeText(types, base, known);
  }
  const [first, ...others] = [...known];
  return [first, ...others.sort()].map(
    (one) => `${one}(${types[one].map((field) => `${field.type} ${field.name}`).join(',')})`,
  ).join('');
}

function structHash(types, name, value) {
  const fields = types[name].map((field) => hashedField(types, field.type, value[field.name]));
  return keccak256(concat(keccak256(typeText(types, name)), ...fields));
}

function hashedField(types, type, value) {
  if (type.endsWith('[]')) return keccak256(concat(...value.map((one) => hashedField(types, type.slice(0, -2), one))));
  if (types[type]) return structHash(types, type, value);
  if (type === 'string') return keccak256(value);
  if (type === 'bytes') return keccak256(bytesOf(value));
  return encodeValue(type, value);
}

/** What is signed for typed data (EIP-712). @param {any} data types, primaryType, domain, message. */
export function typedDataHash({ types, primaryType, domain, message }) {
  const head = structHash(types, 'EIP712Domain', domain);
  return keccak256(concat('\x19\x01', head, structHash(types, primaryType, message)));
}

/** @param {Uint8Array} secret @param {any} data @returns {Promise<string>} as `eth_signTypedData_v4`. */
export async function signTypedData(secret, data) {
  return walletSignature(await sign(secret, typedDataHash(data)));
}

/** A key of the chain's curve out of a secret: the first hash of it that is one. @param {Uint8Array} secret */
export async function keyFrom(secret) {
  for (let candidate = secret; ; candidate = await sha256(candidate)) {
    try {
      getPublicKey(candidate);
      return candidate;
    } catch { /* one of 2^128 is none */ }
  }
}
