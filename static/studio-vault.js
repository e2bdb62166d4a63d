// The vault: whose it is, its back-up as a file, and bringing one back.

import { ask, send, write } from './studio-api.js';

const at = (id) => document.getElementById(id);

/** @param {string} text as a header takes it */
const encoded = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));

export class Vault {
  constructor() {
    at('backup').addEventListener('submit', (event) => { event.preventDefault(); this.#tell(() => this.#backUp()); });
    at('restore').addEventListener('submit', (event) => { event.preventDefault(); this.#tell(() => this.#restore()); });
  }

  async update() {
    const vault = await ask('GET', '/api/vault');
    const keys = `${vault.keys} track key${vault.keys === 1 ? '' : 's'}`;
    const sealed = vault.is_sealed ? 'sealed with your passphrase' : 'protected by its file mode alone';
    write(at('vault-said'), `${keys} and your identity ${vault.artist.slice(0, 8)}…${vault.artist.slice(-4)}, in ${vault.path}, ${sealed}.`);
    if (vault.is_replaced) write(at('vault-told'), AGAIN);
  }

  async #tell(work) {
    const said = at('vault-told');
    said.className = 'soft';
    write(said, 'One moment …');
    try {
      write(said, await work());
      said.className = '';
    } catch (fault) {
      said.className = 'bad';
      write(said, fault.message);
    }
  }

  async #backUp() {
    const { passphrase, again } = at('backup').elements;
    if (passphrase.value !== again.value) throw new Error('That was not the same twice.');
    const answer = await send('POST', '/api/vault/backup', { passphrase: passphrase.value });
    const name = /filename="([^"]+)"/.exec(answer.headers.get('Content-Disposition'))?.[1] ?? 'digm-vault.backup';
    const url = URL.createObjectURL(await answer.blob());
    const link = Object.assign(document.createElement('a'), { href: url, download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
    at('backup').reset();
    return `${name}: it was opened again and compared before you got it.`;
  }

  async #restore() {
    const { file, passphrase } = at('restore').elements;
    const done = await ask('PUT', '/api/vault/restore', file.files[0], { 'X-DIGM-Passphrase': encoded(passphrase.value) });
    at('restore').reset();
    const kept = done.kept ? ` ${done.kept} keys that it lacked were kept.` : '';
    return `It is back: ${done.keys} track keys.${kept} ${AGAIN}`;
  }
}

const AGAIN = 'Start digm studio and digm up again: what runs has still the vault from before open.';
