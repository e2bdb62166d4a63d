"""The servers that `bench.signalling` measures, started as users start them, and how clients talk to each.

DIGM's is the whole hub process (`digm hub`) with its limits as they are: sessions and messages per address and
per swarm are counted while it is measured. The two others run in node with their options for many clients.
"""

import base64
import contextlib
import hashlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.stack import digm, free_ports, npm_package
from digm.signalling import SUBPROTOCOL, hello_message
from hub.signalling.tokens import load_swarm_secret, swarm_token

SWARM = 100  # members of a swarm
# What Chromium 140 writes for one data channel before it has gathered candidates.
SDP = (
    "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n"
    "a=extmap-allow-mixed\r\na=msid-semantic: WMS\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"
    "c=IN IP4 0.0.0.0\r\na=ice-ufrag:Zk3p\r\na=ice-pwd:wWc9XJxFd3MjYQ0pGqR2Zu1K\r\na=ice-options:trickle\r\n"
    f"a=fingerprint:sha-256 {':'.join(['AB'] * 32)}\r\na=setup:actpass\r\na=mid:0\r\na=sctp-port:5000\r\n"
    "a=max-message-size:262144\r\n"
)
CANDIDATES = (
    "candidate:1 1 udp 2113937151 0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9.local 51234 typ host ufrag Zk3p",
    "candidate:2 1 udp 2113939711 1a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9.local 51235 typ host ufrag Zk3p",
    "candidate:3 1 udp 1677729535 203.0.113.77 51234 typ srflx raddr 0.0.0.0 rport 0 generation 0 ufrag Zk3p",
    "candidate:4 1 udp 33562367 198.51.100.9 49160 typ relay raddr 0.0.0.0 rport 0 generation 0 ufrag Zk3p",
)  # an mDNS name for each address family, what STUN saw, and a relay


class Dialect(Protocol):
    """How clients of one server enter a swarm and address each other. Clients are numbers."""

    def request(self, client: int) -> tuple[str, str]:
        """Path with query, and the subprotocol ("" for none)."""

    def opening(self, client: int) -> str | None:
        """What a client says as soon as its socket is open."""

    def reply(self, client: int, text: str) -> str | None:
        """What it says to a message before it is in; `is_in` afterwards."""

    def is_in(self, text: str) -> bool:
        """This message says that the client is in its swarm."""

    def relayed(self, sender: int, recipient: int) -> str:
        """The message that is measured: a description for one other client."""

    def candidate(self, sender: int, recipient: int, number: int) -> str:
        """A trickled candidate for one other client."""


