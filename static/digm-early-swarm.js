// Into the swarm before Python is up: proves the peer id, joins, and lets connections open while the interpreter
// still loads, so that the first requests go out the moment it runs. What it does is digm/signalling.py's protocol,
// as far as a page needs it in its first second; nothing that comes is believed, and not one byte of a chunk is
// read here. Everything is handed to Python (web/swarm.py), which also does all of it alone where this cannot.

const MOST_OFFERS = 4; // digm/peer_choice.py: `parallel`
const MOST_LINKS = 10; // `links_most`
const MOST_WAITING = 64; // messages kept of a peer that talks before Python listens; honest ones send two
const PROTOCOL = 'digm.peer.1';
const HELLO = new TextEncoder().encode('digm/1 hello');

/** @param {ArrayBuffer | Uint8Array} bytes */
const toHex = (bytes) => Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, '0')).join('');
const fromHex = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));

/**
 * @typedef {object} EarlyLink what Python goes on with.
 * @property {string} peer
 * @property {boolean} isNode
 * @property {boolean} isOffering
 * @property {RTCPeerConnection} connection
 * @property {RTCDataChannel | null} channel
 * @property {any[]} waiting messages that came before Python listened.
 * @property {RTCIceCandidateInit[]} candidates of the other side, that came before its answer.
 * @property {Promise<void>} settled descriptions and candidates so far are in.
 */

export class EarlySwarm {
  #socket;
  #track;
  #grant;
  #policy;
  #ended;
  #over = new AbortController();
  /** @type {Promise<{pair: CryptoKeyPair, id: string} | null>} */
  #identity;
  #me = '';
  #iceServers = [];
  #mayConnect = false;
  #nodes = new Set();
  /** @type {string[]} what Python has to hear */
  #log = [];
  /** @type {Map<string, EarlyLink>} */
  #links = new Map();
  #signing = Promise.resolve();

