"""Anvil in the devnet's place: quicker, with traces and subscriptions, where its program is installed.

It writes its state once a second: what it acknowledged in the last second before a kill -9 is gone, which is
why it is not the default.
"""

import asyncio
import shutil
from pathlib import Path

import structlog

from digm.errors import CallerFault
from hub.chain.devnet.accounts import BALANCE_WEI, COUNT, MNEMONIC
from hub.chain.devnet.server import CHAIN_ID, FOLDER, LOOPBACK
from hub.config import Settings
from hub.supervision import keep_program

log = structlog.get_logger()
STATE_FILE = "anvil.json"
_NPM_PACKAGES = Path(__file__).parents[3] / "node_modules" / "@foundry-rs"


def find_anvil() -> str | None:
    """Its program: the one on the path, or else the one that npm puts beside DIGM's sources."""
    beside = (shutil.which(program) for program in sorted(_NPM_PACKAGES.glob("anvil-*/bin/anvil")))
    return shutil.which("anvil") or next(filter(None, beside), None)


async def serve(settings: Settings, stop: asyncio.Event, block_s: float = 0) -> None:
    """Run Anvil until `stop` is set.

    Args:
        block_s: a block this often, besides those for transactions; 0: only those.
    Raises:
        CallerFault: `anvil_missing`, `bad_option`. Unavailable: `anvil_failed`.
    """
    program = find_anvil()
    if program is None:
        raise CallerFault(
            "anvil_missing", "Anvil is not installed: run npm ci in DIGM's folder, or leave --anvil out."
        )
    if not settings.chain_port:
        raise CallerFault("bad_option", "Anvil needs a port: set DIGM_CHAIN_PORT.")
    folder = settings.data / FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    command = [
        *(program, "--silent", "--host", LOOPBACK, "--port", str(settings.chain_port)),
        *("--chain-id", str(CHAIN_ID), "--mnemonic", MNEMONIC, "--accounts", str(COUNT)),
        *("--balance", str(BALANCE_WEI // 10**18)),
        *("--state", str(folder / STATE_FILE), "--state-interval", "1"),
    ]
    if block_s:
        command += ["--block-time", str(block_s), "--mixed-mining"]
    log.info("devnet_started", port=settings.chain_port, engine="anvil")
    await keep_program("anvil", command, settings.data / "logs" / "anvil.log", stop)
