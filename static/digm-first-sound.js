// The first seconds of a track, while Python is still starting: manifest, grant and the first frames, each checked as
// Python checks it, then into the media source, which Python takes over when it is up. It fetches lazily, frame by
// frame, and stays just far enough ahead of what is heard: the rest is for Python to get from other listeners.
// Whatever goes wrong here is not reported: the head start ends, and Python does it all again and says what is wrong.

import { cachedChunk, keptTracks, mayHold } from './digm-cache.js';
import { chunkKey, concat, fromHex, hpkeOpen, isSigned, openRun, sha256, toHex, treeRoot } from './digm-crypto.js';
import { FRAME_BYTES, fetchFrames } from './digm-frames.js';
import { chooseRendition, measuredSpeed } from './digm-link-speed.js';
import { append, heardAt, moveBuffer, openBuffer, removeFrom, secondsAhead } from './digm-source-buffer.js';

const FIRST_ASKED_S = 3;
const LEAST_AHEAD_S = 3; // waking Python stops the page's only thread for a second on a busy machine
const MOST_AHEAD_S = 12;
const AHEAD_PER_TRIP = 6; // as many times as long as the first frames took: the distance, or a busy machine
const FRAME_PLAINTEXT_BYTES = FRAME_BYTES - 16;
const SIGNATURE = /,"signature":"([0-9a-f]{128})"\}$/;
const GRANT_INFO = 'digm/1 grant';
const EVENTS = ['timeupdate', 'seeking', 'play', 'waiting'];
const MOST_FAILURES = 3; // in a row, until it is left to Python
const REST_MS = 1000; // after a failure
const PAST_END_S = 0.02;

/**
 * What Python gets.
 * @typedef {object} Begun
 * @property {number} rendition
 * @property {SourceBuffer} buffer configured, with the init segment in it; not updating.
 * @property {{chunk: number, first: number, end: number, data: Uint8Array}[]} chunks frames from `first` up to `end` of
 *   a chunk, encrypted, in a buffer of the chunk's size.
 * @property {number} chunk what has to be appended next: a chunk,
 * @property {number} at and from which byte of its plaintext on; -1: the listener has gone elsewhere.
 * @property {number} stalls
 * @property {number} bytes that came, and
 * @property {number} seconds in which they came.
 */

/** Frames of one chunk. */
class Piece {
  /** Frames `first` up to `end` are there; `asked` is where the running request ends. */
  end;
  asked;
  isRight = false;
  /** Whether it was looked for in what this browser keeps. */
  isSought = false;

  constructor(chunk, frames, first) {
    this.chunk = chunk;
    this.frames = frames;
    this.first = first;
    this.end = first;
    this.asked = first;
    this.data = new Uint8Array(frames * FRAME_BYTES);
  }

  get isWhole() { return this.first === 0 && this.end === this.frames; }
}

export class FirstSound {
  #headStart;
  #track;
  #source;
  #audio;
  #abort = new AbortController();
  /** @type {Begun | null} */
  #begun = null;
  #running;
  #hasPlayed = false;
  #mustPlace = false;
  #rendition;
  #until = Infinity;
  #number = 0;
  /** Gateways that were tried since something came. */
  #attempt = null;
  #grant;
  #aheadSeconds = LEAST_AHEAD_S;
  #request = new AbortController();
  #failures = 0;
  #restUntil = 0;
  #bytes = 0;
  #seconds = 0;
  #stalls = 0;
  /** @type {Piece} */
  #piece;
  /** How many bytes of the plaintext of #piece are appended. */
  #at = 0;
  #ring = () => {};
  /** @type {Promise<void>} something happened. */
  #rung = Promise.resolve();

  /** Settles when the first frames can be heard, or when it is clear that they will not be from here. */
  ready;

