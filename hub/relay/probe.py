"""Whether a relay answers, and how long that takes: a STUN binding from here."""

import asyncio
import contextlib
import socket
import time

from aioice import stun

TIMEOUT_S = 1.0
ATTEMPTS = 2
ANSWER_BYTES = 2_048


async def stun_round_trip_s(address: str, port: int, timeout_s: float = TIMEOUT_S) -> float | None:
    """Ask a STUN server for our address over UDP.

    Args:
        address: an IP address; names are not resolved.
    Returns:
        seconds from the request to the answer; None: there was none, twice.
    """
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.setblocking(False)
        try:
            asking.connect((address, port))
            for _ in range(ATTEMPTS):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(timeout_s):
                        return await _ask(loop, asking)
        except OSError:
            return None  # refused, or no route
    return None


async def _ask(loop: asyncio.AbstractEventLoop, asking: socket.socket) -> float:
    request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    request.add_fingerprint()
    began = time.monotonic()
    await loop.sock_sendall(asking, bytes(request))
    while True:
        data = await loop.sock_recv(asking, ANSWER_BYTES)
        with contextlib.suppress(ValueError):
            answer = stun.parse_message(data)
            if answer.transaction_id == request.transaction_id and answer.message_class is stun.Class.RESPONSE:
                return time.monotonic() - began
