// Frames of encrypted chunks over HTTP, told of as they arrive. The head start fetches with it, and Python does: each
// promise that Python awaits costs it a third of a millisecond, and a chunk comes in a dozen reads.

export const FRAME_BYTES = 65536;
const TELL_MS = 250; // what trickles is told of as well, so that nobody takes the source for silent

/**
 * GET a run of frames into a buffer that is as long as they must be.
 * @param {string} address
 * @param {Uint8Array} target
 * @param {object} how
 * @param {number} how.first the first frame that is wanted.
 * @param {boolean} how.isWhole no Range header is needed.
 * @param {boolean} [how.isFresh] past the browser's cache.
 * @param {AbortSignal} how.signal
 * @param {(received: number) => void} onProgress told how many bytes came so far, whenever a frame got complete.
 * @returns {Promise<{status: number, received: number}>} the HTTP status and the length of the body, which is read
 *   with 200 and 206 only; longer than `target`: it is too long, and was given up. Rejects when the network fails.
 */
export async function fetchFrames(address, target, { first, isWhole, isFresh = false, signal }, onProgress) {
  const start = first * FRAME_BYTES;
  const headers = isWhole ? {} : { range: `bytes=${start}-${start + target.length - 1}` };
  const answer = await fetch(address, { headers, signal, cache: isFresh ? 'reload' : 'default' });
  const { status } = answer;
  if (status !== (isWhole ? 200 : 206)) {
    answer.body?.cancel().catch(() => {});
    return { status, received: 0 };
  }
  const reader = answer.body.getReader();
  let received = 0;
  let told = { frames: 0, at: performance.now() };
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return { status, received };
    if (received + value.length > target.length) {
      reader.cancel().catch(() => {});
      return { status, received: received + value.length };
    }
    target.set(value, received);
    received += value.length;
    const now = { frames: Math.floor(received / FRAME_BYTES), at: performance.now() };
    if (now.frames > told.frames || now.at - told.at > TELL_MS) {
      told = now;
      onProgress(received);
    }
  }
}
