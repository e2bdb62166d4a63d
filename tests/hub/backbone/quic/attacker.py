"""A hostile program over QUIC: `python -m tests.hub.backbone.quic.attacker NAME MULTIADDR TRACKROOT`.

It attacks once for every line on stdin and says `done` after each. The attacks are the functions below, by
their names; each stands for one line of docs/threats.md. What it holds open stays so until it ends.
"""

import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from aioquic.quic import events
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import QuicPacketType
from libp2p.crypto.ed25519 import create_new_key_pair

from digm.backbone_messages import PEER, PIN
from digm.bitfield import Bitfield
from digm.wire import Hello, Request, encode
from hub.backbone.quic.bounded import configuration
from tests.hub.backbone.attacks.victim import prefixed

PATIENCE_S = 10.0
HELD: list["Caller"] = []


class Pretender:
    """A node's key whose signatures are somebody else's."""

    def __init__(self) -> None:
        self._own, self._named = create_new_key_pair(), create_new_key_pair()

    def sign(self, data: bytes) -> bytes:
        return self._own.private_key.sign(data)

    def get_public_key(self) -> Any:
        return self._named.public_key


class Rude(QuicConnection):
    """Reads nothing: it never lets the other side send more than at the beginning."""

    def _write_connection_limits(self, builder: Any, space: Any) -> None:
        return None

    def _write_stream_limits(self, builder: Any, space: Any, stream: Any) -> None:
        return None


class Senseless(QuicConnection):
    """Its pings are frames that are none."""

    def _write_ping_frame(self, builder: Any, uids: Any = (), comment: str = "") -> None:
        buffer = builder.start_frame(int.from_bytes(os.urandom(1)) & 0x3F, capacity=60)
        buffer.push_bytes(os.urandom(50))


class Caller:
    """One end of a connection, on a socket of its own."""

    def __init__(
        self,
        victim: tuple[str, int],
        *,
        key: Any = None,
        kind: type[QuicConnection] = QuicConnection,
        window: int = 0,
    ) -> None:
        settings = configuration(key or create_new_key_pair().private_key, is_client=True)
        if window:
            settings.max_data = settings.max_stream_data = window
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(victim)
        self.victim = victim
        self.settings = settings
        self.quic = kind(configuration=settings)
        self.seen: list[events.QuicEvent] = []

    def call(self) -> "Caller":
        self.quic.connect(self.victim, time.monotonic())
        self.send()
        return self

    def send(self) -> None:
        for data, _ in self.quic.datagrams_to_send(time.monotonic()):
            try:
                self.socket.send(data)
            except OSError as error:
                _ = error

    def pump(self, is_enough: Callable[[], bool] = lambda: False, within_s: float = PATIENCE_S) -> bool:
        """Send and receive until something is so; False: it was not in time."""
        until = time.monotonic() + within_s
        while time.monotonic() < until and not self.is_over:
            self.socket.settimeout(0.02)
            try:
                self.quic.receive_datagram(self.socket.recv(65_536), self.victim, time.monotonic())
            except OSError:
                timer = self.quic.get_timer()
                if timer is not None and timer <= time.monotonic():
                    self.quic.handle_timer(time.monotonic())
            while (event := self.quic.next_event()) is not None:
                self.seen.append(event)
            self.send()
            if is_enough():
                return True
        return False

    def saw(self, kind: type[events.QuicEvent]) -> bool:
        return any(isinstance(event, kind) for event in self.seen)

    def has_arrived(self, number: int) -> bool:
        stream = self.quic._streams.get(number)
        return stream is None or stream.sender._buffer_start == stream.sender._buffer_stop

    @property
    def is_over(self) -> bool:
        return self.quic._close_event is not None

    def shake_hands(self) -> "Caller":
        self.call().pump(lambda: self.saw(events.HandshakeCompleted))
        return self

    def stream(self, protocol: str, said: bytes = b"") -> int:
        number = self.quic.get_next_available_stream_id()
        opening = prefixed(b"/multistream/1.0.0\n") + prefixed(protocol.encode() + b"\n")
        self.quic.send_stream_data(number, opening + said)
        return number


def victim_of() -> tuple[str, int]:
    parts = sys.argv[2].split("/")
    return parts[2], int(parts[4])


def forged_initials() -> None:
    """First datagrams of thousands of callers who will never answer, most of them nonsense inside."""
    victim = victim_of()
    for _ in range(150):
        HELD.append(Caller(victim).call())
    flood = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for _ in range(8_000):
        head = (
            bytes([0xC3])
            + bytes.fromhex("00000001 08")
            + os.urandom(8)
            + b"\x08"
            + os.urandom(8)
            + b"\x00\x44\xa0"
        )
        flood.sendto(head + os.urandom(1_200 - len(head)), victim)


