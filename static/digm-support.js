// What a browser must be able to do, and how a listener is told that it cannot.

/** @returns {{code: string, message: string} | null} what is missing, most basic first. */
export function whatIsMissing() {
  if (typeof WebAssembly !== 'object') {
    return { code: 'no_webassembly', message: 'This browser does not run WebAssembly, which the player needs.' };
  }
  if (!mediaSourceClass()) {
    return {
      code: 'no_media_source',
      message: 'This browser cannot play streamed audio (Media Source Extensions). A newer one can.',
    };
  }
  if (!globalThis.crypto?.subtle) {
    return {
      code: 'no_web_crypto',
      message: 'The browser only unlocks tracks on a secure page: open this one over https or on localhost.',
    };
  }
  return null;
}

/** Peers are out of reach without it; the gateway still plays, so this is said, not fatal. */
export function hasPeerConnections() {
  return typeof globalThis.RTCPeerConnection === 'function';
}

/** @returns {typeof MediaSource | undefined} Safari on a phone has the managed kind only. */
export function mediaSourceClass() {
  return globalThis.MediaSource ?? globalThis.ManagedMediaSource;
}
