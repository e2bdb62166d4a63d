// Keys that this account bought on another device: the hub relays what lies on the chain, for everybody to see and for
// nobody else to open. Whether a key is right is found out when it is used.

import { account, keep } from './digm-account.js';
import { fromHex } from './digm-crypto.js';

/** Ask for the keys of this browser's account, and keep those that are new. */
export async function fetchOwned() {
  const who = await account();
  if (!who) return;
  for (const address of new Set([who.address, who.pageAddress])) {
    const answer = await fetch(`/api/keys/${address}`, { cache: 'no-store' });
    if (!answer.ok) continue;
    const { keys, chain_id: chainId, sales } = await answer.json();
    for (const key of keys) {
      if (!key.wrapped) continue;
      const wrapped = fromHex(key.wrapped.replace(/^0x/, ''));
      const purchase = { wrapped, chainId: key.chain_id ?? chainId, sales: key.sales ?? sales, item: key.item, buyer: address };
      for (const [place, track] of key.tracks.entries()) await keep(track, { ...purchase, place });
    }
  }
}
