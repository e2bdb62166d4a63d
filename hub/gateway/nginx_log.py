"""What nginx sent by itself, counted with everything else: out of its log, which is emptied as it is read.

What nginx writes in the moment between reading and emptying is not counted; it writes once a second.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from hub.metrics import GATEWAY_BYTES, HTTP_REQUESTS

FORMAT = "$request_method $status $body_bytes_sent $digm_name"
EVERY_S = 2.0


async def count_for_ever(path: Path, note_use: Callable[[str], None]) -> None:
    """Take from the log whatever comes, until cancelled."""
    while True:
        await asyncio.sleep(EVERY_S)
        await asyncio.to_thread(count, path, note_use)


def count(path: Path, note_use: Callable[[str], None]) -> None:
    """Count the log's lines and empty it; nothing while a line is half written, or before nginx has begun.

    Args:
        note_use: told the hash of each chunk that was sent.
    """
    try:
        with path.open("r+b") as file:
            data = file.read()
            if data.endswith(b"\n"):
                file.truncate(0)
    except FileNotFoundError:
        return
    if not data.endswith(b"\n"):
        return
    requests: Counter[tuple[str, str]] = Counter()
    for line in data.decode("latin-1").splitlines():
        method, status, sent, name = line.split(" ")
        requests[method, status] += 1
        if status in ("200", "206"):
            GATEWAY_BYTES.inc(int(sent))
            note_use(name)
    for (method, status), number in requests.items():
        HTTP_REQUESTS.labels("chunk", method, status).inc(number)
