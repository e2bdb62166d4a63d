// How fast the link is, from what the page has loaded already, and which rendition of a track it carries.

import { mediaSourceClass } from './digm-support.js';

const ENOUGH_BYTES = 24_000; // less says more about the distance than about the speed
const HEADROOM = 1.5; // the link carries Python as well, and a rendition is not equally dense everywhere
const SLOWEST_TELLING_MS = 5; // what came faster than this came from a cache or from next door

/** As digm.media has them. @type {Record<string, string>} */
export const MIME = {
  flac: 'audio/mp4; codecs="flac"',
  opus: 'audio/mp4; codecs="opus"',
  aac: 'audio/mp4; codecs="mp4a.40.2"',
  mp3: 'audio/mpeg',
};

/**
 * Bytes per second at which this page's own files came, by the time in which at least one of them was arriving.
 * @returns {number | null} null when too little came over the network to say.
 */
export function measuredSpeed() {
  const entries = /** @type {PerformanceResourceTiming[]} */ (
    [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
  );
  const arrived = entries
    .filter(({ transferSize, responseStart, responseEnd }) => transferSize > 0 && responseEnd > responseStart)
    .sort((a, b) => a.responseStart - b.responseStart);
  let bytes = 0;
  let busy = 0;
  let until = 0;
  for (const { transferSize, responseStart, responseEnd } of arrived) {
    bytes += transferSize;
    busy += Math.max(0, responseEnd - Math.max(until, responseStart));
    until = Math.max(until, responseEnd);
  }
  if (bytes < ENOUGH_BYTES) return null;
  return busy < SLOWEST_TELLING_MS ? Infinity : (1000 * bytes) / busy;
}

/**
 * The first rendition that this browser plays and the link carries; where it carries none, the lightest.
 * @param {{codec: string, bit_rate: number}[]} renditions best first. @param {number | null} speed bytes per second.
 * @returns {number} -1: this browser plays none of them.
 */
export function chooseRendition(renditions, speed) {
  const playable = renditions.map(({ codec }) => mediaSourceClass().isTypeSupported(MIME[codec]));
  const best = playable.indexOf(true);
  if (speed === null || best < 0) return best;
  const carried = renditions.findIndex(({ bit_rate: rate }, at) => playable[at] && (rate / 8) * HEADROOM <= speed);
  return carried < 0 ? playable.lastIndexOf(true) : carried;
}
