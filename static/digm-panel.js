// Numbers for people, as a drawing: who is connected, who gave what, where the sound of this track came from, when the
// music had to wait, and what this page gives. Opened by a button; nothing is drawn while it is closed.

import { cacheState, forgetEverything } from './digm-cache.js';

const SVG = 'http://www.w3.org/2000/svg';
const HEIGHT = 172;
const LOW_HEIGHT = 104; // nobody above, nobody below
const ORIGINS = /** @type {const} */ (['peer', 'gateway', 'cache']);
const NAMES = { peer: 'peers', gateway: 'the server', cache: 'this device' };
const MOST_LABELS = 6;

const MARKUP = `
<div id="panel-head"><p id="panel-lead"></p><p id="panel-side"></p></div>
<svg id="panel-net" role="img" height="${HEIGHT}"></svg>
<div id="panel-track" role="img"><svg id="panel-strip" height="22" aria-hidden="true"></svg></div>
<ul id="panel-legend"></ul>
<div id="panel-foot"><span id="panel-kept"></span>
  <button id="panel-forget" type="button">Forget it</button><span id="panel-more"></span></div>`;

/** @param {string} name @param {Record<string, string | number>} attributes @param {string} [text] */
function shape(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  if (text !== undefined) element.textContent = text;
  return element;
}

/** @param {number} bytes @returns {string} 640 KB, 3.2 MB, 45 MB */
export function amount(bytes) {
  if (bytes < 1e6) return `${Math.round(bytes / 1e3)} KB`;
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}

/** @param {number} count @param {string} one @param {string} [many] */
const counted = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

/** Part of an arc around (x, y), clockwise from the top. */
function arc(x, y, radius, from, to) {
  const at = (turn) => {
    const angle = 2 * Math.PI * turn - Math.PI / 2;
    return `${(x + radius * Math.cos(angle)).toFixed(2)} ${(y + radius * Math.sin(angle)).toFixed(2)}`;
  };
  const end = Math.min(to, from + 0.9999);
  return `M${at(from)}A${radius} ${radius} 0 ${end - from > 0.5 ? 1 : 0} 1 ${at(end)}`;
}

export class Panel {
  #player;
  #root;
  #button;
  #part;
  /** Where the music had to wait, in seconds of the track. @type {number[]} */
  #waits = [];
  #stalls = 0;
  #isDue = false;

