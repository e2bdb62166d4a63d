// Keys that this account bought on another device: the hub relays what lies on the chain, for everybody to see and for
// nobody else to open. Whether a key is right is found out when it is used.

import { account } from './digm-account.js';

/** Ask for the keys of this browser's account, and keep those that are new. */
export async function fetchOwned() {
  const who = await account();
  if (!who) return;
  const { SalesHub, keepKeys } = await import('./digm-sales.js');
  const hub = new SalesHub(location.origin);
  for (const address of new Set([who.address, who.pageAddress])) {
    const answer = await hub.keys(address);
    await keepKeys(answer, answer, address);
  }
}
