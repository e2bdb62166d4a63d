// What an element knows of its queue: the tracks that it was given, and where each of them lies on the clock of the one
// audio element that plays them all. The order of play is decided in Python (web/queue.py).

import { PlayerError } from './digm-head-start.js';

const TRACK = /^[0-9a-f]{64}$/;

/**
 * A track on the audio element's clock.
 * @typedef {object} Place
 * @property {number} index in the list of tracks.
 * @property {number} offset_s where it begins.
 * @property {number} duration_s
 * @property {string} [title] @property {string} [artist] @property {string} [album] @property {string} [cover_url]
 * @property {Uint8Array} [peaks]
 */

/**
 * The tracks that an element names: `tracks` or `track`; null when only the hub knows (`release`).
 * @param {HTMLElement} element
 * @returns {string[] | null}
 */
export function namedTracks(element) {
  const list = element.getAttribute('tracks')?.trim() || element.getAttribute('track')?.trim();
  if (!list && element.hasAttribute('release')) return null;
  const tracks = (list ?? '').split(/[\s,]+/);
  if (!tracks.every((track) => TRACK.test(track))) {
    throw new PlayerError('bad_track', 'This player was given no track: its name is 64 hexadecimal digits.');
  }
  return tracks;
}

/**
 * Ask the hub for the tracks of a release.
 * @param {string} hub @param {string} release
 * @returns {Promise<{title: string, tracks: any[]}>}
 */
export async function fetchRelease(hub, release) {
  const answer = await fetch(`${hub}/api/releases/${encodeURIComponent(release)}`).catch(() => null);
  if (!answer) {
    throw new PlayerError('hub_unreachable', 'The hub does not answer. Check the connection and try again.');
  }
  const body = await answer.json().catch(() => null);
  if (answer.ok && body?.tracks?.length && body.tracks.every((track) => TRACK.test(track.track_root))) return body;
  const said = body?.error;
  throw new PlayerError(said?.code ?? 'release_not_found', said?.message ?? 'There is no such release here.');
}

/**
 * What the hub wrote into its own page of a track; another track of another hub has to be asked for.
 * @param {any} element @param {string} track @param {string} ownHub
 */
export function knownDetails(element, track, ownHub) {
  try {
    const details = JSON.parse(element.dataset.details ?? 'null');
    return details?.track_root === track && element.hub === ownHub ? details : null;
  } catch {
    return null;
  }
}

/** Which track is heard at a moment of the audio element. */
export class Timeline {
  /** @type {Place[]} in order; what was heard long ago is not in it. */
  #places = [{ index: 0, offset_s: 0, duration_s: NaN }];

  /** @param {number} index of the track that begins at 0. */
  restart(index) {
    this.#places = [{ index, offset_s: 0, duration_s: NaN }];
  }

  /** @param {Place[]} places as Python reports them. */
  set(places) {
    if (places.length) this.#places = places;
  }

  /** @param {number} seconds of the audio element. @returns {Place} */
  at(seconds) {
    let here = this.#places[0];
    // A hair early: the clock of the element may stop just in front of a border that it was sent to.
    for (const place of this.#places) if (place.offset_s <= seconds + 1e-3) here = place;
    return here;
  }
}

/**
 * The part of an audio element's ranges that belongs to a track, on the track's own clock.
 * @param {TimeRanges} ranges @param {Place} place
 * @returns {{length: number, start: (i: number) => number, end: (i: number) => number}}
 */
export function rangesOf(ranges, place) {
  const last = Number.isFinite(place.duration_s) ? place.duration_s : Infinity;
  const found = [];
  for (let i = 0; i < ranges.length; i += 1) {
    const start = Math.max(0, ranges.start(i) - place.offset_s);
    const end = Math.min(last, ranges.end(i) - place.offset_s);
    if (start < end) found.push([start, end]);
  }
  return { length: found.length, start: (i) => found[i][0], end: (i) => found[i][1] };
}
