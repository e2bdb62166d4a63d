"""A real DIGM for the length of a benchmark: every process, on free ports, with a data folder of its own."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

CHROMIUM = "/usr/bin/chromium"
CHROMIUM_FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
    "--allow-loopback-in-peer-connection",
]  # fmt: skip
READY_S = 120
BENCH = Path(__file__).resolve().parent


@dataclass
class Stack:
    """A running instance and what was published to it."""

    url: str
    data: Path
    tracks: list[str]
    process: subprocess.Popen[str]

    def track_url(self, number: int = 0) -> str:
        return f"{self.url}tracks/{self.tracks[number]}"

    def until_chain(self) -> None:
        """Until the devnet has contracts, and the artist an account on it."""
        _until_said(self.process, "A devnet runs beside it")

    def run(self, *arguments: str) -> str:
        """A `digm` command to its end; what it said."""
        process = digm(self.data, *arguments)
        said, _ = process.communicate(timeout=READY_S)
        if process.returncode:
            raise SystemExit(f"digm {' '.join(arguments)} failed: {said}")
        return said


def npm_package(name: str) -> Path:
    """The folder of a package that something is measured beside (bench/package.json); installed if missing."""
    if not (BENCH / "node_modules" / name).is_dir():
        subprocess.run(["npm", "ci", "--silent"], cwd=BENCH, check=True)
    return BENCH / "node_modules" / name


def digm(data: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start a `digm` command on a data folder."""
    return subprocess.Popen(
        [sys.executable, "-m", "hub.cli", *arguments],
        env={**os.environ, "DIGM_DATA": str(data), **environment},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def free_ports(count: int) -> int:
    """The first of `count` consecutive ports that nobody uses now."""
    while True:
        with contextlib.ExitStack() as sockets:
            first = sockets.enter_context(socket.socket())
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                for offset in range(1, count):
                    sockets.enter_context(socket.socket()).bind(("127.0.0.1", port + offset))
            except (OSError, OverflowError):
                continue
            return port


def publish(data: Path, *files: Path, options: Sequence[str] = ()) -> list[str]:
    """Publish files; the track roots."""
    process = digm(data, "publish", "--json", *options, *map(str, files))
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"publishing failed: {output}")
    return [json.loads(line)["track_root"] for line in output.splitlines()]


@contextlib.contextmanager
def running(*files: Path, options: Sequence[str] = ()) -> Iterator[Stack]:
    """Publish `files` and run `digm up` until the block ends."""
    with tempfile.TemporaryDirectory(prefix="digm-bench-") as folder:
        data = Path(folder)
        tracks = publish(data, *files, options=options)
        port = free_ports(8)
        process = digm(data, "up", "--port", str(port))
        try:
            url = _until_said(process, "Listen at ").removeprefix("Listen at ").strip()
            yield Stack(url, data, tracks, process)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def _until_said(process: subprocess.Popen[str], words: str) -> str:
    """The first line of `digm up` that begins with these words."""
    assert process.stdout is not None
    give_up = time.monotonic() + READY_S
    for line in process.stdout:
        if line.startswith(words):
            return line
        if time.monotonic() > give_up:
            break
    raise SystemExit(f"digm up did not come to the line that begins with: {words}")
