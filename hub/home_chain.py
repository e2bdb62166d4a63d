"""The devnet that `digm up` runs on this machine, and what its artist and nodes have on it.

It is started when the music already plays, with little priority, and what becomes of it keeps nobody from
listening. What is done on it does a process of its own (`digm chain settle-in`).
"""

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from hub.config import Settings
from hub.neighbours import is_free, places_of
from hub.node.ports import KeptPorts
from hub.supervision import Child

log = structlog.get_logger()
BLOCK_SECONDS = "2"
KEYS_WITHIN_S, POLL_S = 30.0, 0.1
TRIES, AGAIN_S = 4, 3.0
# As hub.chain has them, which is not imported here: that takes a second.
FOLDER, KEY, PORT_FILE = "chain", "key.json", "devnet-port"


class HomeChain:
    """The devnet of one `digm up`; none where the operator names a chain, or wants none.

    Args:
        environment: what the hub's processes are started with.
    Attributes:
        devnet: the process to keep running.
    """

    def __init__(self, settings: Settings, environment: Mapping[str, str]) -> None:
        self._settings = settings
        self.is_wanted = settings.devnet and not settings.chain_rpc
        self.port = self._free_port() if self.is_wanted else 0
        # What an earlier one has told, perhaps of another port.
        (settings.data / FOLDER / PORT_FILE).unlink(missing_ok=True)
        environment = {**environment, **self.environment()}
        logs = settings.data / "logs"
        self.devnet = Child(
            "chain",
            logs,
            environment,
            arguments=("devnet", "--with-contracts", "--block-seconds", BLOCK_SECONDS),
            log_name="devnet",
            is_patient=True,
        )
        self._settling = Child(
            "chain",
            logs,
            environment,
            arguments=("settle-in", "--nodes", str(settings.nodes)),
            log_name="settle-in",
            is_patient=True,
        )

    @property
    def children(self) -> list[Child]:
        return [self.devnet, self._settling]

    def environment(self) -> dict[str, str]:
        """What this machine's processes must be told to find it."""
        return {"DIGM_CHAIN_PORT": str(self.port)} if self.is_wanted else {}

    async def settle_in(self, roots: Sequence[str]) -> Mapping[str, Any] | None:
        """Make accounts, fund them, stake for the nodes; publish and order these tracks.

        Returns:
            the addresses; None: that failed, and is gone on with the next time.
        """
        for left in reversed(range(TRIES)):
            if await self._settling.run(*roots) == 0:
                with contextlib.suppress(ValueError):
                    said: Mapping[str, Any] = json.loads(self._settling.last_words())
                    return said
            await asyncio.sleep(AGAIN_S if left else 0)  # the devnet may be being started again
        log.warning("chain_not_ready", log=str(self._settling.log_path))
        return None

    async def until_keys(self, settling: "asyncio.Task[Any]") -> None:
        """Wait until every node has its account: it looks for it once, when it starts."""
        data = self._settings.data
        keys = [place / FOLDER / KEY for place in (data, *places_of(data, self._settings.nodes))]
        with contextlib.suppress(TimeoutError):  # then they take no part until they are started again
            async with asyncio.timeout(KEYS_WITHIN_S):
                while not settling.done() and not all(key.exists() for key in keys):
                    await asyncio.sleep(POLL_S)

    def _free_port(self) -> int:
        wanted = self._settings.chain_port
        if wanted and is_free(wanted):
            return wanted
        folder: Path = self._settings.data / FOLDER
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        port = KeptPorts(folder).port("devnet", "127.0.0.1", 0)
        if wanted:
            print(f"Port {wanted} is taken: the devnet will listen on {port}", flush=True)
        return port


def lines_of(said: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """The addresses, for people."""
    accounts = [
        *(("registry", said["registry"]), ("pinning", said["pinning"]), ("artist", said["artist"])),
        *zip(names, said["nodes"], strict=False),
    ]
    return [
        f"A devnet runs beside it (nothing on it is worth anything): {said['rpc']}",
        *(f"  {name:10}{address}" for name, address in accounts),
    ]
