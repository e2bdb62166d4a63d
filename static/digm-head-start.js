// What can begin before Python is up: asking the hub for the track, its manifest, a listening grant and a place in
// the swarm. Nothing here is trusted: Python checks the manifest, the grant and every chunk before anything plays.

import { EarlySwarm } from './digm-early-swarm.js';
import { Gateways } from './digm-gateways.js';
import { ownedKey } from './digm-owned.js';

/** A failure that the listener is told about; `code` is stable, `message` is a sentence. */
export class PlayerError extends Error {
  /** @param {string} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

const SIGNAL_PROTOCOL = 'digm.signal.1';

/**
 * @typedef {object} HeadStart
 * @property {Promise<any>} details the hub's answer about the track.
 * @property {Gateways} gateways empty until `details` are there.
 * @property {Promise<ArrayBuffer>} manifest its exact bytes, unchecked.
 * @property {Promise<CryptoKeyPair>} keys X25519; the private key cannot leave WebCrypto.
 * @property {Promise<any>} grant the hub's answer: sealed grant and swarm token.
 * @property {Promise<EarlySwarm | null>} swarm
 * @property {AbortController} abort ends all of it.
 * @property {Promise<any>} owned what opens the track without a grant (static/digm-owned.js); null: nothing here.
 * @property {() => Promise<any>} renew a fresh grant for the same key.
 * @property {(address: string) => EarlySocket} connect a new connection to a hub of the track.
 */

/**
 * @typedef {(track: string, playerKey: string) => Promise<{message: string, signature: string} | null>} ProofFor
 *   what shows the hub that the listener is entitled to more than the preview (EIP-4361), for one session key.
 */

/**
 * @param {string} track 64 hex digits.
 * @param {string} hub origin.
 * @param {any} policy of static/digm-sharing.js; with `peers` false the hub's signalling is left alone.
 * @param {ProofFor | null} proofFor asked before every grant.
 * @param {any} [known] what the hub's page says of the track already: it need not be asked.
 * @returns {HeadStart}
 */
export function begin(track, hub, policy, proofFor = null, known = null) {
  const abort = new AbortController();
  const { signal: ended } = abort;
  const address = `${hub}/api/tracks/${track}`;
  const gateways = new Gateways(address, ended);
  const details = (known ? Promise.resolve(known) : askHub(address, { signal: ended })).then((found) => {
    gateways.start(found.gateways);
    return found;
  });
  const keys = makeKeys();
  const ask = async (pair) => askGrant(address, track, pair, proofFor, ended);
  const grant = keys.then(ask);
  const headStart = {
    details,
    gateways,
    keys,
    manifest: details.then((found) => fetchManifest(found.manifest_url, track, gateways, ended)),
    grant,
    // Read when it is asked for: something may be bought before Python is up to be told of it.
    get owned() { return details.then(({ preview_s: preview }) => (preview ? ownedKey(track) : null)); },
    swarm: details.then((found) => (
      policy.peers ? new EarlySwarm(openSignal(found.signal_urls[0], ended), track, grant, policy, ended) : null)),
    abort,
    renew: async () => ask(await keys),
    connect: (address) => openSignal(address, ended),
  };
  // Python awaits each of them, perhaps later: a failure before that is not an unhandled one.
  for (const promise of Object.values(headStart)) promise?.catch?.(() => {});
  return headStart;
}

/** @param {string} address @param {RequestInit} options */
async function askHub(address, options) {
  let answer;
  try {
    answer = await fetch(address, options);
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new PlayerError('hub_unreachable', 'The hub does not answer. Check the connection and try again.');
  }
  const body = await answer.json().catch(() => null);
  if (answer.ok && body) return body;
  if (body?.error?.code) throw new PlayerError(body.error.code, body.error.message);
  if (answer.status === 404) throw new PlayerError('track_not_found', 'There is no such track here.');
  throw new PlayerError('hub_failed', `The hub answered with an error (${answer.status}). Try again later.`);
}

/** From whoever has it; the first gateway is asked at the address that the page may have fetched already. */
async function fetchManifest(first, track, gateways, signal) {
  const attempt = gateways.attempt();
  let failure;
  for (let address = first; ; address = `${attempt.url}/${track}/manifest.json`) {
    try {
      const answer = await fetch(address, { signal });
      if (answer.ok) return await answer.arrayBuffer();
      failure ??= new PlayerError('manifest_not_held', 'The gateway does not have this track any more.');
    } catch (error) {
      if (signal.aborted) throw error;
      failure ??= new PlayerError('gateway_unreachable', 'The gateway with this track does not answer. Try again later.');
    }
    if (!await attempt.next()) throw failure;
  }
}

async function makeKeys() {
  try {
    return /** @type {CryptoKeyPair} */ (await crypto.subtle.generateKey({ name: 'X25519' }, false, ['deriveBits']));
  } catch {
    throw new PlayerError('no_x25519', 'This browser is too old to unlock tracks: it lacks X25519. Update it to listen.');
  }
}

async function askGrant(address, track, pair, proofFor, signal) {
  const raw = new Uint8Array(await crypto.subtle.exportKey('raw', pair.publicKey));
  const key = Array.from(raw, (byte) => byte.toString(16).padStart(2, '0')).join('');
  const proof = await proofFor?.(track, key).catch(() => null);
  const body = JSON.stringify({ player_key: key, ...(proof && { proof }) });
  const headers = { 'content-type': 'application/json' };
  return askHub(`${address}/grant`, { method: 'POST', body, headers, signal });
}

/** A WebSocket that keeps what arrives until somebody listens. */
export class EarlySocket {
  /** @param {WebSocket} socket */
  constructor(socket) {
    this.socket = socket;
    /** @type {string[]} */
    this.waiting = [];
    this.isClosed = false;
    /** @type {((text: string | null) => void) | null} */
    this.listener = null;
    socket.addEventListener('message', ({ data }) => this.#give(typeof data === 'string' ? data : ''));
    socket.addEventListener('close', () => {
      this.isClosed = true;
      this.#give(null);
    });
  }

  #give(text) {
    if (this.listener) this.listener(text);
    else if (text !== null) this.waiting.push(text);
  }

  /** Hear everything from the first message on; null is the end. @param {(text: string | null) => void} listener */
  listen(listener) {
    this.listener = listener;
    for (const text of this.waiting.splice(0)) listener(text);
    if (this.isClosed) listener(null);
  }

  /** Keep what comes from now on for somebody else. @param {string[]} unheard that somebody has to hear, too. */
  unlisten(unheard) {
    this.listener = null;
    this.waiting.unshift(...unheard);
  }

  /** @param {string} text */
  send(text) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(text);
  }

  close() {
    this.listener = null;
    this.socket.close();
  }
}

/** @param {string} address @param {AbortSignal} [ended] */
export function openSignal(address, ended) {
  const early = new EarlySocket(new WebSocket(address, SIGNAL_PROTOCOL));
  ended?.addEventListener('abort', () => early.close());
  return early;
}
