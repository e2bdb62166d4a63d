/** One js-libp2p node for bench/backbone.py; the same commands as bench/backbone_peer.py. */
import { createHash } from 'node:crypto'
import { announcement, openDocument } from '../tests/stranger/documents.mjs'
import { TOPIC, peerOf, providerCid, verify } from '../tests/stranger/node.mjs'
import { obey } from '../tests/stranger/process.mjs'
import { fetchChunks, serveChunks } from '../tests/stranger/streams.mjs'

const CHUNK_BYTES = 524_288
const PATIENCE_MS = 15_000
// js-libp2p takes five callers a second from one address, and mistrusts ten neighbours there; here all have the same.
const FROM_ONE_ADDRESS = {
  connectionManager: { inboundConnectionThreshold: 1_000 },
  gossip: { scoreParams: { IPColocationFactorWeight: 0 } }
}

/** Microseconds of the clock that all processes of the machine share. */
const nowUs = () => Number(process.hrtime.bigint() / 1000n)

class Peer {
  heardAt = []
  held = new Map()

  constructor (node, key) {
    this.node = node
    this.key = key
    this.pubsub = node.services.pubsub
    this.pubsub.topicValidators.set(TOPIC, (_from, { data }) => this.judge(data))
    this.pubsub.subscribe(TOPIC)
  }

  async judge (document) {
    try {
      const { node, sequence } = await openDocument(document, { announcement: 'node' }, verify)
      this.heardAt.push([node, sequence, nowUs()])
      return 'accept'
    } catch {
      return 'reject'
    }
  }

  async connect (address) {
    await this.node.dial(peerOf(address), { signal: AbortSignal.timeout(PATIENCE_MS) })
  }

  neighbours () {
    return this.pubsub.getSubscribers(TOPIC).length
  }

  async shout () {
    const sequence = nowUs()
    const document = await announcement(this.key, {
      instance: '00'.repeat(16), root: '5a'.repeat(32), manifestHash: '5a'.repeat(32),
      held: [{ rendition: 0, chunks: 1200, bitfield: 'all' }], multiaddrs: this.node.getMultiaddrs().map(String), sequence
    })
    await this.pubsub.publish(TOPIC, document)
    return sequence
  }

  heard () {
    return this.heardAt
  }

  async provide (id) {
    await this.node.contentRouting.provide(providerCid(id), { signal: AbortSignal.timeout(PATIENCE_MS) })
    return true
  }

  /** Microseconds until one who provides it was known, and all; null: nobody. */
  async find (id) {
    const began = nowUs()
    let first = null
    const options = { signal: AbortSignal.timeout(PATIENCE_MS) }
    for await (const _ of this.node.contentRouting.findProviders(providerCid(id), options)) first ??= nowUs() - began
    return first && [first, nowUs() - began]
  }

  hold (root, count) {
    const chunks = Array.from({ length: count }, (_, number) => chunkOf(number))
    this.held.set(root, { renditions: [{ id: 0, chunks }] })
  }

  async fetch (peer, root, hashes) {
    const began = nowUs()
    const wanted = hashes.map((hash, chunk) => ({ rendition: 0, chunk, size: CHUNK_BYTES, hash }))
    for await (const _ of fetchChunks(this.node, peerOf(peer), root, wanted));
    return nowUs() - began
  }
}

function chunkOf (number) {
  return createHash('shake256', { outputLength: CHUNK_BYTES }).update(`${number}`).digest()
}

await obey([], FROM_ONE_ADDRESS, async (node, key) => {
  const peer = new Peer(node, key)
  await serveChunks(node, peer.held)
  return peer
})
