/** Bytes, hexadecimal and hashes. */
import { sha256 } from 'multiformats/hashes/sha2'

/** @param {Uint8Array} bytes */
export function toHex (bytes) {
  return Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('')
}

/** @param {string} text */
export function fromHex (text) {
  if (!/^([0-9a-f]{2})*$/.test(text)) throw new Error(`not lower-case hex: ${text.slice(0, 80)}`)
  return Uint8Array.from(text.match(/../g) ?? [], pair => parseInt(pair, 16))
}

/** @param {Uint8Array[]} parts */
export function joined (...parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

/** SHA-256, 32 bytes. @param {Uint8Array} bytes */
export async function hashOf (bytes) {
  return (await sha256.digest(bytes)).digest
}

/** RFC 6962 §2.1: the root over leaves. @param {Uint8Array[]} leaves @returns {Promise<Uint8Array>} */
export async function merkleRoot (leaves) {
  if (leaves.length === 1) return hashOf(joined(Uint8Array.of(0), leaves[0]))
  let half = 1
  while (half * 2 < leaves.length) half *= 2
  const [left, right] = [await merkleRoot(leaves.slice(0, half)), await merkleRoot(leaves.slice(half))]
  return hashOf(joined(Uint8Array.of(1), left, right))
}