  /**
   * @param {HTMLElement} root where it is drawn.
   * @param {HTMLButtonElement} button opens and closes it.
   * @param {any} player a <digm-player>.
   */
  constructor(root, button, player) {
    this.#root = root;
    this.#button = button;
    this.#player = player;
    root.innerHTML = MARKUP;
    this.#part = (id) => /** @type {any} */ (root.querySelector(`#panel-${id}`));
    button.addEventListener('click', () => this.toggle());
    root.addEventListener('keydown', (event) => {
      if (event.key !== 'Escape') return;
      event.stopPropagation();
      this.toggle(false);
      button.focus();
    });
    this.#part('forget').addEventListener('click', () => this.#forget());
    new ResizeObserver(() => this.draw()).observe(root);
    for (const type of ['timeupdate', 'progress', 'seeked']) player.addEventListener(type, () => this.draw());
    player.addEventListener('trackchange', () => { this.#waits = []; this.draw(); });
  }

  /** Where other parts put controls of their own. @returns {HTMLElement} */
  get more() { return this.#part('more'); }

  get isOpen() { return !this.#root.hidden; }

  toggle(isOpen = !this.isOpen) {
    this.#root.hidden = !isOpen;
    this.#button.setAttribute('aria-expanded', String(isOpen));
    if (isOpen) this.#showKept();
    this.draw();
  }

  /** @param {any} stats as Python reports them. */
  stats(stats) {
    if (stats.stalls > this.#stalls) this.#waits.push(this.#player.currentTime);
    this.#stalls = stats.stalls;
    this.draw();
  }

  clear() {
    this.#waits = [];
    this.#stalls = 0;
    this.draw();
  }

  /** With the next picture, once, and only when somebody looks. */
  draw() {
    if (this.#isDue || !this.isOpen) return;
    this.#isDue = true;
    requestAnimationFrame(() => {
      this.#isDue = false;
      if (this.isOpen) this.#paint();
    });
  }

  async #showKept() {
    const { bytes } = await cacheState();
    this.#part('kept').textContent = bytes
      ? `${amount(bytes)} of music kept on this device, encrypted.`
      : 'Nothing is kept on this device.';
    this.#part('forget').hidden = !bytes;
  }

  async #forget() {
    await forgetEverything();
    await this.#showKept();
    this.#button.focus();
  }

  #paint() {
    const { stats } = this.#player;
    const bytes = { peer: 0, gateway: 0, cache: 0, ...stats.bytes };
    const total = bytes.peer + bytes.gateway + bytes.cache;
    const links = stats.links ?? [];
    this.#words(stats, bytes, total, links);
    this.#net(bytes, total, links);
    this.#strip(stats.origins ?? []);
  }

  #words(stats, bytes, total, links) {
    const saved = total ? Math.round((100 * (bytes.peer + bytes.cache)) / total) : 0;
    const given = stats.uploaded ?? 0;
    const nodes = links.filter(({ kind }) => kind === 'node').length;
    const people = Math.max(0, (links.length || stats.peers || 0) - nodes);
    this.#part('lead').textContent = total ? `${saved} % without the server` : 'Nothing has come yet';
    const others = [people && counted(people, 'listener'), nodes && counted(nodes, 'node')].filter(Boolean);
    const side = [others.length ? `with ${others.join(' and ')}` : 'alone here'];
    if (given) side.push(`gave ${amount(given)}`);
    side.push(stats.stalls ? counted(stats.stalls, 'stall') : 'no stalls');
    this.#part('side').textContent = side.join(' · ');
    const legend = ORIGINS.filter((origin) => bytes[origin]).map((origin) => {
      const item = document.createElement('li');
      item.dataset.origin = origin;
      item.textContent = `${amount(bytes[origin])} from ${NAMES[origin]}`;
      return item;
    });
    this.#part('legend').replaceChildren(...legend);
    const told = legend.map((item) => item.textContent).join(', ');
    this.#part('net').setAttribute('aria-label', `${side.join(', ')}. ${told || 'Nothing has come yet'}.`);
  }

  /** This page in the middle, the server on the left, everybody else around. */
  #net(bytes, total, links) {
    const svg = this.#part('net');
    const width = svg.clientWidth || 320;
    const height = links.length > 1 ? HEIGHT : LOW_HEIGHT;
    svg.setAttribute('height', String(height));
    svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
    const [x, y] = [width / 2, height / 2];
    const [rx, ry] = [Math.min(width / 2 - 46, 250), height / 2 - 26];
    const most = Math.max(1, bytes.gateway, ...links.map(({ taken, given }) => Math.max(taken ?? 0, given ?? 0)));
    const drawn = [...links].sort((one, other) => (one.peer < other.peer ? -1 : 1));
    const around = (turn) => [x + rx * Math.cos(turn), y + ry * Math.sin(turn)];
    const [sx, sy] = around(Math.PI);
    const marks = [this.#line(x, y, sx, sy, bytes.gateway, most, 'gateway')];
    const spots = [this.#server(sx, sy, bytes.gateway)];
    drawn.forEach((link, i) => {
      const [px, py] = around(Math.PI + (2 * Math.PI * (i + 1)) / (drawn.length + 1));
      marks.push(this.#line(x, y, px, py, link.taken ?? 0, most, 'peer', link.relayed));
      if (link.given) marks.push(this.#line(x, y, px, py, link.given, most, 'given'));
      spots.push(this.#peer(px, py, link, most, drawn.length <= MOST_LABELS && (py < y ? -1 : 1)));
    });
    svg.replaceChildren(...marks, ...spots, ...this.#self(x, y, bytes, total));
  }

  #line(x, y, toX, toY, moved, most, kind, isRelayed = false) {
    const width = moved ? 1 + 5 * Math.sqrt(moved / most) : 1;
    // What is given runs beside what is taken.
    const length = Math.hypot(toX - x, toY - y) || 1;
    const [dx, dy] = kind === 'given' ? [(5 * (y - toY)) / length, (5 * (toX - x)) / length] : [0, 0];
    const line = shape('line', {
      x1: toX + dx, y1: toY + dy, x2: x + dx, y2: y + dy, class: `line ${kind}`, 'stroke-width': width.toFixed(1),
    });
    line.toggleAttribute('data-idle', !moved);
    line.toggleAttribute('data-relayed', isRelayed);
    return line;
  }

  #server(x, y, taken) {
    const group = shape('g', { class: 'spot gateway' });
    group.append(
      shape('rect', { x: x - 10, y: y - 10, width: 20, height: 20, rx: 5 }),
      shape('text', { x, y: y + 25, 'text-anchor': 'middle' }, taken ? amount(taken) : 'server'),
      shape('title', {}, `The server gave ${amount(taken)}`),
    );
    return group;
  }

  /** @param {-1 | 1 | false} labelled above, below, not at all. */
  #peer(x, y, link, most, labelled) {
    const { taken = 0, given = 0, kind, rtt_ms: rtt, relayed } = link;
    const size = 6 + 5 * Math.sqrt(Math.max(taken, given) / most);
    const group = shape('g', { class: `spot peer${kind === 'node' ? ' node' : ''}` });
    group.append(kind === 'node'
      ? shape('rect', { x: x - size, y: y - size, width: 2 * size, height: 2 * size, rx: 3, transform: `rotate(45 ${x} ${y})` })
      : shape('circle', { cx: x, cy: y, r: size }));
    if (labelled && taken + given) {
      const label = taken ? amount(taken) : `↑ ${amount(given)}`;
      group.append(shape('text', { x, y: labelled < 0 ? y - size - 5 : y + size + 13, 'text-anchor': 'middle' }, label));
    }
    const facts = [`${kind === 'node' ? 'A node' : 'A listener'}: gave ${amount(taken)}, took ${amount(given)}`];
    if (rtt) facts.push(`${Math.round(rtt)} ms away`);
    if (relayed) facts.push('through a relay');
    group.append(shape('title', {}, facts.join(', ')));
    return group;
  }

  /** A ring that says where the bytes came from. */
  #self(x, y, bytes, total) {
    const parts = [shape('circle', { cx: x, cy: y, r: 27, class: 'self' })];
    let from = 0;
    for (const origin of ORIGINS) {
      if (!bytes[origin]) continue;
      const to = from + bytes[origin] / total;
      parts.push(shape('path', { d: arc(x, y, 23, from, to), class: `ring ${origin}` }));
      from = to;
    }
    parts.push(shape('text', { x, y: y + 4, 'text-anchor': 'middle', class: 'you' }, 'you'));
    return parts;
  }

  /** The track from left to right: where each second came from, what is buffered, where it had to wait. */
  #strip(origins) {
    const svg = this.#part('strip');
    const width = svg.clientWidth || 320;
    const { duration, currentTime, buffered } = this.#player;
    svg.setAttribute('viewBox', `0 0 ${width} 22`);
    if (!Number.isFinite(duration) || duration <= 0) return svg.replaceChildren();
    const place = (second) => (width * second) / duration;
    const marks = [shape('rect', { x: 0, y: 7, width, height: 8, rx: 4, class: 'empty' })];
    for (const [from, to, origin] of origins) {
      marks.push(shape('rect', {
        x: place(from).toFixed(1), y: 7, width: Math.max(1, place(to - from) + 0.4).toFixed(1), height: 8, class: `came ${origin}`,
      }));
    }
    for (let i = 0; i < buffered.length; i += 1) {
      const [from, to] = [place(buffered.start(i)), place(buffered.end(i))];
      marks.push(shape('rect', { x: from, y: 17, width: Math.max(1, to - from), height: 2, rx: 1, class: 'ahead' }));
    }
    for (const second of this.#waits) {
      marks.push(shape('path', { d: `M${place(second)} 0l3 5h-6z`, class: 'wait' }));
    }
    marks.push(shape('rect', { x: place(currentTime) - 1, y: 3, width: 2, height: 16, rx: 1, class: 'head' }));
    svg.replaceChildren(...marks);
    const ahead = [...Array(buffered.length).keys()].find(
      (i) => buffered.start(i) <= currentTime + 0.05 && buffered.end(i) > currentTime,
    );
    const seconds = ahead === undefined ? 0 : Math.round(buffered.end(ahead) - currentTime);
    this.#part('track').setAttribute('aria-label', `${counted(seconds, 'second')} buffered ahead`);
    return undefined;
  }
}
