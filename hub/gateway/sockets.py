"""The sockets that a gateway answers on: TCP without TLS, TCP with TLS, and UDP for QUIC."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from digm.errors import CallerFault
from hub.config import Settings
from hub.lifecycle import cannot_listen

BACKLOG = 512
# A burst of datagrams waits in the kernel while Python is busy with the one before it.
UDP_BUFFER_BYTES = 2 * 1024 * 1024


@dataclass(frozen=True)
class GatewaySockets:
    """What one worker answers on; None where a kind is not wanted. `tls` and `quic` have the same port."""

    plain: socket.socket | None
    tls: socket.socket | None
    quic: socket.socket | None

    def all(self) -> list[socket.socket]:
        return [item for item in (self.plain, self.tls, self.quic) if item is not None]

    def arguments(self) -> list[str]:
        """For the command line of a process that inherits them: file descriptors, `-` for none."""
        return [str(item.fileno()) if item else "-" for item in (self.plain, self.tls, self.quic)]

    @classmethod
    def inherited(cls, arguments: list[str]) -> "GatewaySockets":
        """The other end of `arguments`."""
        found = [None if text == "-" else socket.socket(fileno=int(text)) for text in arguments]
        return cls(*found)


def bind(host: str, port: int, is_shared: bool = False) -> socket.socket:
    """A listening TCP socket.

    Args:
        is_shared: others of ours listen there too, and the kernel gives each its share (SO_REUSEPORT).
    Raises:
        CallerFault: `port_in_use`, `cannot_listen`.
    """
    listening = _bound(host, port, socket.SOCK_STREAM, is_shared)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listening.listen(BACKLOG)
    return listening


def bind_udp(host: str, port: int, is_shared: bool = False) -> socket.socket:
    """A UDP socket; arguments and errors as those of `bind`."""
    bound = _bound(host, port, socket.SOCK_DGRAM, is_shared)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UDP_BUFFER_BYTES)
    bound.setblocking(False)
    return bound


def _bound(host: str, port: int, kind: socket.SocketKind, is_shared: bool) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
    try:
        if is_shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        elif kind is socket.SOCK_STREAM:  # for UDP it would mean sharing
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise cannot_listen(host, port, error) from error
    return bound


def bind_for_workers(settings: Settings) -> list[GatewaySockets]:
    """Sockets of its own for each worker.

    Whoever calls this keeps them open as long as any worker may come back: a QUIC connection belongs to one
    socket of the group, and would go astray if the group grew or shrank.

    Raises:
        CallerFault: `port_in_use`, `cannot_listen`.
    """
    is_tls_only = settings.gateway_tls_port < 0 and settings.gateway_cert is not None
    with _closed_on_failure() as opened:
        plain: list[socket.socket | None] = [None] * settings.gateway_workers
        tls, quic = plain[:], plain[:]
        if not is_tls_only:
            plain = _group(settings, settings.gateway_port, opened)
        if is_tls_only or settings.gateway_tls_port >= 0:
            tls = _group(settings, settings.gateway_port if is_tls_only else settings.gateway_tls_port, opened)
            assert tls[0] is not None
            quic = _group(settings, tls[0].getsockname()[1], opened, socket.SOCK_DGRAM)
        return [GatewaySockets(*three) for three in zip(plain, tls, quic, strict=True)]


def _group(
    settings: Settings,
    port: int,
    opened: list[socket.socket],
    kind: socket.SocketKind = socket.SOCK_STREAM,
) -> list[socket.socket | None]:
    # Alone first: a shared socket would quietly take half of what belongs to another process of this user.
    alone = _bound(settings.host, port, kind, is_shared=False)
    port = alone.getsockname()[1]
    make = bind if kind is socket.SOCK_STREAM else bind_udp
    alone.close()
    group: list[socket.socket | None] = []
    for _ in range(settings.gateway_workers):
        opened.append(make(settings.host, port, settings.gateway_workers > 1))
        group.append(opened[-1])
    return group


@contextmanager
def _closed_on_failure() -> Iterator[list[socket.socket]]:
    opened: list[socket.socket] = []
    try:
        yield opened
    except CallerFault:
        for item in opened:
            with suppress(OSError):
                item.close()
        raise
