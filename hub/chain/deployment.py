"""DIGM's contracts on one chain: what they are, where they are, and how they get there.

The ABI and bytecode in `abi/` are made by `contracts/build.py`. A deployment is a JSON file that can be handed
on: whoever has it and an RPC URL finds everything else.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from digm.errors import CallerFault, PeerFault
from hub.chain import words
from hub.chain.client import ChainClient
from hub.chain.contract import Contract
from hub.chain.handing_on import FILE_NAME as FILE_NAME
from hub.chain.handing_on import FOLDER, MAX_DOCUMENT_BYTES, document_of
from hub.chain.rules import DELIVER_WITHIN_S, STAKE_TERMS, SUPPLY, TOKENS, WEEK_S
from hub.config import Settings
from hub.storage.durable import disk_faults_named, write_durably

ABI = Path(__file__).with_name("abi")
SELLING = {"sales": "Sales", "passes": "Passes"}
"""Parts that a deployment made before them does not have; `deploy` adds them."""
KINDS = {
    "registry": "TrackRegistry",
    "pinning": "Pinning",
    **dict.fromkeys(TOKENS, "Token"),
    **SELLING,
}
"""The contracts by their part, and what each is compiled from."""
COIN = "0x" + "00" * 20


@dataclass(frozen=True)
class Deployment:
    """Where the contracts are.

    Attributes:
        genesis: hash of the chain's first block: chains with the same id are told apart by it.
        first_block: nothing of theirs is before.
        addresses: by part (`KINDS`); those of `SELLING` may be missing.
    """

    chain_id: int
    genesis: str
    first_block: int
    addresses: dict[str, str]

    def contracts(self) -> dict[str, Contract]:
        """The contracts by their address."""
        return {address: contract(part) for part, address in self.addresses.items()}

    @property
    def missing(self) -> list[str]:
        """The parts that it does not have."""
        return [part for part in KINDS if part not in self.addresses]

    def address(self, part: str) -> str:
        """Where a part is. Raises CallerFault `no_sales`."""
        if part not in self.addresses:
            raise CallerFault(
                "no_sales",
                f"The contracts that are known here are from before there was a {part} contract: "
                "digm chain deploy adds what is missing and leaves the others as they are.",
            )
        return self.addresses[part]


@cache
def contract(part: str) -> Contract:
    """A contract by its part, such as `registry`."""
    said = json.loads((ABI / f"{KINDS[part]}.json").read_text())
    return Contract(part, said["abi"], bytes.fromhex(str(said["bytecode"]).removeprefix("0x")))


def deployment_of(settings: Settings) -> Deployment:
    """Where the contracts are that this data folder goes by. Blocks.

    Raises:
        CallerFault: `not_deployed`, `bad_deployment`, `bad_setting`.
    """
    document = document_of(settings)
    if document is None:
        raise CallerFault(
            "not_deployed",
            f"No contracts are known here: digm chain deploy, or put their {FILE_NAME} into "
            f"{settings.data / FOLDER}.",
        )
    where = "DIGM_CHAIN_DEPLOYMENT" if settings.chain_deployment else str(settings.data / FOLDER / FILE_NAME)
    return parse_deployment(document, where)


def load_deployment(path: Path) -> Deployment:
    """Read one from a file. Raises CallerFault `not_deployed`, `bad_deployment`."""
    try:
        return parse_deployment(path.read_bytes(), str(path))
    except FileNotFoundError as error:
        raise CallerFault("not_deployed", f"There is no {path}: digm chain deploy writes it.") from error
    except OSError as error:
        raise _bad(str(path)) from error


def parse_deployment(content: bytes, where: str = "What was handed on") -> Deployment:
    """Read one that may come from anybody. Raises CallerFault `bad_deployment`."""
    try:
        if len(content) > MAX_DOCUMENT_BYTES:
            raise _bad(where)
        found = msgspec.json.decode(content, type=Deployment)
        parts = set(found.addresses)
        if not set(KINDS) - set(SELLING) <= parts <= set(KINDS) or found.first_block < 0:
            raise _bad(where)
        words.hash_of(found.genesis, "the first block's hash")
        if any(words.address(one, "an address") != one for one in found.addresses.values()):
            raise _bad(where)
    except (PeerFault, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _bad(where) from error
    return found


def save_deployment(path: Path, deployment: Deployment) -> None:
    """Keep one, durably. Raises as `disk_fault`."""
    with disk_faults_named(path.parent):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        content = msgspec.json.format(msgspec.json.encode(deployment))
        write_durably(path, content, path.parent / "incoming")


def _bad(where: str) -> CallerFault:
    return CallerFault("bad_deployment", f"{where} does not say where contracts are.")


async def check_deployment(client: ChainClient, deployment: Deployment) -> None:
    """Whether this chain is the one, and has the contracts.

    Raises:
        CallerFault: `wrong_chain`, `not_deployed`. As `Rpc.ask`.
    """
    if await client.genesis() != deployment.genesis or await client.rpc.chain_id() != deployment.chain_id:
        raise CallerFault(
            "wrong_chain",
            "The contracts that are known here are on another chain than DIGM_CHAIN_RPC's: "
            f"if that was begun anew, move {FOLDER}/{FILE_NAME} out of the data folder.",
        )
    for part, address in deployment.addresses.items():
        if not await client.has_code(address):
            raise CallerFault("not_deployed", f"There is no contract at {address}, where {part} should be.")


async def check_code(client: ChainClient, deployment: Deployment) -> None:
    """Whether what is there is DIGM's own code: for who got the addresses from a stranger.

    Raises:
        CallerFault: `other_contracts`. As `Rpc.ask`.
    """
    for part, address in deployment.addresses.items():
        if not contract(part).is_code(await client.code(address)):
            raise CallerFault("other_contracts", f"The contract at {address} is not DIGM's {part}.")
    pinning, where = contract("pinning"), deployment.addresses["pinning"]
    for part in ("registry", "para"):
        if await client.call(pinning, where, part) != deployment.addresses[part]:
            raise CallerFault("other_contracts", f"The contract at {where} pins for another {part}.")
    if "sales" in deployment.addresses:
        where = deployment.addresses["sales"]
        if await client.call(contract("sales"), where, "registry") != deployment.addresses["registry"]:
            raise CallerFault("other_contracts", f"The contract at {where} sells for another registry.")


async def deploy(
    client: ChainClient,
    path: Path,
    rules: Mapping[str, int],
    say: Callable[[str, str], None] = lambda part, address: None,
) -> Deployment:
    """Put all contracts onto the chain, once: what was begun and interrupted is gone on with.

    Where some are already, only those are added that were not thought of then; the others stay.

    Args:
        path: where the deployment is kept.
        rules: of `load_rules`.
        say: is told each part and its address.
    Raises:
        CallerFault: `deployed_already`; as `ChainClient.deploy`.
    """
    known = load_deployment(path) if path.exists() else None
    if known is not None and not known.missing:
        raise CallerFault("deployed_already", f"{path} names contracts already; move it away to deploy others.")
    if known is not None:
        await check_deployment(client, known)
    holder, blocks, addresses = client.sender.address, [], {}

    async def put(part: str, *arguments: Any) -> str:
        if known is not None and part in known.addresses:
            addresses[part] = known.addresses[part]
            return addresses[part]
        receipt = await client.deploy(f"deploy {part}", contract(part), *arguments)
        assert receipt.contract_address is not None
        blocks.append(receipt.block)
        addresses[part] = receipt.contract_address
        say(part, receipt.contract_address)
        return receipt.contract_address

    await put("registry")
    for part, (name, symbol) in TOKENS.items():
        await put(part, name, symbol, SUPPLY, holder)
    terms = [{"token": addresses[part], **stake} for part, stake in STAKE_TERMS.items()]
    await put("pinning", addresses["registry"], addresses["para"], rules, terms)
    chain_id, paid_in = await client.rpc.chain_id(), [COIN, *(addresses[part] for part in TOKENS)]
    within_s = DELIVER_WITHIN_S.get(chain_id, WEEK_S)
    await put("sales", addresses["registry"], within_s, paid_in)
    await put("passes", paid_in)
    first = known.first_block if known is not None else min(blocks)
    found = Deployment(chain_id, await client.genesis(), first, addresses)
    save_deployment(path, found)
    return found
