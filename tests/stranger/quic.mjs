/** A stranger that speaks QUIC and nothing else (quinn, by @chainsafe/libp2p-quic). */
import { quic } from '@chainsafe/libp2p-quic'
import { createHash } from 'node:crypto'
import { peerOf } from './node.mjs'
import { obey } from './process.mjs'
import { ask, fetchChunks, serveChunks } from './streams.mjs'

const PIN = '/digm/pin/1.0.0'
const CHUNK_BYTES = 524_288

class Peer {
  held = new Map()

  constructor (node) {
    this.node = node
  }

  /** How long a ping takes, and what the node makes of a request. */
  async meet (address, words) {
    const peer = peerOf(address)
    await this.node.services.ping.ping(peer)
    const answer = await ask(this.node, peer, PIN, new TextEncoder().encode(words), 1024)
    return new TextDecoder().decode(answer)
  }

  hold (root, count) {
    const chunks = Array.from({ length: count }, (_, number) => chunkOf(number))
    this.held.set(root, { renditions: [{ id: 0, chunks }] })
    return chunks.map(chunk => createHash('sha256').update(chunk).digest('hex'))
  }

  /** How many chunks came whole. */
  async fetch (address, root, wanted) {
    let whole = 0
    for await (const _ of fetchChunks(this.node, peerOf(address), root, wanted)) whole++
    return whole
  }

  transports () {
    return this.node.getConnections().map(connection => `${connection.remoteAddr}`)
  }
}

function chunkOf (number) {
  return createHash('shake256', { outputLength: CHUNK_BYTES }).update(`${number}`).digest()
}

await obey([], { transports: [quic()], listen: ['/ip4/127.0.0.1/udp/0/quic-v1'] }, async node => {
  const peer = new Peer(node)
  await serveChunks(node, peer.held)
  return peer
})
