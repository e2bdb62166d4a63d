/**
 * A stranger in a process of its own.
 *
 *     node main.mjs [--outside-the-mesh] MULTIADDR ...
 */
import { obey } from './process.mjs'
import { Stranger } from './stranger.mjs'
import { ANNOUNCEMENT, serve, serveChunks } from './streams.mjs'

const OUTSIDE = '--outside-the-mesh'
const NO_MESH = { D: 0, Dlo: 0, Dhi: 0, Dout: 0, Dscore: 0 }

const words = process.argv.slice(2)
await obey(words.filter(word => word !== OUTSIDE), words.includes(OUTSIDE) ? { gossip: NO_MESH } : {}, async (node, key) => {
  const stranger = new Stranger(node, key)
  await serveChunks(node, stranger.held)
  await serve(node, ANNOUNCEMENT, root => stranger.announced.get(root), 'announcement_not_here')
  return stranger
})