  /**
   * @param {import('./digm-head-start.js').EarlySocket} socket
   * @param {string} track
   * @param {Promise<any>} grant has the swarm's token.
   * @param {{hide_address: boolean, min_listeners: number}} policy a listener who is careful waits for Python.
   * @param {AbortSignal} ended
   */
  constructor(socket, track, grant, policy, ended) {
    this.#socket = socket;
    this.#track = track;
    this.#grant = grant;
    this.#policy = policy;
    this.#ended = ended;
    this.#identity = makeIdentity();
    socket.listen((text) => this.#hear(text));
    ended.addEventListener('abort', () => {
      for (const { connection } of this.#links.values()) connection.close();
    });
  }

  /** What Python needs to get ready. Everything goes on here until it says `release`. */
  async handOver() {
    await this.#signing;
    const identity = await this.#identity;
    return { socket: this.#socket, identity: identity?.pair ?? null, release: () => this.#release() };
  }

  /**
   * Nothing is handled here from now on. Whoever calls it adopts all links before it lets anything else happen: a
   * channel that opens, or a HELLO that comes, between two listeners is told to nobody a second time.
   */
  #release() {
    this.#over.abort();
    this.#socket.unlisten(this.#log.splice(0));
    return [...this.#links.values()];
  }

  /** @param {string | null} text */
  #hear(text) {
    if (text === null) return;
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      message = {};
    }
    if (!this.#take(message ?? {})) this.#log.push(text);
  }

  /** @param {any} message @returns {boolean} whether Python need not hear of it. */
  #take(message) {
    const link = this.#links.get(message.from);
    switch (message.type) {
      case 'challenge':
        this.#signing = this.#greet(message).catch(() => this.#log.push(JSON.stringify(message)));
        return true;
      case 'welcome':
        this.#iceServers = (message.ice_servers ?? []).map(({ urls, username, credential }) => (
          username ? { urls, username, credential: credential ?? '' } : { urls }));
        this.#mayConnect = !this.#policy.hide_address && !this.#policy.min_listeners && !message.limits?.min_listeners;
        this.#join();
        return false;
      case 'peers':
        this.#meet(message.peers ?? []);
        return false;
      case 'offer':
        return this.#mayConnect && this.#answer(message);
      case 'answer':
        if (!link) return false;
        this.#then(link, async () => {
          await link.connection.setRemoteDescription({ type: 'answer', sdp: message.sdp });
          for (const candidate of link.candidates.splice(0)) await link.connection.addIceCandidate(candidate);
        });
        return true;
      case 'candidate':
        if (!link) return false;
        if (message.candidate) {
          this.#then(link, () => this.#addCandidate(link, {
            candidate: message.candidate, sdpMid: message.sdp_mid ?? '0', sdpMLineIndex: message.sdp_m_line_index ?? 0,
          }));
        }
        return true;
      default:
        return false;
    }
  }

  /** A candidate may be faster than the answer. @param {EarlyLink} link @param {RTCIceCandidateInit} candidate */
  async #addCandidate(link, candidate) {
    if (link.connection.remoteDescription) await link.connection.addIceCandidate(candidate);
    else if (link.candidates.length < MOST_WAITING) link.candidates.push(candidate);
  }

  async #greet({ nonce }) {
    const identity = await this.#identity;
    if (!identity || !/^[0-9a-f]{64}$/.test(nonce)) throw new Error('not for us');
    this.#me = identity.id;
    const challenge = new Uint8Array([...HELLO, ...fromHex(nonce)]);
    const signature = await crypto.subtle.sign('Ed25519', identity.pair.privateKey, challenge);
    this.#say({ type: 'hello', peer: this.#me, signature: toHex(signature), version: '1', role: 'listener' });
  }

  async #join() {
    const grant = await this.#grant.catch(() => null);
    if (!grant || this.#over.signal.aborted) return;
    this.#say({ type: 'join', track: this.#track, token: grant.swarm_token, share: 0, want: 10 });
  }

  #meet(peers) {
    for (const { peer, role } of peers) if (role === 'node') this.#nodes.add(peer);
    if (!this.#mayConnect) return;
    const listeners = peers.filter(({ peer, role }) => role !== 'node' && !this.#links.has(peer));
    for (const { peer } of listeners.slice(0, Math.max(0, MOST_OFFERS - this.#links.size))) {
      const link = this.#open(peer, true);
      this.#keep(link, link.connection.createDataChannel(PROTOCOL, { ordered: true, protocol: PROTOCOL }));
      this.#then(link, async () => {
        await link.connection.setLocalDescription();
        this.#say({ type: 'offer', track: this.#track, from: this.#me, to: peer, sdp: link.connection.localDescription.sdp });
      });
    }
  }

  #answer({ from, sdp }) {
    const before = this.#links.get(from);
    if (before?.isOffering && this.#me > from) return true; // both offered: the greater id's offer stands
    if (!before && this.#links.size >= MOST_LINKS) return true;
    before?.connection.close();
    const link = this.#open(from, false);
    link.connection.addEventListener('datachannel', ({ channel }) => this.#keep(link, channel), { signal: this.#over.signal });
    this.#then(link, async () => {
      await link.connection.setRemoteDescription({ type: 'offer', sdp });
      await link.connection.setLocalDescription();
      this.#say({ type: 'answer', track: this.#track, from: this.#me, to: from, sdp: link.connection.localDescription.sdp });
    });
    return true;
  }

  /** @param {string} peer @param {boolean} isOffering @returns {EarlyLink} */
  #open(peer, isOffering) {
    const connection = new RTCPeerConnection({ iceServers: this.#iceServers });
    const link = { peer, isNode: this.#nodes.has(peer), isOffering, connection, channel: null, waiting: [], candidates: [], settled: Promise.resolve() };
    this.#links.set(peer, link);
    connection.addEventListener('icecandidate', ({ candidate }) => this.#say({
      type: 'candidate', track: this.#track, from: this.#me, to: peer, candidate: candidate?.candidate || null,
      sdp_mid: candidate?.sdpMid ?? null, sdp_m_line_index: candidate?.sdpMLineIndex ?? null,
    }), { signal: this.#over.signal });
    return link;
  }

  /** @param {EarlyLink} link @param {RTCDataChannel} channel */
  #keep(link, channel) {
    if (link.channel || channel.label !== PROTOCOL) return channel.close();
    link.channel = channel;
    channel.binaryType = 'arraybuffer';
    channel.addEventListener('message', ({ data }) => {
      if (link.waiting.length < MOST_WAITING) link.waiting.push(data);
      else channel.close();
    }, { signal: this.#over.signal });
  }

  /** One step of a negotiation after the other. @param {EarlyLink} link @param {() => Promise<void>} step */
  #then(link, step) {
    link.settled = link.settled.then(step).catch(() => {}); // what a browser refuses ends in Python's time-out
  }

  #say(message) {
    if (!this.#ended.aborted) this.#socket.send(JSON.stringify(message));
  }
}

async function makeIdentity() {
  try {
    const pair = /** @type {CryptoKeyPair} */ (await crypto.subtle.generateKey({ name: 'Ed25519' }, false, ['sign', 'verify']));
    return { pair, id: toHex(await crypto.subtle.exportKey('raw', pair.publicKey)) };
  } catch {
    return null; // Python says so
  }
}
