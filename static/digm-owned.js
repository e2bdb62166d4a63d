// What this browser's account owns of a track, for its player. The account's module is only fetched for tracks that have
// a price: free ones are heard without it.

const withAccount = () => import('./digm-account.js');

/**
 * @param {string} track 64 hex digits.
 * @returns {Promise<any>} the purchase (static/digm-account.js, Owned), with `keys` and `suite` that open it; null: none.
 */
export async function ownedKey(track) {
  try {
    const { account, owned } = await withAccount();
    const [who, purchase] = await Promise.all([account(), owned(track)]);
    return who && purchase ? { ...purchase, keys: who.listening, suite: who.suite } : null;
  } catch (error) {
    console.warn('DIGM: what this browser owns could not be read.', error);
    return null;
  }
}

/**
 * Be told of tracks that are bought from now on, in whichever tab.
 * @param {(track: string) => void} tell @param {AbortSignal} signal ends it.
 */
export async function watchOwned(tell, signal) {
  const { changes } = await withAccount();
  changes.addEventListener('owned', ({ detail }) => tell(detail.trackRoot), { signal });
}
