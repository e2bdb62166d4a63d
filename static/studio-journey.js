// A release on its way: a line for each step, as far as it is.

import { ask, el, write } from './studio-api.js';

const NAMES = {
  read: 'Read', encrypt: 'Encrypted', store: 'Stored', chain: 'On the chain', split: 'Shares', price: 'Price',
  order: 'Copies ordered', tell: 'Nodes told', accepted: 'Accepted', advertised: 'Advertised',
};
const TITLES = { running: 'On its way', done: 'It is out', failed: 'That did not go all the way' };
const at = (id) => document.getElementById(id);

export class Journey {
  #onDone;
  #state = '';
  /** @type {Map<string, HTMLElement>} */
  #steps = new Map();

  /** @param {() => void} onDone */
  constructor(onDone) {
    this.#onDone = onDone;
    at('journey-again').onclick = () => ask('POST', '/api/publish/again').catch(() => {});
    at('journey-close').onclick = () => ask('DELETE', '/api/publish').catch(() => {});
  }

  /** @param {any} journey null: there is none. */
  show(journey) {
    at('journey').hidden = !journey;
    if (!journey) { this.#state = ''; return; }
    at('journey').dataset.state = journey.state;
    write(at('journey-title'), TITLES[journey.state]);
    for (const step of journey.steps) this.#step(step);
    write(at('journey-said'), journey.sentence);
    const notes = journey.notes.join('\n');
    if (at('journey-notes').dataset.shown !== notes) {
      at('journey-notes').dataset.shown = notes;
      at('journey-notes').replaceChildren(...journey.notes.map((note) => el('li', { text: note })));
    }
    at('journey-again').hidden = !journey.can_go_on;
    at('journey-close').hidden = journey.state === 'running';
    if (this.#state === 'running' && journey.state !== 'running') this.#onDone();
    if (this.#state !== journey.state) this.#links(journey);
    if (!this.#state && journey.state === 'running') at('journey').scrollIntoView({ block: 'nearest' });
    this.#state = journey.state;
  }

  #step(step) {
    let line = this.#steps.get(step.name);
    if (!line) {
      line = el('li', {}, el('span', { class: 'dot' }), el('span', { class: 'step-name', text: NAMES[step.name] }), el('span', { class: 'step-rest' }, el('progress', { max: '1' }), el('span', { class: 'step-words soft' })));
      this.#steps.set(step.name, line);
      at('steps').append(line);
    }
    line.hidden = step.state === 'left_out';
    line.dataset.state = step.state;
    line.dataset.step = step.name;
    line.querySelector('progress').value = step.done;
    write(line.querySelector('.step-words'), step.words);
  }

  #links(journey) {
    const hub = at('hub').href;
    const links = journey.state === 'running' ? [] : journey.tracks.map((track) => el('a', { href: `${hub}tracks/${track.track_root}`, target: '_blank', rel: 'noopener noreferrer', text: `Hear ${track.title}` }));
    at('journey-links').replaceChildren(...links);
  }
}
