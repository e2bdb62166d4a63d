// A key that was bought, for a player on the same hub's page in somebody else's frame: opened here, in the window of the
// purchase, and sealed to that player's session key, so that nobody between the two can use it (web/purchase.py).

import { account, owned } from './digm-account.js';
import { concat, fromHex, hpkeOpen, hpkeSeal, number } from './digm-crypto.js';

const X25519 = 1;
const KEY_BYTES = 32;

/**
 * @param {string} track its root. @param {Uint8Array} sessionKey X25519, of the player.
 * @returns {Promise<Uint8Array | null>} for the player's `unlockWith`; null: this browser does not own the track, or has
 *   no key that opens it.
 */
export async function sealedFor(track, sessionKey) {
  const [known, purchase] = await Promise.all([account(), owned(track)]);
  if (!known || purchase?.wrapped[0] !== X25519 || known.suite !== X25519) return null;
  const { wrapped, chainId, sales, item, buyer, place } = purchase;
  const bytes = (address) => fromHex(address.slice(2));
  const additionalData = concat(number(chainId, 8), bytes(sales), bytes(item), bytes(buyer));
  try {
    const keys = await hpkeOpen(
      known.listening, wrapped.subarray(1, 33), wrapped.subarray(33), 'digm/1 purchase', additionalData);
    const key = keys.subarray(KEY_BYTES * place, KEY_BYTES * (place + 1));
    return key.length === KEY_BYTES ? hpkeSeal(sessionKey, key, 'digm/1 unlock', fromHex(track)) : null;
  } catch {
    return null; // for another key, or altered
  }
}
