// Who signs and pays: a wallet that the listener has (found by EIP-6963, spoken to by EIP-1193), or the key that was
// made in this page. Both answer to the same four calls, and both name what went wrong in a sentence.

import { account, connectWallet, pageSecret } from './digm-account.js';

// Not before somebody pays: pages with a price have better things to load.
const withCurve = () => import('./digm-eth.js');
const ANNOUNCED_WITHIN_MS = 250; // wallets answer at once; there is no event for "that was all"
const MAX_ICON_CHARACTERS = 100_000;

/** A failure that the listener is told about; `code` is stable, `message` is a sentence. */
export class WalletError extends Error {
  /** @param {string} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

// EIP-1193 §"Provider Errors", EIP-1474, and what wallets answer to EIP-3326.
const WORDS = {
  4001: ['rejected', 'You said no in your wallet, so nothing was paid. You can try again.'],
  4100: ['locked', 'Your wallet does not let this page use that account. Unlock it, and connect it once more.'],
  4900: ['offline', 'Your wallet has no connection. Check it and try again.'],
  4901: ['offline', 'Your wallet has no connection to this chain. Check it and try again.'],
  '-32002': ['busy', 'Your wallet waits for an answer already. Open it, answer there, then try again.'],
  '-32003': ['refused', 'The chain did not take the payment. Is there enough on the account, also for the fee?'],
};
const UNKNOWN_CHAIN = 4902;

/** @param {any} error of a wallet. @returns {WalletError} */
function inWords(error) {
  if (error instanceof WalletError) return error;
  const [code, message] = WORDS[error?.code] ?? [];
  if (code) return new WalletError(code, message);
  const said = String(error?.data?.message ?? error?.message ?? '').slice(0, 200);
  return new WalletError('wallet_failed', `Your wallet could not do it${said ? `: ${said}` : ''}. Nothing was paid.`);
}

/**
 * @typedef {object} Chain
 * @property {number} id
 * @property {string} name
 * @property {string | null} rpc where wallets that do not know the chain can reach it.
 * @property {string} coin its symbol.
 */

/** A wallet in the browser. */
export class Wallet {
  #provider;

  /** @param {{rdns: string, name: string, icon?: string, uuid?: string}} info @param {any} provider EIP-1193. */
  constructor(info, provider) {
    this.id = String(info.rdns || info.name).slice(0, 200);
    this.name = String(info.name).slice(0, 60);
    this.icon = info.icon ?? '';
    this.address = '';
    this.#provider = provider;
  }

  async #ask(method, params = []) {
    try {
      return await this.#provider.request({ method, params });
    } catch (error) {
      throw inWords(error);
    }
  }

  /** Ask for its account, and buy with it from now on. @returns {Promise<this>} */
  async connect() {
    const [address] = await this.#ask('eth_requestAccounts');
    if (!address) throw new WalletError('locked', 'Your wallet shows no account. Unlock it, and connect it once more.');
    this.address = address;
    await connectWallet(address, this.id);
    return this;
  }

  /** Whether it still uses the account that was connected. @param {string} address @returns {Promise<this>} */
  async resume(address) {
    const accounts = await this.#ask('eth_accounts');
    if (!accounts.length) return this.connect();
    if (accounts[0].toLowerCase() !== address.toLowerCase()) {
      this.address = accounts[0];
      await connectWallet(accounts[0], this.id);
      throw new WalletError('account_changed',
        'Your wallet is on another account than before. What you buy now belongs to that one; press again if that is right.');
    }
    this.address = address;
    return this;
  }

  /** @param {() => void} listener called when the person changes account or chain in the wallet. */
  onChange(listener) {
    this.#provider.on?.('accountsChanged', listener);
    this.#provider.on?.('chainChanged', listener);
  }

  /** Be on the chain, ask the person to change to it if it is another one. @param {Chain} chain */
  async beOn(chain) {
    const wanted = `0x${chain.id.toString(16)}`;
    const isThere = async () => Number(await this.#ask('eth_chainId')) === chain.id;
    if (await isThere()) return;
    try {
      await this.#provider.request({ method: 'wallet_switchEthereumChain', params: [{ chainId: wanted }] });
    } catch (error) {
      if (error?.code !== UNKNOWN_CHAIN || !chain.rpc) throw this.#wrongChain(error, chain);
      await this.#ask('wallet_addEthereumChain', [{
        chainId: wanted, chainName: chain.name, rpcUrls: [chain.rpc],
        nativeCurrency: { name: chain.coin, symbol: chain.coin, decimals: 18 },
      }]);
    }
    if (!await isThere()) throw this.#wrongChain(null, chain);
  }

  #wrongChain(error, chain) {
    if (error?.code === 4001) return inWords(error);
    return new WalletError('wrong_chain',
      `Your wallet is on another chain. Change it to ${chain.name} (chain ${chain.id}) and try again; nothing was paid.`);
  }

  /** @param {{to: string, data: string, value: bigint}} transaction @returns {Promise<string>} its hash. */
  async send({ to, data, value }) {
    const transaction = { from: this.address, to, data, value: `0x${value.toString(16)}` };
    return this.#ask('eth_sendTransaction', [transaction]);
  }

  /** @returns {Promise<'waiting' | 'done' | 'failed'>} */
  async outcome(hash) {
    const receipt = await this.#ask('eth_getTransactionReceipt', [hash]);
    if (!receipt) return 'waiting';
    return Number(receipt.status) === 1 ? 'done' : 'failed';
  }

  /** @param {any} data EIP-712. @returns {Promise<string>} */
  async signTypedData(data) {
    const text = JSON.stringify(data, (_, value) => (typeof value === 'bigint' ? value.toString() : value));
    return this.#ask('eth_signTypedData_v4', [this.address, text]);
  }

  /** @param {string} text @returns {Promise<string>} */
  async signMessage(text) {
    const bytes = new TextEncoder().encode(text);
    const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
    return this.#ask('personal_sign', [`0x${hex}`, this.address]);
  }
}