  /**
   * @param {import('./digm-head-start.js').HeadStart} headStart
   * @param {string} track 64 hex digits.
   * @param {MediaSource} source @param {HTMLAudioElement} audio
   */
  constructor(headStart, track, source, audio) {
    this.#headStart = headStart;
    this.#track = track;
    this.#source = source;
    this.#audio = audio;
    this.#arm();
    const { signal } = this.#abort;
    headStart.abort.signal.addEventListener('abort', () => this.#abort.abort(), { signal });
    signal.addEventListener('abort', () => {
      this.#request.abort();
      this.#ring();
    });
    for (const type of EVENTS) audio.addEventListener(type, () => this.#onMedia(type), { signal });
    let isReady;
    this.ready = new Promise((resolve) => { isReady = resolve; });
    this.#running = this.#run(isReady).catch(() => {}).finally(isReady);
  }

  /** End the head start. @returns {Promise<Begun | null>} what there is of it; null when there is nothing. */
  async handOver() {
    this.#abort.abort();
    await this.#running;
    if (!this.#begun) return null;
    const at = this.#mustPlace ? -1 : this.#at;
    const counted = { stalls: this.#stalls, bytes: this.#bytes, seconds: this.#seconds };
    return { ...this.#begun, chunk: this.#piece.chunk, at, ...counted };
  }

  /** Settles when music begins, or could: when the head start is through, or has failed. */
  async heard() {
    await this.ready;
    const audio = this.#audio;
    if (!audio.buffered.length || (audio.paused && audio.readyState > 2) || audio.currentTime > 0) return;
    const sign = audio.paused ? 'canplay' : 'playing';
    await new Promise((resolve) => { audio.addEventListener(sign, resolve, { once: true }); });
  }

  #arm() {
    this.#rung = new Promise((resolve) => { this.#ring = () => { this.#arm(); resolve(); }; });
  }

  #onMedia(type) {
    if (type === 'timeupdate') this.#hasPlayed ||= this.#audio.currentTime > 0;
    if (type === 'waiting' && this.#hasPlayed && !this.#audio.seeking) this.#stalls += 1;
    const isElsewhere = secondsAhead(this.#audio) < 0 || this.#audio.buffered.length > 1;
    if (type === 'seeking' && isElsewhere && this.#begun) {
      this.#mustPlace = true;
      this.#request.abort();
    }
    this.#ring();
  }

  /** @param {() => void} isReady called when the first frames are in. */
  async #run(isReady) {
    const began = performance.now();
    const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(await this.#headStart.manifest);
    const manifest = JSON.parse(text);
    // What is kept for good needs no link, however slow it is.
    this.#number = keptTracks()[this.#track] ?? chooseRendition(manifest.renditions, measuredSpeed());
    const rendition = manifest.renditions[this.#number];
    this.#rendition = rendition;
    this.#until = manifest.preview_s ?? Infinity; // Python knows when it is more
    if (this.#abort.signal.aborted) return;
    this.#begin(0, 0);
    if (!await this.#isKept()) this.#ask(FIRST_ASKED_S); // on its way together with the grant; nothing is opened before all is checked
    const opening = openBuffer(this.#source, rendition, this.#until);
    const [grant, buffer] = await Promise.all([
      this.#openGrant(manifest),
      opening,
      checkManifest(text, manifest, this.#track),
    ]).catch(async (error) => {
      // Without the hub a track of one's own is Python's to play: into this buffer, Chromium makes no second one.
      this.#begun = { rendition: this.#number, buffer: await opening, chunks: [] };
      this.#mustPlace = true;
      throw error;
    });
    this.#grant = grant;
    this.#begun = { rendition: this.#number, buffer, chunks: [this.#piece] };
    await this.#keepAhead(buffer, () => {
      const trip = (performance.now() - began) / 1000;
      this.#aheadSeconds = Math.min(MOST_AHEAD_S, Math.max(LEAST_AHEAD_S, AHEAD_PER_TRIP * trip));
      isReady();
    });
  }

  /** Append what is there, ask for what will be needed soon; to the end of the track or until Python takes over. */
  async #keepAhead(buffer, isFirst) {
    let isReady = isFirst;
    while (!this.#abort.signal.aborted) {
      if (this.#mustPlace) this.#place(buffer);
      const piece = this.#piece;
      if (piece.end > this.#nextFrame()) {
        if (!await this.#append(buffer, piece)) return;
        isReady();
        isReady = () => {};
      } else if (piece.end === piece.frames) {
        if (piece.chunk + 1 === this.#rendition.chunk_hashes.length) {
          this.#source.endOfStream();
          return;
        }
        this.#begin(piece.chunk + 1, 0);
        this.#begun.chunks.push(this.#piece);
      } else {
        if (this.#failures === MOST_FAILURES) return;
        if (!piece.isSought && await this.#isKept()) continue;
        const ahead = Math.max(0, secondsAhead(this.#audio));
        const mayAsk = piece.asked === piece.end && performance.now() >= this.#restUntil;
        if (mayAsk && ahead < this.#aheadSeconds) this.#ask(this.#aheadSeconds - ahead);
        await this.#rung;
      }
    }
  }

  #nextFrame() {
    return Math.floor(this.#at / FRAME_PLAINTEXT_BYTES);
  }

  /** @param {number} at byte of the chunk's plaintext. */
  #begin(chunk, at) {
    const { chunk_hashes: { length }, frames_per_chunk: frames, last_chunk_frames: rest } = this.#rendition;
    this.#at = at;
    this.#piece = new Piece(chunk, chunk === length - 1 ? rest : frames, this.#nextFrame());
  }

  /** Look for this chunk in what this browser keeps. @returns {Promise<boolean>} whether it was there. */
  async #isKept() {
    const piece = this.#piece;
    piece.isSought = true;
    if (!mayHold()) return false;
    const kept = await cachedChunk(this.#rendition.chunk_hashes[piece.chunk]);
    if (kept?.length !== piece.data.length) return false;
    piece.data.set(kept);
    piece.first = 0;
    piece.end = piece.frames;
    return true;
  }

  /** The listener went elsewhere. */
  #place(buffer) {
    const { fragments } = this.#rendition;
    const ahead = secondsAhead(this.#audio);
    const second = this.#audio.currentTime + (ahead < 0 ? 0 : ahead + PAST_END_S);
    const isBehind = ([, units]) => heardAt(this.#rendition, units) > second;
    const next = fragments.findIndex(([first]) => isBehind(first));
    const chunk = Math.max(0, (next < 0 ? fragments.length : next) - 1);
    const later = fragments[chunk].findIndex(isBehind);
    const [at, units] = fragments[chunk][Math.max(0, (later < 0 ? fragments[chunk].length : later) - 1)];
    this.#mustPlace = false;
    moveBuffer(buffer, this.#rendition, this.#until, units);
    this.#begin(chunk, at);
    this.#begun.chunks = this.#begun.chunks.filter((piece) => piece.chunk !== chunk);
    this.#begun.chunks.push(this.#piece);
  }

  /** Ask for the next frames of this chunk, enough for so many seconds. @param {number} seconds */
  #ask(seconds) {
    const piece = this.#piece;
    const { chunk_hashes: hashes, bit_rate: rate } = this.#rendition;
    const count = Math.max(1, Math.ceil((seconds * rate) / 8 / FRAME_PLAINTEXT_BYTES));
    const first = piece.end;
    piece.asked = Math.min(piece.frames, first + count);
    const target = piece.data.subarray(first * FRAME_BYTES, piece.asked * FRAME_BYTES);
    const isWhole = first === 0 && piece.asked === piece.frames;
    let began = 0;
    let skipped = 0;
    let had = 0;
    const onProgress = (received) => {
      if (!began) [began, skipped] = [performance.now(), received]; // from here on it is speed, not distance
      piece.end = first + Math.floor(received / FRAME_BYTES);
      had = received;
      this.#failures = 0;
      this.#attempt = null;
      this.#ring();
    };
    this.#request = new AbortController();
    const { signal } = this.#request;
    const attempt = this.#attempt ??= this.#headStart.gateways.attempt();
    fetchFrames(`${attempt.url}/${hashes[piece.chunk]}`, target, { first, isWhole, signal }, onProgress)
      .then(({ received }) => { if (received !== target.length) throw new Error('gateway'); })
      .catch(async () => {
        if (signal.aborted || await attempt.next()) return;
        this.#attempt = null;
        this.#failures += 1;
        this.#restUntil = performance.now() + REST_MS;
        setTimeout(() => this.#ring(), REST_MS + 1);
      })
      .finally(() => {
        this.#bytes += had - skipped;
        this.#seconds += began && (performance.now() - began) / 1000;
        piece.asked = piece.end;
        this.#ring();
      });
  }

  /** Open what came and append it. @returns {Promise<boolean>} false: the head start ends here. */
  async #append(buffer, piece) {
    if (piece.isWhole && !piece.isRight) {
      piece.isRight = toHex(await sha256(piece.data)) === this.#rendition.chunk_hashes[piece.chunk];
      if (!piece.isRight) return this.#takeBack(buffer, piece);
    }
    const key = await chunkKey(this.#grant, this.#number, piece.chunk);
    if (!key) return false;
    const first = this.#nextFrame();
    const isLast = piece.chunk === this.#rendition.chunk_hashes.length - 1;
    const place = {
      rendition: this.#number, chunk: piece.chunk, first, last: isLast ? piece.frames - 1 : -1,
    };
    const sealed = piece.data.subarray(first * FRAME_BYTES, piece.end * FRAME_BYTES);
    const opened = await openRun(key, sealed, place);
    if (this.#mustPlace || this.#abort.signal.aborted) return true;
    const sound = opened.subarray(this.#at % FRAME_PLAINTEXT_BYTES);
    if (sound.length) {
      await append(buffer, sound);
      this.#at += sound.length;
    }
    if (opened.length < (sealed.length / FRAME_BYTES) * FRAME_PLAINTEXT_BYTES) {
      piece.end = this.#nextFrame(); // what is behind was not encrypted by the artist
      return false;
    }
    return true;
  }

  /** A chunk is not the artist's although its frames could be opened: what was not heard of it goes. */
  async #takeBack(buffer, piece) {
    const [[, units]] = this.#rendition.fragments[piece.chunk];
    this.#begun.chunks = this.#begun.chunks.filter((other) => other !== piece);
    this.#mustPlace = true;
    await removeFrom(buffer, Math.max(this.#audio.currentTime, heardAt(this.#rendition, units)));
    return false;
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
}

/** Root of the chunk hashes and the artist's signature; Python checks the rest as well. */
async function checkManifest(text, manifest, track) {
  const leaves = manifest.renditions.flatMap((rendition) => rendition.chunk_hashes.map(fromHex));
  const signature = SIGNATURE.exec(text);
  const signed = new TextEncoder().encode(text.replace(SIGNATURE, '}'));
  const isGenuine = await isSigned(fromHex(manifest.artist_key), fromHex(signature[1]), signed);
  if (!isGenuine || toHex(await treeRoot(leaves)) !== track) throw new Error('manifest');
}