class DigmDialect:
    """digm.signal.1: the hello is signed, the swarm needs its token."""

    def __init__(self, data: Path, clients: int) -> None:
        self._keys = [Ed25519PrivateKey.generate() for _ in range(clients)]
        self._ids = [key.public_key().public_bytes_raw().hex() for key in self._keys]
        self._tracks = [hashlib.sha256(b"%d" % number).digest() for number in range(clients // SWARM + 1)]
        expiry, secret = int(time.time()) + 3600, load_swarm_secret(data)
        self._tokens = [swarm_token(secret, track, expiry) for track in self._tracks]

    def request(self, client: int) -> tuple[str, str]:
        return "/signal", SUBPROTOCOL

    def opening(self, client: int) -> str | None:
        return None

    def reply(self, client: int, text: str) -> str | None:
        message = json.loads(text)
        if message["type"] == "challenge":
            signature = self._keys[client].sign(hello_message(message["nonce"])).hex()
            return json.dumps({"type": "hello", "peer": self._ids[client], "signature": signature})
        if message["type"] == "welcome":
            track, token = self._tracks[client // SWARM].hex(), self._tokens[client // SWARM]
            return json.dumps({"type": "join", "track": track, "token": token, "share": 0.5, "want": 10})
        return None

    def is_in(self, text: str) -> bool:
        return text.startswith('{"type":"peers"')

    def relayed(self, sender: int, recipient: int) -> str:
        track = self._tracks[sender // SWARM].hex()
        ids = {"from": self._ids[sender], "to": self._ids[recipient]}
        return json.dumps({"type": "offer", "track": track, **ids, "sdp": SDP}, separators=(",", ":"))

    def candidate(self, sender: int, recipient: int, number: int) -> str:
        track = self._tracks[sender // SWARM].hex()
        ids = {"from": self._ids[sender], "to": self._ids[recipient]}
        line = {"candidate": CANDIDATES[number], "sdp_mid": "0", "sdp_m_line_index": 0}
        return json.dumps({"type": "candidate", "track": track, **ids, **line}, separators=(",", ":"))


class TrackerDialect:
    """WebTorrent's: the `answer`, which goes to one peer that is named, is the cheapest message it relays."""

    def __init__(self, clients: int) -> None:
        self._ids = [f"-WW0208-{number:012d}" for number in range(clients)]

    def request(self, client: int) -> tuple[str, str]:
        return "/", ""

    def opening(self, client: int) -> str | None:
        document = {"numwant": 0, "uploaded": 0, "downloaded": 0, "left": 1, "event": "started", "offers": []}
        return json.dumps({**self._announce(client), **document})

    def reply(self, client: int, text: str) -> str | None:
        return None

    def is_in(self, text: str) -> bool:
        return '"interval"' in text

    def relayed(self, sender: int, recipient: int) -> str:
        answer = {"answer": {"type": "answer", "sdp": SDP}, "offer_id": "12345678901234567890"}
        document = {**self._announce(sender), "to_peer_id": self._ids[recipient], **answer}
        return json.dumps(document, separators=(",", ":"))

    def candidate(self, sender: int, recipient: int, number: int) -> str:
        answer = {"answer": {"type": "candidate", "candidate": CANDIDATES[number]}, "offer_id": "1" * 20}
        document = {**self._announce(sender), "to_peer_id": self._ids[recipient], **answer}
        return json.dumps(document, separators=(",", ":"))

    def _announce(self, client: int) -> dict[str, object]:
        return {
            "action": "announce",
            "info_hash": f"{client // SWARM:020d}",
            "peer_id": self._ids[client],
        }


class PeerJsDialect:
    """PeerJS: the server puts the sender into the message; there are no swarms."""

    def request(self, client: int) -> tuple[str, str]:
        return f"/peerjs?key=peerjs&id=client{client:07d}&token=token{client:07d}", ""

    def opening(self, client: int) -> str | None:
        return None

    def reply(self, client: int, text: str) -> str | None:
        return None

    def is_in(self, text: str) -> bool:
        return '"OPEN"' in text

    def relayed(self, sender: int, recipient: int) -> str:
        payload = {"sdp": {"type": "offer", "sdp": SDP}, "type": "data", "connectionId": "dc_12345678"}
        document = {"type": "OFFER", "dst": f"client{recipient:07d}", "payload": payload}
        return json.dumps(document, separators=(",", ":"))

    def candidate(self, sender: int, recipient: int, number: int) -> str:
        line = {"candidate": CANDIDATES[number], "sdpMid": "0", "sdpMLineIndex": 0}
        payload = {"candidate": line, "type": "data", "connectionId": "dc_12345678"}
        document = {"type": "CANDIDATE", "dst": f"client{recipient:07d}", "payload": payload}
        return json.dumps(document, separators=(",", ":"))


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        pid: of the one process that does the work.
    """

    name: str
    version: str
    port: int
    pid: int
    dialect: Dialect

    @property
    def cpu_s(self) -> float:
        """Processor time that it has used, all threads, user and system."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def resident_bytes(self) -> int:
        """Memory that it holds now."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


_NODE_TRACKER = """
import Tracker from 'bittorrent-tracker/server';
const tracker = new Tracker({ http: false, udp: false, ws: true, stats: false });
tracker.on('error', (error) => { console.error(error); process.exit(1); });
tracker.on('warning', () => {});
tracker.listen(Number(process.argv[2]), '127.0.0.1', () => console.log('ready'));
"""
_NODE_PEERJS = """
import { PeerServer } from 'peer';
PeerServer(
  {
    port: Number(process.argv[2]), host: '127.0.0.1', path: '/',
    concurrent_limit: 50000, alive_timeout: 3600000,
  },
  () => console.log('ready'),
);
"""


@contextlib.contextmanager
def started(name: str, clients: int) -> Iterator[Server]:
    """Run one of `digm`, `bittorrent-tracker` and `peerjs` until the block ends."""
    with tempfile.TemporaryDirectory(prefix="digm-bench-") as folder:
        port = free_ports(4)
        if name == "digm":
            process = digm(Path(folder), "hub", DIGM_PORT=str(port), DIGM_LOG_LEVEL="warning")
            dialect: Dialect = DigmDialect(Path(folder), clients)
            version = "this"
        else:
            package = "bittorrent-tracker" if name == "bittorrent-tracker" else "peer"
            version = json.loads((npm_package(package) / "package.json").read_text())["version"]
            process = _node(_NODE_TRACKER if package != "peer" else _NODE_PEERJS, port)
            dialect = TrackerDialect(clients) if package != "peer" else PeerJsDialect()
        try:
            yield Server(name, version, port, process.pid, dialect)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _node(script: str, port: int) -> subprocess.Popen[str]:
    # The script lies beside node_modules, so that node finds the packages; its name is free again at once.
    with tempfile.NamedTemporaryFile("w", suffix=".mjs", dir=npm_package("."), delete=False) as file:
        file.write(script)
    path = Path(file.name).resolve()
    process = subprocess.Popen(["node", path, str(port)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    ready = process.stdout.readline()
    path.unlink()
    if ready.strip() != "ready":
        raise SystemExit(f"node did not start: {process.wait(5)}")
    return process


def handshake(server: Server, client: int) -> bytes:
    """The HTTP request of a client."""
    path, protocol = server.dialect.request(client)
    key = base64.b64encode(client.to_bytes(16)).decode()
    lines = [
        f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{server.port}", "Upgrade: websocket", "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "Origin: http://127.0.0.1",
        *([f"Sec-WebSocket-Protocol: {protocol}"] if protocol else []),
    ]  # fmt: skip
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
