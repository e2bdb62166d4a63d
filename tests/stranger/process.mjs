/** A js-libp2p node on Node.js, driven by lines of JSON on standard input, as tests/hub/backbone/nodes.py does. */
import './node20.mjs'
import { createInterface } from 'node:readline'
import { generateKeyPair } from '@libp2p/crypto/keys'
import { tcp } from '@libp2p/tcp'
import { webSockets } from '@libp2p/websockets'
import { createNode } from './node.mjs'

/**
 * Say who we are, then obey until standard input ends. A line is a list: the name of a method and its arguments.
 * @param {string[]} known multiaddrs to start from
 * @param {object} settings of the node, beside those below
 * @param {(node: import('libp2p').Libp2p, key: import('@libp2p/interface').PrivateKey) => Promise<object>} become
 */
export async function obey (known, settings, become) {
  const key = await generateKeyPair('Ed25519')
  const node = await createNode({
    privateKey: key,
    transports: [tcp(), webSockets()],
    listen: ['/ip4/127.0.0.1/tcp/0', '/ip4/127.0.0.1/tcp/0/ws'],
    known,
    ...settings
  })
  const servant = await become(node, key)
  say({ peer_id: node.peerId.toString(), multiaddrs: node.getMultiaddrs().map(String) })
  for await (const line of createInterface({ input: process.stdin })) {
    const [command, ...words] = JSON.parse(line)
    try {
      say({ result: await servant[command](...words) ?? null })
    } catch (error) {
      say({ error: `${error}` })
    }
  }
  await node.stop()
}

function say (message) {
  process.stdout.write(`${JSON.stringify(message)}\n`)
}
