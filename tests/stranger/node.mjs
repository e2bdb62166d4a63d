/** A js-libp2p node as docs/backbone.md wants it: what is set here is set because the page says so. */
import { bootstrap } from '@libp2p/bootstrap'
import { publicKeyFromRaw } from '@libp2p/crypto/keys'
import { gossipsub } from '@libp2p/gossipsub'
import { identify } from '@libp2p/identify'
import { kadDHT, passthroughMapper } from '@libp2p/kad-dht'
import { noise } from '@libp2p/noise'
import { peerIdFromString } from '@libp2p/peer-id'
import { ping } from '@libp2p/ping'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { fromHex, joined } from './bytes.mjs'

export const TOPIC = 'digm.audio.v1'
const MOST_GOSSIP_BYTES = 8192
const RAW = 0x55
const SHA2_256 = 0x12

/**
 * @param {{privateKey: any, transports: any[], listen?: string[], known?: string[], gossip?: object}} options
 *   known: multiaddrs to start from
 */
export function createNode ({ privateKey, transports, listen = [], known = [], gossip = {}, ...others }) {
  return createLibp2p({
    privateKey,
    transports,
    addresses: { listen },
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    peerDiscovery: known.length > 0 ? [bootstrap({ list: known, timeout: 0 })] : [],
    services: {
      identify: identify(),
      ping: ping(),
      dht: kadDHT({
        protocol: '/ipfs/kad/1.0.0',
        clientMode: listen.length === 0,
        peerInfoMapper: passthroughMapper
      }),
      pubsub: gossipsub({ msgIdFn: messageId, maxInboundDataLength: MOST_GOSSIP_BYTES, ...gossip })
    },
    ...others
  })
}

/** Author and sequence number: the author as its peer id has it, the number as eight bytes. */
function messageId ({ from, sequenceNumber }) {
  const number = new Uint8Array(8)
  new DataView(number.buffer).setBigUint64(0, sequenceNumber)
  return joined(from.toMultihash().bytes, number)
}

/** @type {import('./documents.mjs').Verify} */
export function verify (key, message, signature) {
  return publicKeyFromRaw(key).verify(message, signature)
}

/** What to dial: a multiaddr, or the id of a peer that is known. @param {string} name */
export function peerOf (name) {
  return name.startsWith('/') ? multiaddr(name) : peerIdFromString(name)
}

/** Where Kademlia keeps who has what an id names. @param {string} id 64 hex digits */
export function providerCid (id) {
  return CID.createV1(RAW, Digest.create(SHA2_256, fromHex(id)))
}
