// The shape of the track, drawn from the manifest's peaks. Colour says where the sound came from; what is not
// here yet is faint; what was heard is full.

const BAR = 2;
const GAP = 1;
const FLAT = new Uint8Array(64).fill(40);

export class Waveform {
  #canvas;
  #player;
  #isDue = false;
  #peaks = FLAT;

  /** The second behind which nothing can be heard. */
  #end = Infinity;

  /** @type {[number, number, string][]} from second, to second, "peer" | "gateway" | "cache" */
  origins = [];

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {{currentTime: number, duration: number}} player
   */
  constructor(canvas, player) {
    this.#canvas = canvas;
    this.#player = player;
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.draw());
  }

  /** @param {Uint8Array} peaks 0..255 */
  set peaks(peaks) {
    this.#peaks = peaks.length ? peaks : FLAT;
    this.draw();
  }

  /** @param {number} second */
  set end(second) {
    this.#end = second;
    this.draw();
  }

  /** Draw with the next picture, once. */
  draw() {
    if (this.#isDue) return;
    this.#isDue = true;
    requestAnimationFrame(() => {
      this.#isDue = false;
      this.#paint();
    });
  }

  #paint() {
    const canvas = this.#canvas;
    const ratio = globalThis.devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = canvas;
    if (!width || !height) return;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const pen = canvas.getContext('2d');
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const style = getComputedStyle(canvas);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim() || '#888';
    const colours = {
      none: colour('quiet'), peer: colour('peer'), gateway: colour('gateway'), cache: colour('cache'),
    };
    const { currentTime, duration } = this.#player;
    const heard = Number.isFinite(duration) && duration > 0 ? currentTime / duration : 0;
    const bars = Math.floor(width / (BAR + GAP));
    for (let bar = 0; bar < bars; bar += 1) {
      const at = (bar + 0.5) / bars;
      const tall = Math.max(2, (this.#loudest(bar, bars) / 255) * (height - 2));
      pen.fillStyle = colours[this.#originAt(at * duration)];
      pen.globalAlpha = at * duration > this.#end ? 0.2 : at <= heard ? 1 : 0.5;
      pen.fillRect(bar * (BAR + GAP), (height - tall) / 2, BAR, tall);
    }
  }

  #loudest(bar, bars) {
    const peaks = this.#peaks;
    const first = Math.floor((bar * peaks.length) / bars);
    const last = Math.max(first + 1, Math.floor(((bar + 1) * peaks.length) / bars));
    let most = 0;
    for (let i = first; i < last && i < peaks.length; i += 1) most = Math.max(most, peaks[i]);
    return most;
  }

  #originAt(second) {
    for (const [from, to, origin] of this.origins) if (second >= from && second < to) return origin;
    return 'none';
  }
}
