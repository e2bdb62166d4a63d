"""Granian carries HTTP/1.1: the same application, processes and sockets as with Hypercorn.

HTTP/2 is not offered: Granian 2.8 never gives up a stream whose client answers pings and takes nothing, so that
memory would be without bound. Nor does it give up an HTTP/1.1 connection whose client takes nothing; that the
kernel does (TCP_USER_TIMEOUT).

Its embedded server makes its own sockets; what hands it ours are private names, so that its version is bounded.
"""

import asyncio
import os
import socket
import tempfile
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization

from digm.errors import CallerFault
from hub.gateway import budget, server, tcp
from hub.gateway.app import Gateway
from hub.gateway.sockets import BACKLOG, GatewaySockets

HEAD_BYTES = 16 * 1024


def check_installed() -> None:
    """Raise what tells how to install it.

    Raises:
        CallerFault: `granian_missing`.
    """
    try:
        import granian.server.embed  # noqa: F401
    except ImportError as error:
        raise CallerFault(
            "granian_missing",
            "DIGM_GATEWAY_TCP is granian, and it is not installed: pip install 'digm[granian]', or set "
            "DIGM_GATEWAY_TCP=hypercorn.",
        ) from error


async def serve_granian(
    gateway: Gateway, sockets: GatewaySockets, files: tuple[Path, Path] | None, stop: asyncio.Event
) -> None:
    """Answer on the TCP sockets until `stop` is set.

    Args:
        gateway: gives its bodies in pieces.
        files: certificate chain and key for `sockets.tls`.
    """
    with tempfile.TemporaryDirectory(prefix="digm-granian-") as folder:
        servers = [_server(gateway, sockets.plain, {})] if sockets.plain else []
        if sockets.tls and files:
            servers.append(_server(gateway, sockets.tls, _tls(Path(folder), files)))
        async with asyncio.TaskGroup() as tasks:
            for one in servers:
                tasks.create_task(one.serve(), name="granian")
            await stop.wait()
            for one in servers:
                one.stop()


def _server(gateway: Gateway, listening: socket.socket, tls: dict[str, Any]) -> Any:
    from granian._granian import SocketHolder
    from granian.constants import HTTPModes, Interfaces
    from granian.http import HTTP1Settings
    from granian.server.embed import Server

    class OnOurSocket(Server):
        def _init_shared_socket(self) -> None:
            # Its stub does not tell its arguments: descriptor, whether it is a Unix socket, backlog.
            holder: Any = SocketHolder
            vars(self).update(_ssp=None, _shd=holder(listening.detach(), False, BACKLOG))

    # Taken over by each connection that is accepted.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * budget.GRACE_S))
    return OnOurSocket(
        gateway,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        websockets=False,
        backlog=BACKLOG,
        # A connection counts as long as it is open.
        backpressure=tcp.MOST_CONNECTIONS,
        http1_settings=HTTP1Settings(
            header_read_timeout=round(1000 * server.IDLE_WITHIN_S), max_buffer_size=HEAD_BYTES
        ),
        log_enabled=False,
        **tls,
    )


def _tls(folder: Path, files: tuple[Path, Path]) -> dict[str, Any]:
    """Granian reads keys in PKCS #8 only; operators have them in older forms, too."""
    from granian.constants import SSLProtocols

    key = serialization.load_pem_private_key(files[1].read_bytes(), None)
    path = folder / "key.pem"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    return {"ssl_cert": files[0], "ssl_key": path, "ssl_protocol_min": SSLProtocols.tls12}
