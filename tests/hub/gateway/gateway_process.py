"""A gateway as its operator starts it: `digm gateway` in a process of its own, on free ports."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.ports import free_ports

READY_WITHIN_S = 30.0
STOP_WITHIN_S = 12.0


@dataclass
class GatewayProcess:
    """`port` speaks plain HTTP, `tls_port` TLS and QUIC with a certificate that the gateway made.

    Attributes:
        limits: other values for constants of the gateway, such as `hub.gateway.budget.GRACE_S`, so that a test
            need not wait for the real ones.
    """

    data: Path
    settings: dict[str, str] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
    port: int = 0
    tls_port: int = 0
    log_name: str = "gateway.log"

    def __enter__(self) -> "GatewayProcess":
        self.port, self.tls_port = free_ports(2)
        environment = {
            **os.environ,
            "DIGM_DATA": str(self.data),
            "DIGM_GATEWAY_PORT": str(self.port),
            "DIGM_GATEWAY_TLS_PORT": str(self.tls_port),
            **self.settings,
        }
        if self.limits:
            environment["PYTHONPATH"] = self._customized()
        self._log = (self.data / self.log_name).open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hub.cli", "gateway"], env=environment, stdout=self._log, stderr=self._log
        )
        try:
            self._wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_WITHIN_S)
        finally:
            self.process.kill()
            self._log.close()

    def _customized(self) -> str:
        """A folder from which every Python process of the gateway takes our limits, when it starts."""
        folder = self.data / f"limits-{self.log_name}"
        folder.mkdir(exist_ok=True)
        lines = ["import importlib"]
        for name, value in self.limits.items():
            module, _, constant = name.rpartition(".")
            lines.append(f"importlib.import_module({module!r}).{constant} = {value!r}")
        (folder / "sitecustomize.py").write_text("\n".join(lines))
        return os.pathsep.join([str(folder), *sys.path[1:]])

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5):
                    socket.create_connection(("127.0.0.1", self.tls_port)).close()
                    return
            except (urllib.error.URLError, OSError):
                assert self.process.poll() is None, self.log
                time.sleep(0.05)
        raise AssertionError(f"not ready: {self.log}")

    @property
    def log(self) -> str:
        """What it and the programs that it runs have said."""
        carrier = self.data / "logs" / f"{self.settings.get('DIGM_GATEWAY_TCP')}.log"
        return (self.data / self.log_name).read_text() + (carrier.read_text() if carrier.exists() else "")

    @property
    def certificate(self) -> Path:
        return self.data / "gateway-cert.pem"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def worker_pids(self) -> list[int]:
        """The application's processes below the supervisor; the process itself where there is none."""
        below = [pid for pid in _descendants(self.process.pid) if b"hub.gateway.worker" in _command(pid)]
        return below or [self.process.pid]

    def program_pids(self, name: str) -> list[int]:
        """The first process of each program of that name that the gateway runs."""
        return [pid for pid in _children(self.process.pid) if name.encode() in _command(pid)]

    def resident_bytes(self) -> int:
        """Memory of all its processes."""
        total = 0
        for pid in (self.process.pid, *_descendants(self.process.pid)):
            with suppress(FileNotFoundError, ProcessLookupError, IndexError):  # ended meanwhile
                status = Path(f"/proc/{pid}/status").read_text()
                total += int(status.partition("VmRSS:")[2].split()[0]) * 1024
        return total

    def open_files(self) -> int:
        """Descriptors of all its processes, connections among them."""
        total = 0
        for pid in (self.process.pid, *_descendants(self.process.pid)):
            with suppress(FileNotFoundError, ProcessLookupError):
                total += len(list(Path(f"/proc/{pid}/fd").iterdir()))
        return total


def _children(pid: int) -> list[int]:
    with suppress(FileNotFoundError, ProcessLookupError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _descendants(pid: int) -> list[int]:
    return [one for child in _children(pid) for one in (child, *_descendants(child))]


def _command(pid: int) -> bytes:
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""
