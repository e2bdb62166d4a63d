"""Free ports for tests: never the same for two workers of pytest-xdist, never one that a connection takes."""

import os
import random
import socket
from contextlib import ExitStack

# Below what the kernel gives to outgoing connections and to those who ask for port 0 (from 32,768 on, ip(7)): a
# port that was free when it was found is free when its process asks for it, seconds later.
FIRST, END = 12_000, 32_000
FAMILIES = (socket.AF_INET, socket.AF_INET6) if socket.has_dualstack_ipv6() else (socket.AF_INET,)


def _share() -> range:
    """What this worker may give out."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % workers
    size = (END - FIRST) // workers
    return range(FIRST + number * size, FIRST + (number + 1) * size)


_ports = _share()
# One after the other, so that a port rests before it comes again; another run of the tests begins elsewhere.
_next = random.SystemRandom().randrange(len(_ports))


def free_ports(count: int) -> list[int]:
    """Ports in a row that are free for TCP and UDP on every address."""
    global _next
    for _ in range(len(_ports)):
        if _next + count > len(_ports):
            _next = 0
        row = list(_ports[_next : _next + count])
        _next += count
        if all(_is_free(port) for port in row):
            return row
    raise AssertionError(f"no {count} free ports in a row in {_ports}")


def free_port() -> int:
    """The same, one."""
    return free_ports(1)[0]


def _is_free(port: int) -> bool:
    with ExitStack() as sockets:
        try:
            for family in FAMILIES:
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    one = sockets.enter_context(socket.socket(family, kind))
                    if family == socket.AF_INET6:
                        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    one.bind(("", port))
        except OSError:
            return False
    return True
