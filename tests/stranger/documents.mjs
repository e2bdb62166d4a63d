/** Signed documents: announcements (docs/pinning.md) and manifests (docs/format.md). */
import { fromHex, hashOf, merkleRoot, toHex } from './bytes.mjs'

export const MOST_MANIFEST_BYTES = 4_194_304
const FRAME_BYTES = 65_536
const LIFETIME_S = 3600
const utf8 = new TextEncoder()

/**
 * @typedef {(key: Uint8Array, message: Uint8Array, signature: Uint8Array) => boolean | Promise<boolean>} Verify
 * @typedef {{id: number, hashes: string[], sizeOf: (chunk: number) => number}} Rendition
 */

/** @param {string} kind @param {object} members @param {import('@libp2p/interface').PrivateKey} key */
export async function signDocument (kind, members, key) {
  const unsigned = JSON.stringify({ digm: 1, kind, ...members })
  const signature = await key.sign(signedPart(kind, unsigned))
  return utf8.encode(`${unsigned.slice(0, -1)},"signature":"${toHex(signature)}"}`)
}

/**
 * The members of a signed document, its signature checked; null for a kind that nobody told us of.
 * @param {Uint8Array} bytes
 * @param {Record<string, string>} signers of each kind the member with the key that signs it
 * @param {Verify} verify
 */
export async function openDocument (bytes, signers, verify) {
  const { unsigned, signature, members } = cutSignature(bytes)
  const signer = Object.hasOwn(signers, members.kind) ? signers[members.kind] : null
  if (members.digm !== 1 || signer == null) return null
  const message = signedPart(members.kind, unsigned)
  if (!await verify(fromHex(members[signer]), message, signature)) throw new Error('a forged document')
  return members
}

/**
 * An announcement: what a node holds of a track.
 * @param {import('@libp2p/interface').PrivateKey} key
 * @param {{instance: string, root: string, manifestHash: string, held: object[], multiaddrs: string[],
 *   sequence?: number}} said
 */
export async function announcement (key, { instance, root, manifestHash, held, multiaddrs, sequence = Date.now() }) {
  const now = Math.floor(Date.now() / 1000)
  return signDocument('announcement', {
    node: toHex(key.publicKey.raw),
    instance,
    track_root: root,
    manifest_hash: manifestHash,
    held,
    operator: 'a stranger',
    network: 'AS 64496',
    gateway_url: null,
    signal_url: null,
    multiaddrs: multiaddrs.slice(0, 8),
    pinned_for: [],
    sequence,
    issued_at: now,
    valid_until: now + LIFETIME_S
  }, key)
}

/**
 * A manifest as far as a fetch needs it: its artist's signature checked, and that its chunks make the track root.
 * @param {Uint8Array} bytes
 * @param {string} root
 * @param {Verify} verify
 * @returns {Promise<{hash: string, title: string, renditions: Rendition[]}>}
 */
export async function readManifest (bytes, root, verify) {
  if (bytes.length > MOST_MANIFEST_BYTES) throw new Error('the manifest is too long')
  const { unsigned, signature, members } = cutSignature(bytes)
  if (!await verify(fromHex(members.artist_key), utf8.encode(unsigned), signature)) throw new Error('forged manifest')
  const hashes = members.renditions.flatMap(rendition => rendition.chunk_hashes)
  if (toHex(await merkleRoot(hashes.map(fromHex))) !== root) throw new Error('the manifest of another track')
  return { hash: toHex(await hashOf(bytes)), title: members.title, renditions: members.renditions.map(shapeOf) }
}

function shapeOf ({ id, chunk_hashes: hashes, frames_per_chunk: frames, last_chunk_frames: lastFrames }) {
  return { id, hashes, sizeOf: chunk => (chunk === hashes.length - 1 ? lastFrames : frames) * FRAME_BYTES }
}

function signedPart (kind, unsigned) {
  return utf8.encode(`digm/1 ${kind}\n${unsigned}`)
}

function cutSignature (bytes) {
  const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  const [, head, signature] = /^(.*),"signature":"([0-9a-f]{128})"\}$/s.exec(text) ?? []
  if (head == null) throw new Error('the document does not end with a signature')
  return { unsigned: `${head}}`, signature: fromHex(signature), members: JSON.parse(text) }
}
