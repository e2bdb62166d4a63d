// What pages sign by themselves, beside what ethers makes of the same: `node tests/web/eth.mjs` says how much agreed.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { AbiCoder, Interface, Transaction, TypedDataEncoder, Wallet, getAddress, id } from 'ethers';

import { placeLibraries } from '../../web/build/libraries.mjs';

const SIGN_INS = new URL('../vectors/sign_in.json', import.meta.url);
const ROOT = new URL('../../', import.meta.url);
await placeLibraries(new URL('node_modules', ROOT).pathname, new URL('static/dist', ROOT).pathname);
const eth = await import('../../static/digm-eth.js');

let compared = 0;
const same = (mine, theirs) => { assert.deepEqual(mine, theirs); compared += 1; };

const SECRETS = ['11'.repeat(32), '00'.repeat(31) + '01', 'fe'.repeat(32), 'c0ffee'.padStart(64, '7')];
const ACCOUNTS = SECRETS.map((hex) => ({ secret: eth.bytesOf(hex), wallet: new Wallet(`0x${hex}`) }));

for (const { secret, wallet } of ACCOUNTS) {
  same(eth.addressOf(secret), wallet.address);
  same(eth.checksummed(wallet.address.toLowerCase()), getAddress(wallet.address));
  same(await eth.signMessage(secret, 'hall of mirrors\nünï'), await wallet.signMessage('hall of mirrors\nünï'));
}

const { secret, wallet } = ACCOUNTS[0];
for (const value of [0n, 1n, 127n, 128n, 10n ** 18n]) {
  for (const data of ['0x', `0x${'ab'.repeat(4)}`, `0x${'cd'.repeat(60)}`, `0x${'00'.repeat(300)}`]) {
    const nonce = Number(value % 300n);
    const fields = { chainId: 31337, nonce, to: wallet.address, value, data };
    const theirs = await wallet.signTransaction({
      ...fields, type: 2, maxPriorityFeePerGas: 10n ** 9n, maxFeePerGas: 3n * 10n ** 9n, gasLimit: 90000,
    });
    const mine = await eth.signTransaction(secret, { ...fields, tip: 10n ** 9n, most: 3n * 10n ** 9n, gas: 90000 });
    same(mine.raw, theirs);
    same(mine.hash, Transaction.from(theirs).hash);
  }
}

const TYPES = ['bytes32', 'address', 'uint256', 'bool', 'bytes', 'string', 'uint256[]'];
const VALUES = [id('x'), wallet.address, 2n ** 255n, true, '0x010203', 'Prélude, à deux', [1n, 2n, 3n]];
same(eth.hexOf(eth.encodeArguments(TYPES, VALUES)), AbiCoder.defaultAbiCoder().encode(TYPES, VALUES));
const TRANSFER = 'transfer(address,uint256)';
same(
  eth.call(TRANSFER, wallet.address, 5n),
  new Interface([`function ${TRANSFER}`]).encodeFunctionData('transfer', [wallet.address, 5n]),
);

const domain = { name: 'DIGM', version: '1', chainId: 31337, verifyingContract: wallet.address };
const types = {
  Purchase: [
    { name: 'track', type: 'string' }, { name: 'amount', type: 'uint256' }, { name: 'payees', type: 'Payee[]' },
    { name: 'key', type: 'bytes32' }, { name: 'note', type: 'bytes' }, { name: 'final', type: 'bool' },
  ],
  Payee: [{ name: 'account', type: 'address' }, { name: 'share', type: 'uint16' }],
};
const message = {
  track: 'Gymnopédie', amount: 25n, payees: [{ account: wallet.address, share: 10000 }], key: id('k'), note: '0x00ff',
  final: false,
};
const EIP712Domain = [
  { name: 'name', type: 'string' }, { name: 'version', type: 'string' }, { name: 'chainId', type: 'uint256' },
  { name: 'verifyingContract', type: 'address' },
];
const typed = { types: { EIP712Domain, ...types }, primaryType: 'Purchase', domain, message };
same(eth.hexOf(eth.typedDataHash(typed)), TypedDataEncoder.hash(domain, types, message));
same(await eth.signTypedData(secret, typed), await wallet.signTypedData(domain, types, message));

// The sign-in messages of digm/sign_in.py, and their signatures.
const { signInMessage } = await import('../../static/digm-wallet.js');
for (const { fields, message: expected, private_key: key, signature } of JSON.parse(await readFile(SIGN_INS, 'utf8'))) {
  const text = signInMessage({
    ...fields, chainId: fields.chain_id, issuedAt: fields.issued_at, expiresAt: fields.expires_at,
    playerKey: fields.player_key,
  });
  same(text, expected);
  same(await eth.signMessage(eth.bytesOf(key), text), `0x${signature}`);
}

// A purchase as the contract reads it: structs of fixed size, flat.
const BUY = 'buy_signed((bytes32,address,uint256),(uint8,bytes32),uint256)';
same(
  eth.call(BUY, id('x'), wallet.address, 7n, 27, id('r'), 0),
  new Interface([`function ${BUY}`]).encodeFunctionData('buy_signed', [[id('x'), wallet.address, 7n], [27, id('r')], 0]),
);

console.log(compared);
process.exit(0); // the account's channel to other tabs stays open
