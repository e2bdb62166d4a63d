// What is done with a track that is out: its price, and its key for who paid elsewhere; and the income.

import { ask, write } from './studio-api.js';

const at = (id) => document.getElementById(id);

/** Do something, and say what came of it. @param {HTMLElement} said @param {() => Promise<string>} work */
async function tell(said, work) {
  said.className = 'soft';
  write(said, 'One moment: the chain takes it in …');
  try {
    write(said, await work());
    said.className = '';
  } catch (fault) {
    said.className = 'bad';
    write(said, fault.message);
  }
}

export class Counter {
  #root = '';
  #onChange;

  /** @param {() => void} onChange */
  constructor(onChange) {
    this.#onChange = onChange;
    at('price-form').addEventListener('submit', (event) => { event.preventDefault(); tell(at('counter-said'), () => this.#setPrice()); });
    at('give-form').addEventListener('submit', (event) => { event.preventDefault(); tell(at('counter-said'), () => this.#give()); });
    at('fetch-income').onclick = () => tell(at('income-said'), () => this.#fetch());
  }

  /** @param {{track_root: string, title: string, price: string | null, preview_s: number | null}} track */
  open(track) {
    this.#root = track.track_root;
    at('counter-title').textContent = track.title;
    at('counter-said').textContent = '';
    at('price-form').reset();
    at('give-form').reset();
    const [, from, price, token] = /^(from )?([\d.]+) (\w+)$/.exec(track.price ?? '') ?? [];
    const { price: field, token: money, is_at_least: atLeast } = at('price-form').elements;
    field.value = price ?? '';
    money.value = token === undefined || token === 'PARA' ? 'para' : 'coin';
    atLeast.checked = from !== undefined;
    at('price-form').hidden = !track.preview_s;
    at('counter').showModal();
  }

  async #setPrice() {
    const { price, token, is_at_least: atLeast } = at('price-form').elements;
    const about = { price: price.value.trim(), token: token.value, is_at_least: atLeast.checked };
    await ask('POST', `/api/tracks/${this.#root}/price`, about);
    this.#onChange();
    return about.price ? 'That is its price now.' : 'It is not for sale any more. Who has it keeps it.';
  }

  async #give() {
    await ask('POST', `/api/tracks/${this.#root}/give`, { code: at('give-form').elements.code.value });
    at('give-form').reset();
    this.#onChange();
    return 'Given: the listener’s page opens it by itself.';
  }

  async #fetch() {
    const { fetched } = await ask('POST', '/api/income');
    const amounts = Object.entries(fetched).map(([token, amount]) => `${amount} ${token === 'coin' ? 'coins' : token.toUpperCase()}`);
    this.#onChange();
    return amounts.length ? `${amounts.join(' and ')} came to your account.` : 'Nothing is owed to your account just now.';
  }
}
