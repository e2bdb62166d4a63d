// How it went, for the site, from listeners who agreed to tell (hub/api/reports.py): counts and times, nothing of who.

const EVERY_MS = 60_000;

/** Sends what changed since the last time: every minute of play, at the end, and when the page goes. */
export class Reports {
  #player;
  #mayTell;
  #told = null;
  #at = 0;
  #played = 0;
  #position = NaN;

  /** @param {any} player a <digm-player>. @param {() => boolean} mayTell */
  constructor(player, mayTell) {
    this.#player = player;
    this.#mayTell = mayTell;
    player.addEventListener('timeupdate', () => this.#tick());
    player.addEventListener('ended', () => this.#send());
    addEventListener('pagehide', () => this.#send());
  }

  #tick() {
    const { currentTime } = this.#player;
    const step = currentTime - this.#position;
    if (step > 0 && step < 2) this.#played += step; // a longer one is a seek
    this.#position = currentTime;
    if (performance.now() - this.#at > EVERY_MS) this.#send();
  }

  #send() {
    const { track, hub, stats } = this.#player;
    const isFirst = this.#told?.track !== track;
    const { bytes, uploaded: given, stalls } = isFirst ? { bytes: {}, uploaded: 0, stalls: 0 } : this.#told;
    const since = (now, then) => Math.max(0, Math.round((now ?? 0) - (then ?? 0)));
    const isQuiet = this.#played < 1;
    if (!this.#mayTell() || isQuiet) return;
    const report = {
      track,
      bytes: Object.fromEntries(['peer', 'gateway', 'cache'].map((name) => [name, since(stats.bytes[name], bytes[name])])),
      given: since(stats.uploaded, given),
      stalls: since(stats.stalls, stalls),
      played_s: Math.round(this.#played),
      ...(isFirst && stats.first_sound_ms !== null ? { first_sound_ms: Math.round(stats.first_sound_ms) } : {}),
    };
    this.#told = { track, ...stats };
    this.#at = performance.now();
    this.#played = 0;
    navigator.sendBeacon(`${hub}/api/reports`, JSON.stringify(report));
  }
}
