"""A gateway as its operator starts it: `digm gateway` in a process of its own, on free ports."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from tests.browser.stack import free_ports

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
        self._log = (self.data / self.log_name).open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-c", self._start()], env=environment, stdout=self._log, stderr=self._log
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

    def _start(self) -> str:
        lines = ["import importlib, sys"]
        for name, value in self.limits.items():
            module, _, constant = name.rpartition(".")
            lines.append(f"importlib.import_module({module!r}).{constant} = {value!r}")
        return "\n".join([*lines, "sys.argv = ['digm', 'gateway']", "from hub.cli import main", "main()"])

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                assert self.process.poll() is None, self.log
                time.sleep(0.05)
        raise AssertionError(f"not ready: {self.log}")

    @property
    def log(self) -> str:
        return (self.data / self.log_name).read_text()

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

    def program_pid(self, name: str) -> int:
        """The first process of a program that the gateway runs."""
        return next(pid for pid in _descendants(self.process.pid) if name.encode() in _command(pid))

    def resident_bytes(self) -> int:
        """Memory of all its processes."""
        total = 0
        for pid in (self.process.pid, *_descendants(self.process.pid)):
            status = Path(f"/proc/{pid}/status").read_text()
            total += int(status.partition("VmRSS:")[2].split()[0]) * 1024
        return total


def _descendants(pid: int) -> list[int]:
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [one for child in children for one in (child, *_descendants(child))]


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
