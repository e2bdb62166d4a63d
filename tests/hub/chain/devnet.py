"""A devnet in a process of its own, for tests."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.ports import free_port

READY_WITHIN_S = 60
_OPTIONS = {"py-evm": [], "anvil": ["--anvil"]}


class DevnetProcess:
    """`digm chain devnet` on a free port; it can be killed and started again on the same one.

    Args:
        engine: py-evm or anvil.
    """

    def __init__(
        self, data: Path, log: str = "devnet.log", engine: str = "py-evm", with_contracts: bool = False
    ) -> None:
        self.data, self._log = data, data / log
        self._options = [*_OPTIONS[engine], *(["--with-contracts"] if with_contracts else [])]
        self.port = free_port() if engine == "anvil" else 0  # which does not say what it chose
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        environment = {**os.environ, "DIGM_DATA": str(self.data), "DIGM_CHAIN_PORT": str(self.port)}
        command = [sys.executable, "-m", "hub.cli", "chain", "devnet", *self._options]
        self._log.write_text("")
        with self._log.open("w") as log:
            self._process = subprocess.Popen(command, env=environment, stderr=log)
        deadline = time.monotonic() + READY_WITHIN_S
        while (port := self._said_port()) is None:
            assert self._process.poll() is None and time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.02)
        self.port = port
        while not self._answers():  # Anvil is only being started when it is said
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            return "result" in self.ask("eth_chainId")
        except OSError:
            return False

    def _said_port(self) -> int | None:
        for line in self._log.read_text().splitlines():
            if '"devnet_started"' in line:
                return int(json.loads(line)["port"])
        return None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(20)

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def ask(self, method: str, *parameters: Any, headers: dict[str, str] | None = None) -> Any:
        """The whole answer, decoded."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}).encode()
        return self.post(body, headers)[1]

    def post(self, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        request = urllib.request.Request(
            self.url, body, {"Content-Type": "application/json", **(headers or {})}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)
