/** What js-libp2p 3 takes for granted and Node.js has from version 22 on. Imported before everything else. */
import { WebSocket } from 'ws'

/** As in a page, nothing comes in the same turn as `open`: who waits for that by a promise can still listen. */
class PatientWebSocket extends WebSocket {
  constructor (...address) {
    super(...address)
    this.once('open', () => {
      this.pause()
      setImmediate(() => this.resume())
    })
  }
}

globalThis.WebSocket ??= PatientWebSocket
Promise.withResolvers ??= function () {
  let resolve, reject
  const promise = new this((fulfil, refuse) => { [resolve, reject] = [fulfil, refuse] })
  return { promise, resolve, reject }
}
