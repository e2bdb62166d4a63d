"""Real `digm node` processes for tests, and the origin of a track beside them; plain, blocking code."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PATIENCE_S = 60.0
_UP = re.compile(r"Node (\S+) is up: (.*); gateway (\S+); health (http://\S+)/healthz\n")
# So that tests need not wait for what protects a network of strangers from haste.
QUICK = {
    "DIGM_NODE_SETTLE_SECONDS": "0",
    "DIGM_NODE_LOSS_SECONDS": "2",
    "DIGM_NODE_PRESENCE_SECONDS": "6",
    "DIGM_AUDIT_EPOCH_SECONDS": "10",
}


def until(is_so: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
    """Ask again and again; returns the first answer that counts as true."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if answer := is_so():
            return answer
        time.sleep(0.05)
    raise AssertionError(f"It did not become so within {patience_s} s.")


def get(url: str, **headers: str) -> tuple[int, bytes]:
    """Status and body of an answer."""
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@dataclass
class NodeProcess:
    """A `digm node`; `start` and `kill` as often as wanted, over the same folder."""

    data: Path
    bootstrap: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)
    program: tuple[str, ...] = ("-m", "hub.cli", "node")
    peer_id: str = ""
    multiaddrs: list[str] = field(default_factory=list)
    gateway: str = ""
    health: str = ""
    process: Any = None

    @property
    def log(self) -> Path:
        return self.data.with_suffix(".log")

    def begin(self) -> None:
        """Start it, and do not wait."""
        environ = {
            **os.environ, **QUICK, **self.settings,
            "DIGM_DATA": str(self.data), "DIGM_BACKBONE_BOOTSTRAP": ",".join(self.bootstrap),
        }  # fmt: skip
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self.program], env=environ, stdout=subprocess.PIPE, stderr=log, text=True
            )

    def wait_until_up(self) -> None:
        """Until it says so."""
        line = self.process.stdout.readline()
        found = _UP.fullmatch(line)
        assert found, f"{line!r}; {self.log.read_text()[-2000:]}"
        self.peer_id, addresses, self.gateway, self.health = found.groups()
        self.multiaddrs = addresses.split()

    def start(self) -> None:
        self.begin()
        self.wait_until_up()

    def kill(self) -> None:
        """As a power cut would."""
        self.process.kill()
        self.process.communicate()

    def status_at_end(self) -> int:
        """Wait for the end of it."""
        self.process.communicate(timeout=PATIENCE_S)
        return int(self.process.returncode)

    @property
    def state(self) -> dict[str, Any]:
        status, body = get(self.health + "/api/node")
        assert status == 200, body
        return json.loads(body)

    def is_ready(self) -> bool:
        return get(self.health + "/readyz")[0] == 200

    def share_of(self, track_root: str) -> float:
        """What it holds of a track, if it keeps it for somebody."""
        tracks = {track["track_root"]: track for track in self.state["tracks"]}
        track = tracks.get(track_root)
        return track["share"] if track and track["pinned_by"] else 0.0

    def events(self, name: str) -> list[dict[str, Any]]:
        """What its log says of one kind of event."""
        lines = self.log.read_text().splitlines()
        found = [json.loads(line) for line in lines if f'"{name}"' in line]
        return [event for event in found if event.get("event") == name]


@contextmanager
def nodes(*made: NodeProcess) -> Iterator[None]:
    """Start them, all at once, and end what is left of them."""
    with ExitStack() as stack:
        for node in made:
            stack.callback(end, node)
            node.begin()
        for node in made:
            node.wait_until_up()
        yield


def end(node: NodeProcess) -> None:
    if node.process is not None and node.process.poll() is None:
        node.kill()


@contextmanager
def hub_process(data: Path, port: int, host: str = "127.0.0.1", **settings: str) -> Iterator[str]:
    """A `digm hub`; yields its URL."""
    url = f"http://{host}:{port}"
    environ = {**os.environ, "DIGM_DATA": str(data), "DIGM_PORT": str(port), **settings}
    with data.with_suffix(".log").open("ab") as log:
        process = subprocess.Popen([sys.executable, "-m", "hub.cli", "hub"], env=environ, stderr=log)
    try:
        until(lambda: is_answering(url))
        yield url
    finally:
        process.kill()
        process.wait()


def is_answering(url: str) -> bool:
    try:
        return get(url + "/healthz")[0] == 200
    except OSError:
        return False


@dataclass
class Origin:
    """A running tests.hub.node.origin_process."""

    process: Any
    peer_id: str
    multiaddr: str
    track_root: str
    hashes: list[str]
    cover: str

    def ask(self, *command: Any) -> Any:
        answer = self._say(*command)
        assert "error" not in answer, answer
        return answer["result"]

    def attempt(self, *command: Any) -> Any:
        """The same; None when it fails."""
        return self._say(*command).get("result")

    def _say(self, *command: Any) -> dict[str, Any]:
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


@contextmanager
def origin_of_a_track(data: Path, chunks: int = 6) -> Iterator[Origin]:
    """Somebody who holds a track and gives it away."""
    data.mkdir(exist_ok=True)
    with (data / "origin.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.hub.node.origin_process", str(data), str(chunks)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, (data / "origin.log").read_text()[-2000:]
        yield Origin(process, **json.loads(line))
    finally:
        process.kill()
        process.communicate()
