// How fast the link is, from what the page has loaded already, and which rendition of a track it carries.

import { mediaSourceClass } from './digm-support.js';

const ENOUGH_BYTES = 24_000; // less says more about the distance than about the speed
const HEADROOM = 1.5; // the link carries Python as well, and a rendition is not equally dense everywhere
const LARGE_BYTES = 16_000; // behind the ten segments that a server sends at once (RFC 6928)
const LEAST_TELLING_MS = 200; // less may as well be a busy machine as a slow link

/** As digm.media has them. @type {Record<string, string>} */
export const MIME = {
  flac: 'audio/mp4; codecs="flac"',
  opus: 'audio/mp4; codecs="opus"',
  aac: 'audio/mp4; codecs="mp4a.40.2"',
  mp3: 'audio/mpeg',
};

/**
 * Bytes per second at which this page's own files came: all of them by the time in which at least one was arriving, or
 * the quickest larger one, if that was quicker. A busy machine makes most of them slow, a slow link all.
 * @returns {number | null} null when too little came over the network, or too soon, to say.
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
  let quickest = 0;
  for (const { transferSize, responseStart, responseEnd } of arrived) {
    bytes += transferSize;
    busy += Math.max(0, responseEnd - Math.max(until, responseStart));
    until = Math.max(until, responseEnd);
    if (transferSize >= LARGE_BYTES) quickest = Math.max(quickest, transferSize / (responseEnd - responseStart));
  }
  if (bytes < ENOUGH_BYTES || busy < LEAST_TELLING_MS) return null;
  return 1000 * Math.max(bytes / busy, quickest);
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
