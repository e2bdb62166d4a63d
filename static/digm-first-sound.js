// The first seconds of a track, while Python is still starting: manifest, grant and first chunks, each checked as
// Python checks it, then into the media source, which Python takes over when it is up. Whatever goes wrong here is
// not reported: the head start ends, and Python does it all again and says what is wrong.

import { cachedChunk } from './digm-cache.js';
import { chunkKey, concat, fromHex, hpkeOpen, isSigned, openChunk, sha256, toHex, treeRoot } from './digm-crypto.js';
import { mediaSourceClass } from './digm-support.js';

const AHEAD_S = 12; // Python is there long before this is played
const SIGNATURE = /,"signature":"([0-9a-f]{128})"\}$/;
const GRANT_INFO = 'digm/1 grant';
/** As digm.media has them. @type {Record<string, string>} */
const MIME = {
  flac: 'audio/mp4; codecs="flac"',
  opus: 'audio/mp4; codecs="opus"',
  aac: 'audio/mp4; codecs="mp4a.40.2"',
  mp3: 'audio/mpeg',
};

/**
 * What Python gets.
 * @typedef {object} Begun
 * @property {number} rendition
 * @property {SourceBuffer} buffer configured, with the init segment in it; not updating.
 * @property {Uint8Array[]} chunks encrypted, from the first on; all of them are appended.
 */

export class FirstSound {
  #headStart;
  #track;
  #source;
  #abort = new AbortController();
  /** @type {Begun | null} */
  #begun = null;
  #running;

  /** Settles when the first chunk can be heard, or when it is clear that it will not be from here. */
  ready;

  /**
   * @param {import('./digm-head-start.js').HeadStart} headStart
   * @param {string} track 64 hex digits.
   * @param {MediaSource} source
   */
  constructor(headStart, track, source) {
    this.#headStart = headStart;
    this.#track = track;
    this.#source = source;
    headStart.abort.signal.addEventListener('abort', () => this.#abort.abort());
    let isReady;
    this.ready = new Promise((resolve) => { isReady = resolve; });
    this.#running = this.#run(isReady).catch(() => {}).finally(isReady);
  }

  /** End the head start. @returns {Promise<Begun | null>} what there is of it; null when there is nothing. */
  async handOver() {
    this.#abort.abort();
    await this.#running;
    return this.#begun;
  }

  /** @param {() => void} isReady called when the first chunk is in. */
  async #run(isReady) {
    const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(await this.#headStart.manifest);
    const manifest = JSON.parse(text);
    const number = manifest.renditions.findIndex(({ codec }) => mediaSourceClass().isTypeSupported(MIME[codec]));
    const rendition = manifest.renditions[number];
    const [details, grant] = await Promise.all([
      this.#headStart.details,
      this.#openGrant(manifest),
      checkManifest(text, manifest, this.#track),
    ]);
    if (this.#abort.signal.aborted) return;
    const buffer = await this.#openBuffer(rendition);
    for (let chunk = 0; chunk < rendition.chunk_hashes.length; chunk += 1) {
      const [, start] = rendition.fragments[chunk][0];
      const key = await chunkKey(grant, number, chunk);
      if (!key || start / rendition.timescale > AHEAD_S) return;
      const name = rendition.chunk_hashes[chunk];
      const data = await cachedChunk(name) ?? await this.#fetch(`${details.gateways[0]}/${name}`);
      if (toHex(await sha256(data)) !== name) return;
      const isLast = chunk === rendition.chunk_hashes.length - 1;
      const sound = await openChunk(key, data, { rendition: number, chunk, isLast });
      if (this.#abort.signal.aborted) return;
      await append(buffer, sound);
      this.#begun = { rendition: number, buffer, chunks: [...(this.#begun?.chunks ?? []), data] };
      isReady();
    }
  }

  async #openGrant(manifest) {
    const [{ grant }, keys] = await Promise.all([this.#headStart.grant, this.#headStart.keys]);
    const [enc, sealed] = [fromHex(grant.enc), fromHex(grant.sealed)];
    const signed = concat(GRANT_INFO, enc, sealed);
    if (!await isSigned(fromHex(manifest.artist_key), fromHex(grant.signature), signed)) throw new Error('grant');
    const opened = await hpkeOpen(keys, enc, sealed, GRANT_INFO, fromHex(this.#track));
    const granted = JSON.parse(new TextDecoder().decode(opened));
    if (granted.track_root !== this.#track || granted.not_after * 1000 <= Date.now()) throw new Error('grant');
    if (granted.track_key) {
      const commitment = await sha256(concat('digm/1 key', fromHex(granted.track_key)));
      if (toHex(commitment) !== manifest.key_commitment) throw new Error('key');
    }
    return granted;
  }

  /** As web/feeder.py does it. */
  async #openBuffer(rendition) {
    const source = this.#source;
    if (source.readyState !== 'open') {
      await new Promise((open) => source.addEventListener('sourceopen', open, { once: true }));
    }
    const { timescale, delay, padding, duration } = rendition;
    const heard = (duration - delay - padding) / timescale;
    const buffer = source.addSourceBuffer(MIME[rendition.codec]);
    source.duration = heard;
    if (rendition.codec === 'mp3') buffer.mode = 'sequence';
    buffer.timestampOffset = -delay / timescale;
    if (delay || padding) {
      buffer.appendWindowStart = 0;
      buffer.appendWindowEnd = heard;
    }
    this.#begun = { rendition: rendition.id, buffer, chunks: [] };
    if (rendition.init) await append(buffer, Uint8Array.from(atob(rendition.init), (char) => char.charCodeAt(0)));
    return buffer;
  }

  async #fetch(address) {
    const answer = await fetch(address, { signal: this.#abort.signal });
    if (!answer.ok) throw new Error('gateway');
    return new Uint8Array(await answer.arrayBuffer());
  }
}

/** Root of the chunk hashes and the artist's signature; Python checks the rest as well. */
async function checkManifest(text, manifest, track) {
  const leaves = manifest.renditions.flatMap((rendition) => rendition.chunk_hashes.map(fromHex));
  const signature = SIGNATURE.exec(text);
  const signed = new TextEncoder().encode(text.replace(SIGNATURE, '}'));
  const isGenuine = await isSigned(fromHex(manifest.artist_key), fromHex(signature[1]), signed);
  if (!isGenuine || toHex(await treeRoot(leaves)) !== track) throw new Error('manifest');
}

/** @param {SourceBuffer} buffer @param {Uint8Array} data */
async function append(buffer, data) {
  buffer.appendBuffer(data);
  await new Promise((done) => buffer.addEventListener('updateend', done, { once: true }));
}
