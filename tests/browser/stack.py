"""The real thing, as processes: hub, gateway, artist and seeding peer over one data folder, on free ports."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.ports import free_ports

PROCESSES = ("hub", "gateway", "artist", "seed")
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0


@dataclass
class Stack:
    """A running DIGM.

    Attributes:
        data: the data folder; tests may damage it.
        ports: of hub, gateway, artist, seed.
    """

    data: Path
    settings: dict[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(init=False)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ports = dict(zip(PROCESSES, free_ports(len(PROCESSES)), strict=True))

    @property
    def url(self) -> str:
        return f"http://localhost:{self.ports['hub']}"

    @property
    def environment(self) -> dict[str, str]:
        ports = {f"DIGM_{name.upper()}_PORT": str(port) for name, port in self.ports.items() if name != "hub"}
        return {
            **os.environ,
            **ports,
            "DIGM_PORT": str(self.ports["hub"]),
            "DIGM_DATA": str(self.data),
            "DIGM_LOG_LEVEL": "info",
            **self.settings,
        }

    def publish(self, *arguments: str | Path) -> list[dict[str, Any]]:
        """`digm publish --json ...`; its lines."""
        done = subprocess.run(
            [sys.executable, "-m", "hub.cli", "publish", "--json", *map(str, arguments)],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def start(self, *names: str) -> None:
        """Start processes; all of them when none is named."""
        for name in names or PROCESSES:
            log = (self.data / f"{name}.log").open("ab")
            with log:
                self.running[name] = subprocess.Popen(
                    [sys.executable, "-m", "hub.cli", name], env=self.environment, stdout=log, stderr=log
                )

    def wait_until_ready(self) -> None:
        """Until /readyz says that a track can be played, and the seeding peer is in its swarms."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        for name in ("hub", *(name for name in ("seed",) if name in self.running)):
            while not self._answers(name):
                ended = [name for name, process in self.running.items() if process.poll() is not None]
                assert not ended, f"{ended} ended: {self.log(ended[0])}"
                assert time.monotonic() < deadline, f"not ready: {self.log(name)}"
                time.sleep(0.1)

    def wait_until_alive(self) -> None:
        """Until everything that was started answers, playable or not."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        for name in self.running:
            while not self._answers(name, "healthz"):
                assert time.monotonic() < deadline, f"not alive: {self.log(name)}"
                time.sleep(0.1)
        if "artist" in self.running:
            while "vault_linked" not in self.log("hub"):
                assert time.monotonic() < deadline, f"no vault: {self.log('artist')}"
                time.sleep(0.1)

    def is_ready(self) -> bool:
        """Whether `wait_until_ready` would end at once: for who must not block meanwhile."""
        return self._answers("hub")

    def status(self, path: str) -> int:
        """Of the hub's answer."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=READY_TIMEOUT_S) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code

    def _answers(self, name: str, path: str = "readyz") -> bool:
        try:
            with urllib.request.urlopen(f"http://localhost:{self.ports[name]}/{path}", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def log(self, name: str) -> str:
        return (self.data / f"{name}.log").read_text()[-3000:]

    def ask(self, path: str) -> Any:
        """What the hub answers in JSON."""
        with urllib.request.urlopen(self.url + path, timeout=READY_TIMEOUT_S) as answer:
            return json.load(answer)

    def kill(self, name: str) -> None:
        """As if its machine lost power."""
        process = self.running.pop(name)
        process.kill()
        process.wait(STOP_TIMEOUT_S)

    def stop(self) -> None:
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.running.clear()

    def chunks_of(self, track_root: str, rendition: int = 0) -> list[Path]:
        """The files of a rendition's chunks, in order."""
        document = json.loads((self.data / "manifests" / f"{track_root}.json").read_bytes())
        hashes = document["renditions"][rendition]["chunk_hashes"]
        return [self.data / "chunks" / name[:2] / name for name in hashes]
