"""Where the contracts are, as it stands in a data folder, and as nodes tell it each other over libp2p.

Whoever serves says what it knows; whoever asks compares it with the chain (`hub.chain.finding`). Importing this
imports nothing of Ethereum.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from digm.backbone_messages import DEPLOYMENT
from digm.errors import CallerFault, DigmError, PeerFault, Unavailable
from digm.ids import ID_BYTES
from hub.config import Settings
from hub.pinning.covers import Asking, Serving

log = structlog.get_logger()
FOLDER, FILE_NAME = "chain", "deployment.json"
MAX_DOCUMENT_BYTES = DEPLOYMENT.most_answer_bytes - 1
PARALLEL = 8
MOST_ASKED = 8


class _Document(msgspec.Struct):
    genesis: str


class Network(Asking, Serving, Protocol):
    """Both."""


def document_of(settings: Settings) -> bytes | None:
    """The deployment as it was written down: by DIGM_CHAIN_DEPLOYMENT, else in the data folder. Blocks.

    Returns:
        what stands there, unchecked; None: nothing does.
    Raises:
        CallerFault: `bad_setting`, `bad_deployment`.
    """
    said = settings.chain_deployment.strip()
    if said.startswith("{"):
        return said.encode()
    path = Path(said).expanduser() if said else settings.data / FOLDER / FILE_NAME
    try:
        with path.open("rb") as file:
            content = file.read(MAX_DOCUMENT_BYTES + 1)
    except FileNotFoundError as error:
        if not said:
            return None
        raise CallerFault("bad_setting", f"DIGM_CHAIN_DEPLOYMENT names {path}, which is not there.") from error
    except OSError as error:
        raise CallerFault("bad_deployment", f"{path} cannot be read: {error.strerror}.") from error
    if len(content) > MAX_DOCUMENT_BYTES:
        raise CallerFault("bad_deployment", f"{path} does not say where contracts are: it is too large.")
    return content


def serve_deployment(network: Serving, settings: Settings) -> None:
    """Answer on `/digm/deployment/1.0.0`: the request is the hash of a chain's first block."""

    async def answer(_peer: str, genesis: bytes) -> bytes:
        if len(genesis) != ID_BYTES:
            raise PeerFault("bad_id", f"The hash of a first block is {ID_BYTES} bytes.")
        document = await asyncio.to_thread(document_of, settings)
        if document is None or _genesis_of(document) != genesis:
            raise Unavailable("not_deployed", "No contracts are known here on that chain.")
        return document

    network.serve(
        DEPLOYMENT.name, answer, most_bytes=DEPLOYMENT.most_request_bytes,
        timeout_s=DEPLOYMENT.timeout_s, parallel=PARALLEL,
    )  # fmt: skip


def _genesis_of(document: bytes) -> bytes:
    try:
        return bytes.fromhex(msgspec.json.decode(document, type=_Document).genesis.removeprefix("0x"))
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        return b""


async def ask_deployments(network: Asking, peers: Sequence[str], genesis: bytes) -> list[bytes]:
    """What some nodes say, those that answer; unchecked.

    Args:
        peers: ids; the first MOST_ASKED are asked.
    """

    async def ask(peer: str) -> bytes | None:
        try:
            return await network.request(
                peer, DEPLOYMENT.name, genesis,
                timeout_s=DEPLOYMENT.timeout_s, most_bytes=DEPLOYMENT.most_answer_bytes,
            )  # fmt: skip
        except DigmError as fault:
            log.debug("contracts_not_told", peer=peer[-8:], code=fault.code)
            return None

    answers = await asyncio.gather(*(ask(peer) for peer in peers[:MOST_ASKED]))
    return [one for one in answers if one is not None]
