// What the head start does to a SourceBuffer, as web/feeder.py does it later: every rule is explained there.

import { MIME } from './digm-link-speed.js';

/**
 * Make the source buffer of a rendition, with its init segment in it.
 * @param {MediaSource} source @param {any} rendition as the manifest has it. @param {number} until the second up to
 *   which it is to be heard.
 * @returns {Promise<SourceBuffer>}
 */
export async function openBuffer(source, rendition, until) {
  if (source.readyState !== 'open') {
    await new Promise((open) => { source.addEventListener('sourceopen', open, { once: true }); });
  }
  const buffer = source.addSourceBuffer(MIME[rendition.codec]);
  source.duration = heardSeconds(rendition);
  if (rendition.codec === 'mp3') buffer.mode = 'sequence';
  buffer.timestampOffset = -rendition.delay / rendition.timescale;
  setWindow(buffer, rendition, until);
  if (rendition.init) await append(buffer, Uint8Array.from(atob(rendition.init), (char) => char.charCodeAt(0)));
  return buffer;
}

/** Begin to append elsewhere, at a place where decoding may begin. @param {number} units its time. */
export function moveBuffer(buffer, rendition, until, units) {
  buffer.abort();
  setWindow(buffer, rendition, until);
  if (rendition.codec === 'mp3') buffer.timestampOffset = (units - rendition.delay) / rendition.timescale;
}

function setWindow(buffer, rendition, until) {
  const isExact = !rendition.delay && !rendition.padding;
  buffer.appendWindowStart = 0;
  buffer.appendWindowEnd = Math.min(isExact ? Infinity : heardSeconds(rendition), until);
}

/** @param {SourceBuffer} buffer @param {Uint8Array} data */
export async function append(buffer, data) {
  buffer.appendBuffer(data);
  await updated(buffer);
}

/** Take out what is behind a second. @param {SourceBuffer} buffer @param {number} from */
export async function removeFrom(buffer, from) {
  buffer.remove(from, Infinity);
  await updated(buffer);
}

async function updated(buffer) {
  if (buffer.updating) await new Promise((done) => { buffer.addEventListener('updateend', done, { once: true }); });
}

/** What is heard of a rendition, in seconds. */
export function heardSeconds({ duration, delay, padding, timescale }) {
  return (duration - delay - padding) / timescale;
}

/** A time of the rendition as it is heard, in seconds. */
export function heardAt({ delay, timescale }, units) {
  return Math.max(0, units - delay) / timescale;
}

/** How many seconds of sound are there without a gap from where the listener is; -1: none. */
export function secondsAhead({ buffered, currentTime }) {
  for (let i = 0; i < buffered.length; i += 1) {
    if (buffered.start(i) - 0.02 <= currentTime && currentTime < buffered.end(i)) return buffered.end(i) - currentTime;
  }
  return -1;
}
