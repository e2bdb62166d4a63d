// A page's code, on ethers, as it would be on any chain: `node ethers.mjs URL ABI-FOLDER`. Prints what it saw.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { BrowserProvider, Contract, ContractFactory, HDNodeWallet, JsonRpcProvider, NonceManager } from 'ethers';
import { Signature, getAddress, verifyMessage } from 'ethers';

const [url, folder] = process.argv.slice(2);
const PHRASE = 'test test test test test test test test test test test junk';
const SUPPLY = 10n ** 24n;
const [STRANGER, LAST] = ['0x' + '11'.repeat(20), '0x' + '22'.repeat(20)];
const seen = {};

const compiled = async (name) => JSON.parse(await readFile(join(folder, `${name}.json`), 'utf8'));

/** What a wallet puts into a page (EIP-1193), here without the wallet's questions to its user. */
const wallet = {
  names: new Set(),
  async request({ method, params }) {
    this.names.add(method);
    const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params: params ?? [] });
    const headers = { 'content-type': 'application/json' };
    const answer = await (await fetch(url, { method: 'POST', body, headers })).json();
    if (answer.error) throw Object.assign(new Error(answer.error.message), answer.error);
    return answer.result;
  },
};

/** How a refusal reaches the page. */
async function refusal(doing) {
  try {
    await doing();
  } catch ({ code, reason }) {
    signer.reset();  // it counts on from the one that was refused
    return { code, reason };
  }
  return null;
}

const provider = new JsonRpcProvider(url, undefined, { pollingInterval: 50, cacheTimeout: -1 });
const artist = HDNodeWallet.fromPhrase(PHRASE, undefined, "m/44'/60'/0'/0/3").connect(provider);
const signer = new NonceManager(artist);
seen.chain = Number((await provider.getNetwork()).chainId);

// Deploying, calling, events.
const token = await compiled('Token');
const para = await new ContractFactory(token.abi, token.bytecode, signer).deploy('Para', 'PARA', SUPPLY, artist);
await para.waitForDeployment();
const address = await para.getAddress();
const [reader, friend] = [new Contract(address, token.abi, provider), await provider.getSigner(1)];
await para.transfer(friend, 5n);
const receipt = await (await para.transfer(friend, 7n)).wait();
seen.status = receipt.status;
seen.events = receipt.logs.map((log) => para.interface.parseLog(log).name);
seen.balance = Number(await reader.balanceOf(friend));
const found = await reader.queryFilter(reader.filters.Transfer(artist), receipt.blockNumber - 5);
seen.found = found.map((event) => Number(event.args.value)).filter((value) => value < 10);
const block = await provider.getBlock('latest', true);
seen.block = [block.prefetchedTransactions.length, block.baseFeePerGas > 0n, block.hash === receipt.blockHash];
seen.fees = (await provider.getFeeData()).maxFeePerGas > 0n;
let heard = null;
await reader.on(reader.filters.Transfer(null, LAST), ({ args }) => { heard = [args.receiver === LAST, Number(args.value)]; });
while (!heard) await (await para.transfer(LAST, 3n)).wait();  // it begins to listen some time after it was told to
await reader.removeAllListeners();
seen.subscribed = heard;

// Refused, with the contract's reason: before it is sent, and by a call.
seen.refused = await refusal(() => para.transfer(friend, SUPPLY));
seen.refusedCall = await refusal(() => reader.transfer.staticCall(friend, 1n, { from: STRANGER }));

// A wallet in the page: its accounts, texts that they sign, permits, transactions that the wallet signs.
const browser = new BrowserProvider(wallet, undefined, { pollingInterval: 50, cacheTimeout: -1 });
const listener = await browser.getSigner();
const [first] = await wallet.request({ method: 'eth_requestAccounts' });
seen.firstAccount = listener.address === getAddress(first);
seen.text = verifyMessage('I am listening', await listener.signMessage('I am listening')) === listener.address;
const domain = { name: 'Para', version: '1', chainId: seen.chain, verifyingContract: address };
const fields = ['address owner', 'address spender', 'uint256 value', 'uint256 nonce', 'uint256 deadline'];
const Permit = fields.map((field) => ({ type: field.split(' ')[0], name: field.split(' ')[1] }));
const permit = { owner: listener.address, spender: artist.address, value: 9n, nonce: 0n, deadline: 2n ** 64n };
const { v, r, s } = Signature.from(await listener.signTypedData(domain, { Permit }, permit));
await (await para.permit(permit.owner, permit.spender, 9n, permit.deadline, v, r, s)).wait();
seen.allowance = Number(await reader.allowance(listener, artist));
seen.permitTwice = await refusal(() => para.permit(permit.owner, permit.spender, 9n, permit.deadline, v, r, s));
const sent = await listener.sendTransaction({ to: artist.address, value: 5n });
seen.sent = (await sent.wait()).status;
seen.stranger = await refusal(() =>
  browser.send('personal_sign', ['0x1234', STRANGER]));
seen.asked = [...wallet.names].filter((name) => /sign|send|request/i.test(name)).sort();

console.log(JSON.stringify(seen));
process.exit(0);
