"""UDP sockets for QUIC."""

import socket
from collections.abc import Callable

BATCH = 64  # datagrams read before they are answered, and others get their turn
ROOM_BYTES = 65_536
_KERNEL_BYTES = 2 * 1024 * 1024  # asked for; Linux gives what net.core.rmem_max allows


def datagrams(family: socket.AddressFamily, begin: Callable[[socket.socket], None]) -> socket.socket:
    """A socket that does not block, bound or connected by `begin`. Raises OSError."""
    made = socket.socket(family, socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            made.setsockopt(socket.SOL_SOCKET, buffer, _KERNEL_BYTES)
        if family == socket.AF_INET6:
            made.setsockopt(
                socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1
            )  # IPv4 is listened on by its own address
        begin(made)
    except OSError:
        made.close()
        raise
    return made
