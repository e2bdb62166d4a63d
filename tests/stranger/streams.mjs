/** DIGM's streams on a libp2p node: one frame there and back, and chunks. */
import { lpStream } from '@libp2p/utils'
import { fromHex, hashOf, joined, toHex } from './bytes.mjs'
import { MOST_MANIFEST_BYTES } from './documents.mjs'
import { MOST_MESSAGE_BYTES, data, hello, readAnswer, readHello, readRequest, reject, request } from './session.mjs'

export const MANIFEST = '/digm/manifest/1.0.0'
export const PEER = '/digm/peer/1.0.0'
export const ANNOUNCEMENT = '/digm/announcement/1.0.0'
const REFUSALS = ['ok', 'not_here', 'refused', 'busy', 'failed']
const OK = 0
const NOT_HERE = 1
const NOT_HELD = 2
const MOST_OUTSTANDING = 4
const PATIENCE_MS = 20_000

/** Ask one thing. @param {import('libp2p').Libp2p} node @param {Uint8Array} question */
export async function ask (node, peer, protocol, question, mostBytes) {
  const signal = AbortSignal.timeout(PATIENCE_MS)
  const stream = await node.dialProtocol(peer, protocol, { signal })
  try {
    const frames = lpStream(stream, { maxDataLength: mostBytes })
    await frames.write(question, { signal })
    return bodyOf((await frames.read({ signal })).subarray())
  } finally {
    await stream.close().catch(() => {})
  }
}

/**
 * Answer requests of 32 bytes, an id: `find` gives the bytes, or null for what is not here.
 * @param {(id: string) => Uint8Array | null} find
 * @param {string} absent the code to refuse with
 */
export async function serve (node, protocol, find, absent) {
  await node.handle(protocol, async stream => {
    try {
      const frames = lpStream(stream, { maxDataLength: 32 })
      const answer = find(toHex((await frames.read()).subarray()))
      await frames.write(answer == null ? refusal(NOT_HERE, absent) : joined(Uint8Array.of(OK), answer))
      await stream.close()
    } catch (error) {
      stream.abort(error)
    }
  })
}

/** The bytes of a track's manifest; not checked. @param {string} root */
export function askManifest (node, peer, root) {
  return ask(node, peer, MANIFEST, fromHex(root), MOST_MANIFEST_BYTES + 1)
}

/**
 * Chunks of a track over one stream, each as soon as it is whole and its hash is right: `[what was wanted, bytes]`.
 * @param {string} root
 * @param {Wanted[]} wanted
 * @typedef {{rendition: number, chunk: number, size: number, hash: string}} Wanted
 */
export async function * fetchChunks (node, peer, root, wanted) {
  const signal = AbortSignal.timeout(PATIENCE_MS + wanted.length * 1000)
  const stream = await node.dialProtocol(peer, PEER, { signal })
  try {
    const frames = lpStream(stream, { maxDataLength: MOST_MESSAGE_BYTES })
    await frames.write(fromHex(root), { signal })
    bodyOf((await frames.read({ signal })).subarray())
    const theirs = readHello((await frames.read({ signal })).subarray())
    if (theirs.root !== root) throw new Error('the HELLO of another track')
    await frames.write(hello(fromHex(root), theirs.renditions, false), { signal })
    const asked = new Map()
    for (let next = 0; next < wanted.length || asked.size > 0;) {
      for (; next < wanted.length && asked.size < MOST_OUTSTANDING; next++) {
        const { rendition, chunk, size } = wanted[next]
        if (!theirs.renditions.find(one => one.id === rendition)?.holds(chunk)) throw new Error('not held there')
        asked.set(next, { bytes: new Uint8Array(size), received: 0 })
        await frames.write(request(next, rendition, chunk, size), { signal })
      }
      const id = await takePiece(frames, asked, signal)
      if (id == null) continue
      const { bytes } = asked.get(id)
      asked.delete(id)
      if (toHex(await hashOf(bytes)) !== wanted[id].hash) throw new Error('not the chunk that was asked for')
      yield [wanted[id], bytes]
    }
  } finally {
    await stream.close().catch(() => {})
  }
}

/** Take one message; the id of the request that it completes, or null. Requests are answered in any order. */
async function takePiece (frames, asked, signal) {
  const piece = readAnswer((await frames.read({ signal })).subarray())
  if (piece == null) return null
  if (piece.reason != null) throw new Error(`the node does not give the chunk: reason ${piece.reason}`)
  const { id, offset, payload } = piece
  const chunk = asked.get(id)
  if (offset !== chunk?.received) throw new Error('a piece out of order')
  chunk.bytes.set(payload, offset)
  chunk.received += payload.length
  return chunk.received === chunk.bytes.length ? id : null
}

/**
 * Give whole tracks to whoever asks.
 * @param {Map<string, {renditions: {id: number, chunks: Uint8Array[]}[]}>} tracks by root; read live
 */
export async function serveChunks (node, tracks) {
  await node.handle(PEER, async stream => {
    try {
      await give(lpStream(stream, { maxDataLength: MOST_MESSAGE_BYTES }), tracks)
    } catch (error) {
      stream.abort(error)
    }
  }, { maxInboundStreams: 64 })
}

async function give (frames, tracks) {
  const root = (await frames.read()).subarray()
  const track = tracks.get(toHex(root))
  if (track == null) return frames.write(refusal(NOT_HERE, 'track_not_held'))
  await frames.write(Uint8Array.of(OK))
  await frames.write(hello(root, track.renditions.map(({ id, chunks }) => ({ id, count: chunks.length })), true))
  readHello((await frames.read()).subarray())
  while (true) {
    const wanted = readRequest((await frames.read()).subarray())
    if (wanted == null) continue
    const chunk = track.renditions.find(({ id }) => id === wanted.rendition)?.chunks[wanted.chunk]
    if (chunk == null) await frames.write(reject(wanted.id, NOT_HELD))
    else for (const piece of data(wanted.id, chunk, wanted.start, wanted.end)) await frames.write(piece)
  }
}

function bodyOf (answer) {
  if (answer[0] === OK) return answer.subarray(1)
  throw new Error(`${REFUSALS[answer[0]] ?? 'unknown status'}: ${new TextDecoder().decode(answer.subarray(1))}`)
}

function refusal (status, code) {
  return new Uint8Array([status, ...new TextEncoder().encode(code)])
}
