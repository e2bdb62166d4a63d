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

    def ports(self) -> list[int | None]:
        """Of all three; None also for a Unix socket."""
        families = (socket.AF_INET, socket.AF_INET6)
        return [
            item.getsockname()[1] if item and item.family in families else None
            for item in (self.plain, self.tls, self.quic)
        ]

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
    plain_port, tls_port = _wanted_ports(settings)
    with _closed_on_failure() as opened:
        plain = _group(settings, plain_port, opened)
        tls = _group(settings, tls_port, opened)
        quic = bind_datagrams(settings, tls[0].getsockname()[1] if tls[0] else None, opened)
        return [GatewaySockets(*three) for three in zip(plain, tls, quic, strict=True)]


def bind_datagrams(
    settings: Settings, port: int | None, opened: list[socket.socket]
) -> list[socket.socket | None]:
    """UDP sockets for QUIC, one for each worker; arguments and errors as those of `_group`."""
    return _group(settings, port, opened, socket.SOCK_DGRAM)


def choose_ports(settings: Settings) -> tuple[int | None, int | None]:
    """Ports without and with TLS for another program that binds them itself; None where one is not wanted.

    Raises:
        CallerFault: `port_in_use`, `cannot_listen`.
    """
    plain, tls = (None if port is None else _free(settings.host, port) for port in _wanted_ports(settings))
    return plain, tls


def _wanted_ports(settings: Settings) -> tuple[int | None, int | None]:
    if settings.gateway_tls_port >= 0:
        return settings.gateway_port, settings.gateway_tls_port
    if settings.gateway_cert is not None:
        return None, settings.gateway_port
    return settings.gateway_port, None


def _free(host: str, port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with _bound(host, port, kind, is_shared=False) as alone:
        return int(alone.getsockname()[1])


def _group(
    settings: Settings,
    port: int | None,
    opened: list[socket.socket],
    kind: socket.SocketKind = socket.SOCK_STREAM,
) -> list[socket.socket | None]:
    if port is None:
        return [None] * settings.gateway_workers
    # Alone first: a shared socket would quietly take half of what belongs to another process of this user.
    port = _free(settings.host, port, kind)
    make = bind if kind is socket.SOCK_STREAM else bind_udp
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
