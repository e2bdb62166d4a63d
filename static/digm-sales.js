// Buying, without what is seen of it: the hub's word about offers and keys, what is signed and sent, and the wait for
// the key. Amounts are whole numbers of a token's smallest unit (bigint). Nothing here is believed for the music's sake:
// the player compares the key with the manifest. What it costs is signed by the listener as it was shown.

import { account, expect, keep, settled } from './digm-account.js';
import { fromHex, toHex } from './digm-crypto.js';
import { WalletError } from './digm-wallet.js';

export const COIN = `0x${'0'.repeat(40)}`;
const P256 = 2;
const DEVNET = 31337;
const WAIT_S = 25;
const RETRY_MS = 3_000;
const GAS = 260_000; // of the dearest purchase; what is not used is not paid
const GAS_PER_TRACK = 12_000;
const SIGNED_FOR_S = 1_800;
const NONE = ['0', `0x${'0'.repeat(64)}`, `0x${'0'.repeat(64)}`]; // in place of a signature
const POLL_MS = 1_000;

/** A failure that the listener is told about. */
export class SaleError extends Error {
  /** @param {string} code @param {string} message @param {any} [facts] */
  constructor(code, message, facts = {}) {
    super(message);
    this.code = code;
    this.facts = facts;
  }
}

/** What the hub is asked. */
export class SalesHub {
  /** @param {string} origin */
  constructor(origin) {
    this.origin = origin;
  }

