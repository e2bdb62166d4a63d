// Numbers of a player: what it says of itself before Python does, and how long the first sound took.

const LOOK_EVERY_MS = 5;

/**
 * @typedef {object} Stats
 * @property {{peer: number, gateway: number, cache: number, twice: number}} bytes of audio by where they came from, of
 *   the whole queue; `twice`: of what came although it had come before.
 * @property {number} peers connected now.
 * @property {number} stalls times the music waited for bytes after it had begun.
 * @property {number | null} first_sound_ms from the press of play to the first sound.
 * @property {number | null} ready_ms from navigation to Python being up.
 * @property {string} python "snapshot" or "bundle": how it came up.
 */

/** What is known before anything came. */
export const nothingYet = () => ({
  bytes: { peer: 0, gateway: 0, cache: 0, twice: 0 }, peers: 0, stalls: 0, codec: '', uploaded: 0,
});

/** From the first press of play to the first sound. */
export class FirstHeard {
  #audio;
  #pressedAt = 0;
  /** @type {number | null} */
  ms = null;

  /** @param {HTMLAudioElement} audio */
  constructor(audio) {
    this.#audio = audio;
  }

  /** Play was pressed. */
  press() {
    this.#pressedAt ||= performance.now();
    if (this.ms !== null) return;
    const look = () => {
      if (this.ms !== null || !this.#pressedAt) return;
      const { currentTime, paused, readyState } = this.#audio;
      if (currentTime > 0 && !paused && readyState > 2) this.ms = performance.now() - this.#pressedAt;
      else if (!paused) setTimeout(look, LOOK_EVERY_MS);
    };
    setTimeout(look, LOOK_EVERY_MS);
  }

  clear() {
    this.#pressedAt = 0;
    this.ms = null;
  }
}