def unfinished_handshakes() -> None:
    """Callers that take the answer, show their address where asked to, and then say nothing more."""
    for _ in range(60):
        caller = Caller(victim_of()).call()
        caller.pump(lambda one=caller: one.quic._peer_cid.sequence_number is not None, within_s=0.3)  # type: ignore[misc]
        HELD.append(caller)


def quic_garbage() -> None:
    """Datagrams of every first byte, headers that lie, other versions, and senseless frames in a connection."""
    loose = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for first in range(256):
        for size in (1, 7, 30, 1_200, 9_000):
            loose.sendto(bytes([first]) + os.urandom(size - 1), victim_of())
    for kind in QuicPacketType:
        loose.sendto(
            bytes([0xC0 | (kind.value & 3) << 4]) + bytes.fromhex("00000001 ff ff") + os.urandom(1_300),
            victim_of(),
        )
        loose.sendto(bytes([0xC0]) + os.urandom(4) + b"\x08" + os.urandom(1_300), victim_of())
    for _ in range(15):
        caller = Caller(victim_of(), kind=Senseless).shake_hands()
        named = bytes([0x40]) + caller.quic._peer_cid.cid
        for _ in range(50):
            caller.socket.send(named + os.urandom(80))
        caller.quic.send_ping(1)
        caller.pump(within_s=0.1)


def another_ones_name() -> None:
    """A certificate that names a node and is signed by another, and no certificate at all."""
    nameless = Caller(victim_of())
    nameless.settings.certificate = nameless.settings.private_key = None
    for caller in (Caller(victim_of(), key=Pretender()), nameless):
        caller.shake_hands()
        caller.stream(PIN.name, prefixed(b"taken?"))
        caller.pump(lambda one=caller: one.saw(events.StreamDataReceived))  # type: ignore[misc]
        if caller.saw(events.StreamDataReceived) or not caller.is_over:
            raise SystemExit("taken for a node")


def quic_stream_flood() -> None:
    """Streams as fast as they are allowed, each broken off at once; and more than are allowed."""
    caller = Caller(victim_of()).shake_hands()
    for number in range(1_500):
        stream = caller.stream(PIN.name, b"\xff" * 20)
        caller.quic.reset_stream(stream, 7)
        if number % 20 == 0:
            caller.pump(lambda: True, within_s=0.1)
    greedy = Caller(victim_of()).shake_hands()
    greedy.quic._remote_max_streams_bidi = 100_000
    for _ in range(500):
        greedy.stream(PIN.name)
    if greedy.pump(within_s=PATIENCE_S) or not greedy.is_over:
        raise SystemExit("as many streams as one likes")


def quic_window_overrun() -> None:
    """A byte beyond the window of a stream, beyond that of the connection, and gaps as long as are allowed."""
    for far in (3 << 20, 200 << 10):
        caller = Caller(victim_of()).shake_hands()
        for _ in range(40):
            number = caller.stream(PIN.name)
            caller.pump(lambda one=caller, n=number: one.has_arrived(n), within_s=0.5)  # type: ignore[misc]
            stream = caller.quic._streams.get(number)
            if stream is None or caller.is_over:
                break
            stream.sender._buffer_start = stream.sender._buffer_stop = far
            stream.max_stream_data_remote = caller.quic._remote_max_data = 1 << 40
            caller.quic.send_stream_data(number, b"x")
        caller.pump(within_s=2.0)
        if not caller.is_over:
            raise SystemExit("beyond the window")


def never_reads() -> None:
    """Asks for all chunks on many streams and lets nothing come."""
    caller = Caller(victim_of(), kind=Rude, window=20_000).shake_hands()
    root = bytes.fromhex(sys.argv[3])
    for _ in range(40):
        hello = prefixed(encode(Hello(root, {0: Bitfield(4), 1: Bitfield(4)})))
        requests = b"".join(prefixed(encode(Request(n, 0, n % 4, 0, 1))) for n in range(1, 17))
        caller.stream(PEER.name, prefixed(root) + hello + requests)
    caller.pump(within_s=1.0)
    HELD.append(caller)


def quic_come_and_go() -> None:
    """Whole connections with ever new keys, some left without a word."""
    for number in range(25):
        caller = Caller(victim_of()).shake_hands()
        if number % 2:
            caller.quic.close()
            caller.send()


ATTACKS = {
    attack.__name__: attack
    for attack in (
        forged_initials, unfinished_handshakes, quic_garbage, another_ones_name, quic_stream_flood,
        quic_window_overrun, never_reads, quic_come_and_go,
    )
}  # fmt: skip


if __name__ == "__main__":
    while sys.stdin.readline():
        ATTACKS[sys.argv[1]]()
        print("done", flush=True)