/** The key made in this page. Its transactions go through the hub. */
export class PageWallet {
  #hub;
  id = 'page';
  name = 'This browser';

  /** @param {import('./digm-sales.js').SalesHub} hub @param {string} address */
  constructor(hub, address) {
    this.#hub = hub;
    this.address = address;
  }

  async beOn() { /* it is on the hub's chain */ }

  /** @param {{to: string, data: string, value: bigint, gas: number, chain: Chain}} transaction */
  async send({ to, data, value, gas, chain }) {
    const { nonce, gasPrice, tip } = await this.#hub.account(this.address);
    const most = 2n * gasPrice + tip;
    const { signTransaction } = await withCurve();
    const signed = await signTransaction(await pageSecret(), { chainId: chain.id, nonce, tip, most, gas, to, value, data });
    await this.#hub.send(signed.raw);
    return signed.hash;
  }

  /** @returns {Promise<'waiting' | 'done' | 'failed'>} */
  async outcome(hash) {
    return this.#hub.outcome(hash);
  }

  async signTypedData(data) {
    return (await withCurve()).signTypedData(await pageSecret(), data);
  }

  async signMessage(text) {
    return (await withCurve()).signMessage(await pageSecret(), text);
  }
}

/** Wallets that are installed here. @returns {Promise<Wallet[]>} */
export function discover() {
  return new Promise((resolve) => {
    const found = new Map();
    const hear = ({ detail }) => {
      if (!detail?.provider?.request || !detail.info?.name) return;
      found.set(detail.info.uuid ?? detail.info.rdns, new Wallet(detail.info, detail.provider));
    };
    addEventListener('eip6963:announceProvider', hear);
    dispatchEvent(new Event('eip6963:requestProvider'));
    setTimeout(() => {
      removeEventListener('eip6963:announceProvider', hear);
      const { ethereum } = /** @type {any} */ (globalThis);
      // Older wallets only put themselves there; with several of them the last one wins.
      if (!found.size && ethereum?.request) {
        found.set('', new Wallet({ rdns: 'window.ethereum', name: 'Wallet of this browser' }, ethereum));
      }
      resolve([...found.values()]);
    }, ANNOUNCED_WITHIN_MS);
  });
}

/** Who buys now. @param {import('./digm-sales.js').SalesHub} hub @returns {Promise<Wallet | PageWallet | null>} */
export async function current(hub) {
  const known = await account();
  if (!known) return null;
  if (known.kind === 'page') return new PageWallet(hub, known.address);
  const wallet = (await discover()).find(({ id }) => id === known.walletId);
  if (!wallet) {
    throw new WalletError('no_wallet', 'The wallet that you used here is gone. Connect another one, or pay from this browser.');
  }
  return wallet.resume(known.address);
}

/**
 * A wallet's picture as something that the page's policy lets in. @param {string} icon a data: address.
 * @returns {Promise<string | null>} a blob: address.
 */
export async function pictureOf(icon) {
  if (!/^data:image\/(png|jpeg|webp|gif|svg\+xml)[;,]/.test(icon) || icon.length > MAX_ICON_CHARACTERS) return null;
  try {
    return URL.createObjectURL(await (await fetch(icon)).blob());
  } catch {
    return null;
  }
}

const SIGN_IN_STATEMENT = 'Hear what this account may hear. This pays nothing and gives nothing away.';
const timeText = (seconds) => new Date(1000 * seconds).toISOString().replace(/\.\d+Z$/, 'Z');

/**
 * What is signed to show an account to an artist's vault (EIP-4361); the vault reads it byte for byte (digm/sign_in.py).
 * @param {{domain: string, address: string, uri: string, chainId: number, nonce: string, issuedAt: number,
 *   expiresAt: number, playerKey: string}} facts `address` with its checksum, times in seconds since 1970, the page's
 *   session key in hex.
 */
export function signInMessage({ domain, address, uri, chainId, nonce, issuedAt, expiresAt, playerKey }) {
  return [
    `${domain} wants you to sign in with your Ethereum account:`, address, '', SIGN_IN_STATEMENT, '',
    `URI: ${uri}`, 'Version: 1', `Chain ID: ${chainId}`, `Nonce: ${nonce}`, `Issued At: ${timeText(issuedAt)}`,
    `Expiration Time: ${timeText(expiresAt)}`, 'Resources:', `- digm:player:${playerKey}`,
  ].join('\n');
}

/**
 * The proof that a grant request of a premium listener carries (face `proof` of static/digm-head-start.js).
 * @param {Wallet | PageWallet} wallet @param {string} playerKey hex. @param {number} chainId @param {number} hours
 */
export async function signIn(wallet, playerKey, chainId, hours = 12) {
  const issuedAt = Math.floor(Date.now() / 1000);
  const nonce = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
  const { checksummed } = await withCurve();
  const message = signInMessage({
    domain: location.host, address: checksummed(wallet.address), uri: `${location.origin}${location.pathname}`, chainId,
    nonce, issuedAt, expiresAt: issuedAt + 3600 * hours, playerKey,
  });
  return { message, signature: await wallet.signMessage(message) };
}
