// What is published, how it fares, and who keeps it.

import { artwork, ask, clock, el } from './studio-api.js';

const at = (id) => document.getElementById(id);
const STATES = { healthy: 'proves what it holds', unproven: 'not audited yet', slow: 'answers late', absent: 'did not answer', failed: 'failed an audit', gone: 'gone' };

const SALES = { waiting: 'waits for its key', delivered: 'delivered', given: 'given by you', refunded: 'money went back' };

/** @param {number} seconds since 1970 */
const when = (seconds) => new Date(seconds * 1000).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });

/** @param {any} node @returns {string} how it does */
function about(node) {
  return [
    node.is_jailed ? 'in jail' : STATES[node.state] ?? node.state,
    node.holds && `has ${node.holds} of your tracks`,
    node.latency_ms !== null && `${node.latency_ms} ms`,
  ].filter(Boolean).join(' · ');
}

export class Music {
  #shown = '';
  #knowChain;
  #open;

  /**
   * @param {(chain: any) => void} knowChain is told how the chain is
   * @param {(track: any) => void} open what is to be done with a track
   */
  constructor(knowChain, open) {
    this.#knowChain = knowChain;
    this.#open = open;
  }

  async update() {
    const found = await ask('GET', '/api/music');
    const said = JSON.stringify(found);
    if (said === this.#shown) return;
    this.#shown = said;
    at('hub').hidden = !found.is_hub_up;
    at('hub').href = `${found.hub}/`;
    at('music').replaceChildren(...this.#music(found));
    at('nodes').replaceChildren(...this.#nodes(found));
    this.#sales(found);
    this.#knowChain(found.chain);
  }

  #sales({ sales, income }) {
    at('sales-part').hidden = !sales.length;
    at('income').textContent = income.length ? `Listeners paid ${income.join(' and ')} for keys that they have.` : '';
    const rows = sales.map((sale) => el('tr', {},
      el('th', { scope: 'row' }, el('b', { dir: 'auto', text: sale.title }), el('span', { class: 'by', title: sale.buyer, text: `${sale.buyer.slice(0, 8)}…${sale.buyer.slice(-4)}` })),
      el('td', { text: sale.paid ?? '–' }),
      el('td', { class: sale.state === 'waiting' ? 'bad' : '', text: SALES[sale.state] ?? sale.state, title: sale.state === 'waiting' ? `until ${when(sale.deliver_before)}, then the money goes back` : null }),
      el('td', { text: when(sale.at) })));
    const head = el('tr', {}, ...['Track', 'Paid', 'Key', 'When'].map((text) => el('th', { scope: 'col', text })));
    at('sales').replaceChildren(el('div', { class: 'card music' }, el('table', {}, el('thead', {}, head), el('tbody', {}, ...rows))));
  }

  #music({ tracks, is_hub_up: isUp, trouble, hub }) {
    const notes = trouble.map((sentence) => el('p', { class: 'soft small', text: sentence }));
    if (!tracks.length) return [el('p', { class: 'soft', text: 'Nothing is published yet.' }), ...notes];
    const rows = tracks.map((track) => this.#row(track, isUp ? hub : null));
    const head = el('tr', {}, ...['', 'Track', 'Price', 'Free', 'Sold', 'Copies', 'Plays', ''].map((text) => el('th', { scope: 'col', text })));
    return [el('div', { class: 'card music' }, el('table', {}, el('thead', {}, head), el('tbody', {}, ...rows))), ...notes];
  }

  #row(track, hub) {
    const title = hub ? el('a', { href: `${hub}/tracks/${track.track_root}`, target: '_blank', rel: 'noopener noreferrer', dir: 'auto', text: track.title }) : el('span', { dir: 'auto', text: track.title });
    const copies = track.held === null ? '–' : track.desired ? `${track.held} of ${track.desired}` : String(track.held);
    const isShort = track.desired && track.held < track.desired;
    return el('tr', { 'data-root': track.track_root },
      el('td', { class: 'music-cover' }, artwork(track.cover && `/covers/${track.cover}`, track.title)),
      el('th', { scope: 'row' }, title, el('span', { class: 'by', dir: 'auto', text: [track.artist || 'Unknown artist', clock(track.duration_s)].join(' · ') }),
        !track.has_key && track.is_own && el('span', { class: 'bad small', text: 'Its key is missing in your vault: nobody can hear it.' })),
      el('td', {}, track.price ?? (track.album_price ? 'in the album' : 'free'), track.album_price && el('span', { class: 'by', text: `together ${track.album_price}` })),
      el('td', { text: track.preview_s ? `first ${track.preview_s} s` : 'all of it' }),
      el('td', {}, String(track.sold || '–'), track.waiting > 0 && el('span', { class: 'by', text: `${track.waiting} waiting` })),
      el('td', { class: isShort ? 'bad' : '', text: copies }),
      el('td', {}, String(track.plays || '–'), track.listeners > 0 && el('span', { class: 'by', text: `${track.listeners} listening` })),
      el('td', {}, track.is_on_chain && track.is_own && el('button', { type: 'button', class: 'quiet-button small', onclick: () => this.#open(track), text: track.preview_s ? 'Price, gifts' : 'Gifts' })));
  }

  #nodes({ nodes, is_hub_up: isUp }) {
    if (!isUp) return [el('p', { class: 'soft', text: 'Your hub does not run, so nobody hears of your music: start it with digm up.' })];
    const others = nodes.filter((node) => !node.is_self);
    if (!others.length) return [el('p', { class: 'soft', text: 'No other node is there: your music lies on this machine alone.' })];
    return [el('ul', { class: 'node-chips' }, ...others.map((node) => el('li', { 'data-state': node.state },
      el('span', { class: 'dot' }), el('b', { dir: 'auto', text: node.operator }),
      el('span', { class: 'soft', text: about(node) }))))];
  }
}
