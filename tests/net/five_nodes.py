"""Five `digm node` processes and an artist's hub, each node in a network namespace of its own, for tests."""

import hashlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from digm.manifest import parse_manifest
from hub.backbone.identity import NodeIdentity
from tests.browser.music import encode, plucked, write_wav
from tests.hub.node.processes import NodeProcess, end, get, hub_process, until
from tests.net.wires import Village

NAMES = ["one", "two", "three", "four", "five"]
VISITOR = "visitor"  # where somebody listens who is no node
NODE_PORT, HUB_NODE_PORT, HUB_PORT = 4001, 4101, 8080
DELAY_MS, BYTES_PER_S = 3.0, 2_500_000
TRACK_S = 12
LISTENED_EVERY_S = 0.02


@dataclass
class Villager(NodeProcess):
    """A node that lives in a namespace."""

    village: Any = None
    name: str = ""

    def begin(self) -> None:
        with self.village.within(self.name):
            super().begin()

    @property
    def state(self) -> dict[str, Any]:
        with self.village.within(self.name):
            return super().state

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None


@dataclass
class Track:
    """What was published: ciphertext, by hash."""

    root: str
    hashes: list[str]


class Network:
    """The nodes, started with one address, the first's; and the hub of an artist, where the first lives."""

    def __init__(self, village: Village, data: Path) -> None:
        self.village, self._data = village, data
        first = NodeIdentity.load(data / NAMES[0]).peer_id
        self._bootstrap = f"/ip4/{village.address[NAMES[0]]}/tcp/{NODE_PORT}/p2p/{first}"
        self.nodes = [self._villager(name) for name in NAMES]
        self.hub_url = f"http://{village.address[NAMES[0]]}:{HUB_PORT}"
        self.tracks: list[Track] = []
        self._hub = ExitStack()

    def start(self) -> None:
        """Nodes and hub, all at once."""
        for node in self.nodes:
            node.begin()
        self.start_hub()
        for node in self.nodes:
            node.wait_until_up()

    def start_hub(self) -> None:
        where = self.village.address[NAMES[0]]
        with self.village.within(NAMES[0]):
            settings = {
                "DIGM_HOST": where,
                "DIGM_BACKBONE_LISTEN": f"/ip4/{where}/tcp/{HUB_NODE_PORT}",
                "DIGM_BACKBONE_BOOTSTRAP": self._bootstrap,
            }
            self._hub.enter_context(hub_process(self._data / "hub", HUB_PORT, where, **settings))

    def kill_hub(self) -> None:
        self._hub.close()

    def end(self) -> None:
        for node in self.nodes:
            end(node)
        self.kill_hub()

    def publish(self, *seeds: int) -> None:
        """As an artist does; a track for each seed."""
        files = []
        for seed in seeds:
            wav = write_wav(self._data / f"{seed}.wav", plucked(TRACK_S, 44_100, 16, seed), 44_100, 16)
            files.append(str(encode(wav, self._data / f"{seed}.flac", "flac")))
        for line in self.digm(NAMES[0], "publish", "--json", *files).splitlines():
            if root := json.loads(line).get("track_root"):
                manifest = parse_manifest((self._data / "hub" / "manifests" / f"{root}.json").read_bytes())
                hashes = [name.hex() for part in manifest.renditions for name in part.chunk_hashes]
                self.tracks.append(Track(root, hashes))

    def order(self, track: Track, replicas: int) -> None:
        """As an artist does, with her vault."""
        self.digm(NAMES[0], "pin", track.root, "--replicas", str(replicas), "--hub", self.hub_url)

    def digm(self, where: str, *arguments: str) -> str:
        """A `digm` command in a namespace; what it printed."""
        environ = os.environ | {"DIGM_DATA": str(self._data / "hub")}
        with self.village.within(where):
            done = subprocess.run(
                [sys.executable, "-m", "hub.cli", *arguments],
                env=environ, capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
        assert done.returncode == 0, f"{arguments}: {done.stdout} {done.stderr}"
        return done.stdout

    @property
    def alive(self) -> list[Villager]:
        return [node for node in self.nodes if node.is_alive]

    def holders(self, track: Track) -> list[Villager]:
        """Who keeps a whole copy for the artist, by its own word."""
        return [node for node in self.alive if node.share_of(track.root) == 1.0]

    def until_held(self, track: Track, copies: int) -> None:
        until(lambda: len(self.holders(track)) >= copies)

    def restart(self) -> None:
        """Start those who are not there."""
        gone = [node for node in self.nodes if not node.is_alive]
        for node in gone:
            node.begin()
        for node in gone:
            node.wait_until_up()

    def fetched(self, track: Track, through: Villager, folder: Path) -> set[str]:
        """The hashes of what `digm fetch` brings a visitor over libp2p, who knows one node."""
        self.digm(
            VISITOR, "fetch", track.root, "--raw", str(folder), "--via", "libp2p",
            "--bootstrap", through.multiaddrs[0], "--json",
        )  # fmt: skip
        files = [path for path in (folder / "chunks").rglob("*") if path.is_file()]
        return {hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def _villager(self, name: str) -> Villager:
        host = self.village.address[name]
        settings = {
            "DIGM_HOST": host,
            "DIGM_OPERATOR": name,
            "DIGM_NETWORK": f"AS {name}",
            "DIGM_BACKBONE_LISTEN": f"/ip4/{host}/tcp/{NODE_PORT}",
        }
        bootstrap = () if name == NAMES[0] else (self._bootstrap,)
        return Villager(self._data / name, bootstrap, settings, village=self.village, name=name)


@dataclass
class Listener:
    """Asks for every chunk again and again, of one node's gateway after the other, until somebody has it.

    Attributes:
        rounds: how often all chunks came.
        faults: where nobody gave a chunk, or somebody gave wrong bytes.
    """

    network: Network
    track: Track
    rounds: int = 0
    faults: list[str] = field(default_factory=list)

    @contextmanager
    def listening(self) -> Iterator["Listener"]:
        """Listen meanwhile, and through one more round at the end."""
        enough = threading.Event()
        thread = threading.Thread(target=self._listen, args=(enough,), name="listener")
        thread.start()
        try:
            yield self
            seen = self.rounds + 1  # one that began after the last loss
            until(lambda: self.rounds > seen or self.faults)
        finally:
            enough.set()
            thread.join()

    def _listen(self, enough: threading.Event) -> None:
        dice = random.Random(1)
        with self.network.village.within(VISITOR):
            while not enough.is_set():
                for name in self.track.hashes:
                    self._hear(name, dice)
                    enough.wait(LISTENED_EVERY_S)  # the nodes' wires are thin
                self.rounds += 1

    def _hear(self, name: str, dice: random.Random) -> None:
        said = {}
        for node in dice.sample(self.network.nodes, len(self.network.nodes)):
            try:
                status, body = get(f"{node.gateway}/{name}")
            except OSError as error:
                said[node.name] = type(error).__name__
                continue
            if status == 200 and hashlib.sha256(body).hexdigest() == name:
                return
            said[node.name] = str(status)
            if status == 200:
                self.faults.append(f"{node.name} gave wrong bytes of {name}")
        self.faults.append(f"at {time.monotonic():.1f} nobody gave {name}: {said}")


def kill_at_moments(victims: list[Villager], moments_s: list[float]) -> None:
    """kill -9, each so long after now."""
    began = time.monotonic()
    for moment, victim in sorted(zip(moments_s, victims, strict=True), key=lambda pair: pair[0]):
        time.sleep(max(0.0, began + moment - time.monotonic()))  # the moment is what is tested
        victim.kill()
