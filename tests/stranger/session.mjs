/** Messages of a peer session (docs/peers.md), as far as chunks need them. */
import { joined, toHex } from './bytes.mjs'

export const MOST_MESSAGE_BYTES = 65_536
export const FRAME_BYTES = 65_536
export const UPLOADS = 1
const HELLO = 1
const REQUEST = 3
const DATA = 4
const REJECT = 5
const DATA_HEADER_BYTES = 9
const HELLO_HEADER_BYTES = 37

/**
 * @param {Uint8Array} root
 * @param {{id: number, count: number}[]} renditions
 * @param {boolean} isHeld all of it, and given to who asks; else nothing
 */
export function hello (root, renditions, isHeld) {
  const header = new Uint8Array(HELLO_HEADER_BYTES)
  const view = viewOf(header)
  view.setUint8(0, HELLO)
  view.setUint16(1, 1)
  header.set(root, 3)
  view.setUint8(35, isHeld ? UPLOADS : 0)
  view.setUint8(36, renditions.length)
  return joined(header, ...renditions.map(({ id, count }) => shape(id, count, isHeld)))
}

function shape (id, count, isHeld) {
  const bytes = new Uint8Array(6 + Math.ceil(count / 8))
  const view = viewOf(bytes)
  view.setUint16(0, id)
  view.setUint32(2, count)
  for (let chunk = 0; isHeld && chunk < count; chunk++) bytes[6 + (chunk >> 3)] |= 0x80 >> (chunk & 7)
  return bytes
}

/** @returns {{root: string, renditions: {id: number, count: number, holds: (chunk: number) => boolean}[]}} */
export function readHello (message) {
  const view = viewOf(message)
  if (view.getUint8(0) !== HELLO || view.getUint16(1) !== 1) throw new Error('no HELLO of version 1')
  const renditions = []
  let at = HELLO_HEADER_BYTES
  for (let left = view.getUint8(36); left > 0; left--) {
    const [id, count] = [view.getUint16(at), view.getUint32(at + 2)]
    const field = message.subarray(at + 6, at + 6 + Math.ceil(count / 8))
    renditions.push({ id, count, holds: chunk => (field[chunk >> 3] & (0x80 >> (chunk & 7))) !== 0 })
    at += 6 + field.length
  }
  return { root: toHex(message.subarray(3, 35)), renditions }
}

/** All frames of a chunk. @param {number} size of the chunk in bytes */
export function request (id, rendition, chunk, size) {
  const message = new Uint8Array(13)
  const view = viewOf(message)
  view.setUint8(0, REQUEST)
  view.setUint32(1, id)
  view.setUint16(5, rendition)
  view.setUint32(7, chunk)
  view.setUint8(12, Math.ceil(size / FRAME_BYTES))
  return message
}

/** A REQUEST, or null for any other message. */
export function readRequest (message) {
  const view = viewOf(message)
  if (view.getUint8(0) !== REQUEST) return null
  return {
    id: view.getUint32(1),
    rendition: view.getUint16(5),
    chunk: view.getUint32(7),
    start: view.getUint8(11) * FRAME_BYTES,
    end: (view.getUint8(11) + view.getUint8(12)) * FRAME_BYTES
  }
}

/** The answer to a request, piece by piece. @param {Uint8Array} chunk */
export function * data (id, chunk, start, end) {
  const most = MOST_MESSAGE_BYTES - DATA_HEADER_BYTES
  for (let at = start; at < Math.min(end, chunk.length); at += most) {
    const payload = chunk.subarray(at, Math.min(end, at + most))
    const message = new Uint8Array(DATA_HEADER_BYTES + payload.length)
    const view = viewOf(message)
    view.setUint8(0, DATA)
    view.setUint32(1, id)
    view.setUint32(5, at)
    message.set(payload, DATA_HEADER_BYTES)
    yield message
  }
}

/** @param {number} reason */
export function reject (id, reason) {
  const message = new Uint8Array(6)
  const view = viewOf(message)
  view.setUint8(0, REJECT)
  view.setUint32(1, id)
  view.setUint8(5, reason)
  return message
}

/** DATA as `{id, offset, payload}`, REJECT as `{id, reason}`; null for what a fetch has no use for. */
export function readAnswer (message) {
  const view = viewOf(message)
  switch (view.getUint8(0)) {
    case DATA: return { id: view.getUint32(1), offset: view.getUint32(5), payload: message.subarray(DATA_HEADER_BYTES) }
    case REJECT: return { id: view.getUint32(1), reason: view.getUint8(5) }
    default: return null
  }
}

function viewOf (message) {
  return new DataView(message.buffer, message.byteOffset, message.byteLength)
}
