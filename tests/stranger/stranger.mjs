/** What a stranger can do in the network; on Node.js and in a page. Every method takes and gives plain values. */
import { hashOf, toHex } from './bytes.mjs'
import { announcement, openDocument, readManifest } from './documents.mjs'
import { TOPIC, peerOf, providerCid, verify } from './node.mjs'
import { askManifest, fetchChunks } from './streams.mjs'

const SIGNERS = { announcement: 'node', pin_order: 'artist', pin_answer: 'node' }

export class Stranger {
  heard = []
  ids = []
  leftMesh = new Set()
  held = new Map()
  announced = new Map()
  instance = toHex(crypto.getRandomValues(new Uint8Array(16)))

  constructor (node, key) {
    this.node = node
    this.key = key
    const { pubsub } = node.services
    pubsub.topicValidators.set(TOPIC, (_from, message) => this.judge(message))
    pubsub.addEventListener('gossipsub:message', ({ detail }) => this.ids.push(detail.msgId))
    pubsub.addEventListener('gossipsub:prune', ({ detail }) => this.leftMesh.add(detail.peerId))
    pubsub.subscribe(TOPIC)
  }

  async judge ({ data, from }) {
    try {
      const said = await openDocument(data, SIGNERS, verify)
      if (said == null) return 'ignore'
      if (said.kind === 'announcement') this.heard.push({ ...said, author: from.toString() })
      return 'accept'
    } catch {
      return 'reject'
    }
  }

  async identify (peer) {
    const [connection] = this.node.getConnections(peerOf(peer))
    const { protocols, agentVersion, listenAddrs } = await this.node.services.identify.identify(connection)
    return { protocols, agentVersion, listenAddrs: listenAddrs.map(String) }
  }

  ping (peer) {
    return this.node.services.ping.ping(peerOf(peer))
  }

  listening () {
    return this.node.services.pubsub.getSubscribers(TOPIC).map(String)
  }

  async announce (root) {
    const { manifest } = this.held.get(root)
    const document = await announcement(this.key, {
      instance: this.instance,
      root,
      manifestHash: manifest.hash,
      held: manifest.renditions.map(({ id, hashes }) => ({ rendition: id, chunks: hashes.length, bitfield: 'all' })),
      multiaddrs: this.node.getMultiaddrs().map(String)
    })
    this.announced.set(root, document)
    const { recipients } = await this.node.services.pubsub.publish(TOPIC, document)
    return recipients.length
  }

  async provide (id) {
    await this.node.contentRouting.provide(providerCid(id), { signal: AbortSignal.timeout(15_000) })
  }

  async find (id) {
    const found = new Set()
    for await (const { id: peer } of this.node.contentRouting.findProviders(providerCid(id), {
      signal: AbortSignal.timeout(15_000)
    })) found.add(peer.toString())
    return [...found]
  }

  async manifest (peer, root) {
    return readManifest(await askManifest(this.node, peerOf(peer), root), root, verify)
  }

  /** One chunk, its SHA-256 as a hexadecimal word: the hash was checked, this is what came. */
  async chunk (peer, root, rendition, chunk) {
    const { renditions } = await this.manifest(peer, root)
    const { hashes, sizeOf } = renditions[rendition]
    const wanted = [{ rendition, chunk, size: sizeOf(chunk), hash: hashes[chunk] }]
    for await (const [, bytes] of fetchChunks(this.node, peerOf(peer), root, wanted)) return toHex(await hashOf(bytes))
  }

  /** Take a whole track and give it to others from now on. */
  async keep (peer, root) {
    const manifest = await this.manifest(peer, root)
    const renditions = []
    for (const { id, hashes, sizeOf } of manifest.renditions) {
      const wanted = hashes.map((hash, chunk) => ({ rendition: id, chunk, size: sizeOf(chunk), hash }))
      const chunks = []
      for await (const [{ chunk }, bytes] of fetchChunks(this.node, peerOf(peer), root, wanted)) chunks[chunk] = bytes
      renditions.push({ id, chunks })
    }
    this.held.set(root, { manifest, renditions })
    return renditions.reduce((sum, { chunks }) => sum + chunks.length, 0)
  }

  /** What a node says that does not hold a track. */
  async refusal (peer, root) {
    try {
      for await (const _ of fetchChunks(this.node, peerOf(peer), root, []));
    } catch (error) {
      return error.message
    }
  }

  /** Who was put out of our mesh. */
  left () {
    return [...this.leftMesh]
  }

  /** The announcements that were heard. */
  said () {
    return this.heard
  }

  /** Ids of the messages that were heard, in base64. */
  messageIds () {
    return this.ids
  }
}
