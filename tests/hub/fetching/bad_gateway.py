"""A gateway over a data folder that does what real ones do on a bad day, in a thread; asks are counted."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from digm.ids import is_hex_id
from hub.storage.chunk_store import ChunkStore

Answer = tuple[int, bytes]
Behaviour = Callable[[str, bytes], Answer]
"""From a chunk's name and its bytes to what is said instead."""


def honest(_name: str, data: bytes) -> Answer:
    return 200, data


def lying(_name: str, data: bytes) -> Answer:
    return 200, data[:100] + bytes([data[100] ^ 1]) + data[101:]


def short(_name: str, data: bytes) -> Answer:
    return 200, data[:-1]


def busy(_name: str, _data: bytes) -> Answer:
    return 503, b"later"


def lacking(names: set[str]) -> Behaviour:
    """Only these chunks are there."""
    return lambda name, data: (200, data) if name in names else (404, b"")


class BadGateway:
    """One that runs.

    Attributes:
        asked: chunk names, as they came.
        hold: while it is clear, of what `stuck` names only headers and half of the body are sent.
    """

    def __init__(self, data: Path, behaviour: Behaviour, manifest: bytes | None) -> None:
        self.store, self.behaviour, self.other_manifest = ChunkStore(data), behaviour, manifest
        self.asked: list[str] = []
        self.hold = threading.Event()
        self.hold.set()
        self.stuck: Callable[[str], bool] = lambda _path: True
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = urlsplit(self.path).path.removeprefix("/")
                status, body = gateway.answer(path)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) // 2])
                if gateway.stuck(path):
                    gateway.hold.wait()
                self.wfile.write(body[len(body) // 2 :])

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, path: str) -> Answer:
        root, _, rest = path.partition("/")
        if rest == "manifest.json":
            return 200, self.other_manifest or self.store.manifest(root)
        if not is_hex_id(path) or path not in self.store:
            return 404, b""
        self.asked.append(path)
        return self.behaviour(path, self.store.read(path))


@contextmanager
def bad_gateway(
    data: Path, behaviour: Behaviour = honest, manifest: bytes | None = None
) -> Iterator[BadGateway]:
    """A gateway on a free port."""
    gateway = BadGateway(data, behaviour, manifest)
    thread = threading.Thread(target=gateway.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield gateway
    finally:
        gateway.hold.set()
        gateway.server.shutdown()
        gateway.server.server_close()
        thread.join()
