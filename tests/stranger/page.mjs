/** A stranger in a page: WebSocket is all it has, and nobody can call it. */
import { generateKeyPair } from '@libp2p/crypto/keys'
import { webSockets } from '@libp2p/websockets'
import { createNode, peerOf } from './node.mjs'
import { Stranger } from './stranger.mjs'

/** @param {string} known the multiaddr to start from */
globalThis.join = async known => {
  const privateKey = await generateKeyPair('Ed25519')
  const node = await createNode({
    privateKey,
    transports: [webSockets()],
    connectionGater: { denyDialMultiaddr: () => false } // in a page js-libp2p calls no private address by itself
  })
  const stranger = new Stranger(node, privateKey)
  await node.dial(peerOf(known))
  globalThis.ask = (command, ...words) => stranger[command](...words)
  return node.peerId.toString()
}