  async #ask(path, options = {}) {
    let answer;
    try {
      answer = await fetch(this.origin + path, options);
    } catch (error) {
      if (options.signal?.aborted) throw error;
      throw new SaleError('hub_unreachable', 'The hub does not answer. Check the connection and try again.');
    }
    const body = await answer.json().catch(() => null);
    if (answer.ok && body) return body;
    const { code = 'hub_failed', message = `The hub answered with an error (${answer.status}). Try again later.` } = body?.error ?? {};
    throw new SaleError(code, message);
  }

  #post(path, body) {
    return this.#ask(path, {
      method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json' },
    });
  }

  /** @param {string} track its root. */
  offer(track) { return this.#ask(`/api/tracks/${track}/offer`); }

  /** @param {string} address @param {number} [after] block: answer when something is newer. @param {AbortSignal} [signal] */
  keys(address, after, signal) {
    const query = after === undefined ? '' : `?after=${after}&wait=${WAIT_S}`;
    return this.#ask(`/api/keys/${address}${query}`, { signal });
  }

  /** @param {string} address */
  async account(address) {
    const said = await this.#ask(`/api/chain/account/${address}`);
    const gasPrice = BigInt(said.gas_price);
    const base = BigInt(said.base_fee ?? 0);
    return { ...said, coin: BigInt(said.coin), gasPrice, tip: gasPrice > base ? gasPrice - base : 0n };
  }

  /** @param {string} raw a signed transaction. */
  send(raw) { return this.#post('/api/chain/send', { raw }); }

  /** @param {string} address */
  faucet(address) { return this.#post('/api/chain/faucet', { address }); }

  /** @param {string} hash @returns {Promise<'waiting' | 'done' | 'failed'>} */
  async outcome(hash) {
    const { state } = await this.#ask(`/api/chain/transaction/${hash}`);
    return state === 'done' ? 'done' : state === 'reverted' ? 'failed' : 'waiting';
  }
}

/** @param {bigint} units @param {number} decimals @returns {string} such as `2.5`. */
export function amountText(units, decimals) {
  const digits = units.toString().padStart(decimals + 1, '0');
  const fraction = digits.slice(digits.length - decimals).replace(/0+$/, '');
  return digits.slice(0, digits.length - decimals) + (fraction ? `.${fraction}` : '');
}

/** @param {string} text @param {number} decimals @returns {bigint | null} null: no such amount. */
export function amountOf(text, decimals) {
  const found = /^\s*(\d{1,30})(?:[.,](\d+))?\s*$/.exec(text);
  const fraction = found?.[2] ?? '';
  if (!found || fraction.replace(/0+$/, '').length > decimals) return null;
  return BigInt(found[1] + fraction.slice(0, decimals).padEnd(decimals, '0'));
}

/** @param {number} chainId @returns {import('./digm-wallet.js').Chain} */
export const chainOf = (chainId) => (
  { id: chainId, name: chainId === DEVNET ? 'the devnet' : `chain ${chainId}`, rpc: null, coin: 'ETH' });

/**
 * @typedef {object} Choice what can be bought: the track, or an album with it.
 * @property {string} item @property {string} title @property {string} artist @property {string[]} tracks
 * @property {{address: string, symbol: string, decimals: number, kind: string, name?: string}} token
 * @property {bigint} price @property {boolean} isAtLeast
 */

/** @param {any} offer of the hub. @returns {Choice[]} the track first. */
export function choicesOf(offer) {
  if (offer.state !== 'for_sale') return [];
  const whole = { item: offer.item, title: offer.title, tracks: [offer.track_root], ...offer };
  return [whole, ...offer.albums].filter(({ price }) => price !== null).map((one) => ({
    item: one.item,
    title: one.title ?? 'Untitled',
    artist: offer.artist ?? '',
    tracks: one.tracks,
    token: one.coin_or_token,
    price: BigInt(one.price),
    isAtLeast: one.is_at_least,
  }));
}

const publicPart = ({ publicKey, suite }) => `0x${toHex(suite === P256 ? publicKey.subarray(1, 33) : publicKey)}`;

/** What a wallet shows before it signs (EIP-712); the contract reads the same words. */
function purchaseData(offer, choice, amount, buyer, known, deadline) {
  const text = `${amountText(amount, choice.token.decimals)} ${choice.token.symbol}`;
  const field = (name, type) => ({ name, type });
  return {
    types: {
      EIP712Domain: DOMAIN,
      Purchase: [
        field('title', 'string'), field('artist', 'string'), field('price', 'string'), field('item', 'bytes32'),
        field('token', 'address'), field('amount', 'uint256'), field('buyer', 'address'),
        field('listeningKey', 'bytes32'), field('keySuite', 'uint8'), field('deadline', 'uint256'),
      ],
    },
    primaryType: 'Purchase',
    domain: { name: 'DIGM Sales', version: '1', chainId: offer.chain_id, verifyingContract: offer.sales },
    message: {
      title: choice.title, artist: choice.artist, price: text, item: choice.item, token: choice.token.address, amount,
      buyer, listeningKey: publicPart(known), keySuite: known.suite, deadline: BigInt(deadline),
    },
  };
}

const DOMAIN = [
  { name: 'name', type: 'string' }, { name: 'version', type: 'string' }, { name: 'chainId', type: 'uint256' },
  { name: 'verifyingContract', type: 'address' },
];

/** Lets the contract take just this amount (EIP-2612). */
function permitData(offer, { token }, amount, owner, nonce, deadline) {
  const field = (name, type) => ({ name, type });
  return {
    types: {
      EIP712Domain: DOMAIN,
      Permit: [
        field('owner', 'address'), field('spender', 'address'), field('value', 'uint256'), field('nonce', 'uint256'),
        field('deadline', 'uint256'),
      ],
    },
    primaryType: 'Permit',
    domain: { name: token.name, version: '1', chainId: offer.chain_id, verifyingContract: token.address },
    message: { owner, spender: offer.sales, value: amount, nonce: BigInt(nonce), deadline: BigInt(deadline) },
  };
}

/** v, r, s. @param {string} signature */
function signatureParts(signature) {
  const bytes = fromHex(signature.slice(2));
  const v = bytes[64] < 27 ? bytes[64] + 27 : bytes[64];
  return [String(v), `0x${toHex(bytes.subarray(0, 32))}`, `0x${toHex(bytes.subarray(32, 64))}`];
}

const BUY_SIGNED = 'buy_signed((bytes32,bytes32,bytes32,bytes32,address,uint256,address,bytes32,uint256,uint256),'
  + '(uint8,bytes32,bytes32),(uint8,bytes32,bytes32),uint256)';

/**
 * What an account lacks for a purchase.
 * @param {any} has of `SalesHub.account`. @param {Choice} choice @param {bigint} amount
 * @returns {{symbol: string, text: string}[]} empty: nothing.
 */
export function lacking(has, choice, amount) {
  const fee = BigInt(GAS + GAS_PER_TRACK * choice.tracks.length) * (2n * has.gasPrice + has.tip);
  const isCoin = choice.token.address === COIN;
  const wanted = isCoin ? amount + fee : fee;
  const missing = [];
  if (has.coin < wanted) missing.push({ symbol: 'ETH', text: amountText(wanted - has.coin, 18) });
  const token = has.tokens.find(({ address }) => address.toLowerCase() === choice.token.address.toLowerCase());
  const held = BigInt(token?.balance ?? 0);
  if (!isCoin && held < amount) {
    missing.push({ symbol: choice.token.symbol, text: amountText(amount - held, choice.token.decimals) });
  }
  return missing;
}

/**
 * Pay. Signatures first, then one transaction.
 * @param {{hub: SalesHub, wallet: any, offer: any, choice: Choice, amount: bigint, step: (what: string) => void}} purchase
 *   `step` hears 'chain', 'sign', 'permit', 'send' and 'sent'.
 * @throws SaleError, WalletError; then nothing was paid.
 */
export async function buy({ hub, wallet, offer, choice, amount, step }) {
  const { call, keccak256, hexOf } = await import('./digm-eth.js');
  const known = /** @type {any} */ (await account());
  const chain = chainOf(offer.chain_id);
  step('chain');
  await wallet.beOn(chain);
  const has = await hub.account(wallet.address);
  const missing = lacking(has, choice, amount);
  if (missing.length) {
    const what = missing.map(({ symbol, text }) => `${text} ${symbol}`).join(' and ');
    throw new SaleError('no_funds', `There is not enough on the account: ${what} more would do.`, { missing });
  }
  const deadline = has.time + Math.min(SIGNED_FOR_S, Math.floor(offer.deliver_within_s / 2));
  step('sign');
  const data = purchaseData(offer, choice, amount, wallet.address, known, deadline);
  const signed = signatureParts(await wallet.signTypedData(data));
  const isCoin = choice.token.address === COIN;
  let permitted = NONE;
  if (!isCoin && !isAllowed(has, choice, amount)) {
    step('permit');
    const held = has.tokens.find(({ address }) => address.toLowerCase() === choice.token.address.toLowerCase());
    if (!held) throw new SaleError('unknown_token', 'This page cannot pay with that token.');
    permitted = signatureParts(
      await wallet.signTypedData(permitData(offer, choice, amount, wallet.address, held.permit_nonce, deadline)));
  }
  step('send');
  const said = data.message;
  const words = [said.title, said.artist, said.price].map((text) => hexOf(keccak256(text)));
  const hash = await wallet.send({
    to: offer.sales,
    data: call(
      BUY_SIGNED, ...words, said.item, said.token, amount, said.buyer, said.listeningKey, said.keySuite, said.deadline,
      ...signed, ...permitted, permitted === NONE ? 0 : deadline,
    ),
    value: isCoin ? amount : 0n,
    gas: GAS + GAS_PER_TRACK * choice.tracks.length,
    chain,
  });
  await expect({ item: choice.item, tracks: choice.tracks, tx: hash, since: Date.now() });
  step('sent');
  return hash;
}

function isAllowed(has, { token }, amount) {
  const held = has.tokens.find(({ address }) => address.toLowerCase() === token.address.toLowerCase());
  return BigInt(held?.allowances?.sales ?? 0) >= amount;
}

/**
 * Until a transaction is in a block.
 * @param {any} wallet @param {string} hash @param {AbortSignal} signal
 * @throws WalletError `reverted`: the chain refused it, nothing was paid but the fee.
 */
export async function mined(wallet, hash, signal) {
  while (!signal.aborted) {
    const outcome = await wallet.outcome(hash).catch(() => 'waiting');
    if (outcome === 'done') return;
    if (outcome === 'failed') {
      throw new WalletError('reverted', 'The chain refused the payment: the price may have changed meanwhile. Only the fee was paid.');
    }
    await new Promise((resolve) => { setTimeout(resolve, POLL_MS); });
  }
}

/**
 * Keep what was delivered. @param {any} answer of `SalesHub.keys`. @param {any} offer anything with chain_id and sales.
 * @param {string} buyer
 * @returns {Promise<any[]>} the keys, each with `isOther`: wrapped to another browser's key.
 */
export async function keepKeys(answer, offer, buyer) {
  const known = await account();
  const mine = known && publicPart(known);
  const keys = answer.keys.map((key) => ({ ...key, isOther: Boolean(key.listening_key && key.listening_key !== mine) }));
  for (const { item, tracks, wrapped, isOther, state } of keys) {
    if (state !== 'waiting') await settled(item);
    if (!wrapped || isOther) continue;
    const owned = { wrapped: fromHex(wrapped), chainId: offer.chain_id, sales: offer.sales, item, buyer };
    for (const [place, track] of tracks.entries()) await keep(track, { ...owned, place });
  }
  return keys;
}

/**
 * Hear of an account's keys until told to stop; what is delivered is kept at once.
 * @param {SalesHub} hub @param {any} offer @param {string} buyer @param {AbortSignal} signal
 * @param {(keys: any[], time: number) => void} hear `time`: the chain's.
 */
export async function follow(hub, offer, buyer, signal, hear) {
  let after;
  while (!signal.aborted) {
    try {
      const answer = await hub.keys(buyer, after, signal);
      const keys = await keepKeys(answer, offer, buyer);
      if (signal.aborted) return;
      hear(keys, answer.time || Math.floor(Date.now() / 1000));
      after = answer.block;
    } catch (error) {
      if (signal.aborted) return;
      await new Promise((resolve) => { setTimeout(resolve, RETRY_MS); });
    }
  }
}

/** Fetch what the account of this browser owns, on whichever device it was bought. @param {SalesHub} hub @param {any} offer */
export async function refresh(hub, offer) {
  const known = await account();
  return known ? keepKeys(await hub.keys(known.address), offer, known.address) : [];
}

/**
 * Take back what was paid for a key that did not come; two transactions.
 * @param {{hub: SalesHub, wallet: any, offer: any, item: string, token: string, signal: AbortSignal}} purchase
 */
export async function takeBack({ hub, wallet, offer, item, token, signal }) {
  const { call } = await import('./digm-eth.js');
  const chain = chainOf(offer.chain_id);
  await wallet.beOn(chain);
  const send = async (data) => mined(wallet, await wallet.send({ to: offer.sales, data, value: 0n, gas: GAS, chain }), signal);
  const owed = (has) => has.credits.some((one) => one.contract === 'sales' && one.token.toLowerCase() === token.toLowerCase());
  if (!owed(await hub.account(wallet.address))) await send(call('refund(bytes32,address)', item, wallet.address));
  await send(call('withdraw(address)', token));
  await settled(item);
}
