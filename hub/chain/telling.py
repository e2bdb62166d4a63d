"""What people tell the contracts, one transaction each: commands that are little more than that."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from digm.errors import CallerFault, Unavailable
from digm.ids import is_hex_id, to_hex
from digm.manifest import manifest_hash, parse_manifest
from hub.chain.client import ChainClient
from hub.chain.deployment import Deployment, contract
from hub.chain.opening import checked_address, folder_of
from hub.chain.ordering import allow, check_funds, state_now
from hub.chain.report import plain
from hub.config import Settings
from hub.keeping.proofs import AuditTrees, renditions_of
from hub.storage.chunk_store import ChunkStore

NOBODY = "0x" + "00" * 20
WHOLE_BPS = 10_000
_PERCENT = re.compile(r"(\d{1,3})(?:\.(\d{1,2}))?", re.ASCII)
MOST_PAYEES = 8


async def tell(
    client: ChainClient, deployed: Deployment, part: str, purpose: str, function: str, *arguments: Any
) -> dict[str, Any]:
    """One transaction.

    Args:
        part: which contract (`KINDS`).
        purpose: under which it is sent once; "name *" may be done more than once (`Sender.purpose`).
    Returns:
        the transaction, and what the contract says happened.
    Raises:
        as `ChainClient.transact`.
    """
    if purpose.endswith(" *"):
        purpose = client.sender.purpose(purpose.removesuffix(" *"))
    one, address = contract(part), deployed.addresses[part]
    receipt = await client.transact(purpose, one, address, function, *arguments)
    found: dict[str, Any] = {}
    for log in receipt.logs:
        event = one.event(log) if log.address == address else None
        if event is not None:
            found |= {"event": event.name, **plain(dict(event.arguments))}
    said = {"transaction": receipt.transaction_hash, "block": receipt.block, "gas": receipt.gas_used}
    return found | said


# -- tracks


async def track_of(client: ChainClient, deployed: Deployment, text: str) -> bytes:
    """A track's id on the chain, of what somebody typed.

    Args:
        text: the root of a track that the account here published (64 hex digits); or the id itself (with 0x).
    Raises:
        CallerFault: `bad_id`; as `ChainClient.call`.
    """
    if text.startswith("0x") and is_hex_id(text[2:]):
        return bytes.fromhex(text[2:])
    if not is_hex_id(text):
        raise CallerFault(
            "bad_id",
            f"{text!r:.80} is neither a track root (64 lower-case hex digits) nor a track's id (0x and those).",
        )
    address, account = deployed.addresses["registry"], client.sender.address
    found: bytes = await client.call(contract("registry"), address, "track_id", account, bytes.fromhex(text))
    return found


async def revise(client: ChainClient, deployed: Deployment, data: Path, root: str) -> dict[str, Any]:
    """Name the manifest that lies here now. Raises CallerFault `bad_id`; as `ChunkStore.manifest`, `tell`."""
    track = await track_of(client, deployed, root)
    if root.startswith("0x"):
        raise CallerFault("bad_id", "Name the track by its root: its manifest is looked for here.")
    digest = manifest_hash(ChunkStore(data).manifest(root))
    purpose = f"revise {root} {to_hex(digest)} *"
    return await tell(client, deployed, "registry", purpose, "revise", track, digest)


def payees_of(shares: Sequence[str]) -> list[dict[str, Any]]:
    """`ADDRESS=PERCENT` each, as the registry wants them; 100 in all, to a hundredth.

    Raises:
        CallerFault: `bad_split`, `bad_address`.
    """
    payees = [
        (checked_address(who), _bps(percent)) for who, _, percent in (one.partition("=") for one in shares)
    ]
    if not 0 < len(payees) <= MOST_PAYEES or sum(bps for _, bps in payees) != WHOLE_BPS:
        raise CallerFault("bad_split", f"Shares of at most {MOST_PAYEES} make 100 per cent together.")
    return [{"account": account, "share_bps": bps} for account, bps in payees]


def _bps(percent: str) -> int:
    form = _PERCENT.fullmatch(percent)
    bps = int(form[1]) * 100 + int((form[2] or "").ljust(2, "0")) if form else 0
    if not 0 < bps <= WHOLE_BPS:
        raise CallerFault("bad_split", f"{percent!r:.80} is no share: write ADDRESS=12.5, in per cent.")
    return bps


# -- orders


async def extend(client: ChainClient, deployed: Deployment, order_id: int, duration_s: int) -> dict[str, Any]:
    """Make an order last longer. Raises CallerFault `no_such_order`, `not_enough_para`; as `tell`."""
    where = deployed.addresses["pinning"]
    name = f"extend {order_id} by {duration_s}"
    if client.sender.begun(name) is None:
        order = await client.call(contract("pinning"), where, "order", order_id)
        rules = await client.call(contract("pinning"), where, "rules")
        cost = order["rate"] * order["replicas"] * duration_s
        cost += cost * rules["fee_bps"] // WHOLE_BPS
        await check_funds(client, deployed, cost)
        await allow(client, deployed, "para", cost)
    return await tell(client, deployed, "pinning", f"{name} *", "extend", order_id, duration_s)


# -- a node's part


class _Chunks:
    """A data folder as `AuditTrees` reads it."""

    def __init__(self, data: Path) -> None:
        self.chunks = ChunkStore(data)

    def read(self, hash_hex: str) -> bytes:
        return self.chunks.read_verified(hash_hex)


async def check_order(client: ChainClient, deployed: Deployment, settings: Settings, order_id: int) -> None:
    """Whether the bytes of an order's track lie here; blocks while it reads them all.

    Raises:
        CallerFault: `other_bytes`. Unavailable: `track_not_known`; as `AuditTrees.compute`.
    """
    order = await client.call(contract("pinning"), deployed.addresses["pinning"], "order", order_id)
    if not order["created_at"]:
        return  # the contract says so in its own words
    registry, where = contract("registry"), deployed.addresses["registry"]
    facts = await client.call(registry, where, "track", order["track"])
    shape = [dict(one) for one in await client.call(registry, where, "renditions", order["track"])]
    root, chunks = await _root_of(settings, order["track"]), _Chunks(settings.data)
    found = AuditTrees(folder_of(settings), chunks).compute(root)
    manifest = parse_manifest(chunks.chunks.manifest(root))
    if found != facts["audit_root"] or renditions_of(manifest) != shape:
        raise CallerFault(
            "other_bytes", "The bytes here are not those of the order: a proof would never be right."
        )


async def prove(client: ChainClient, deployed: Deployment, settings: Settings, who: str) -> dict[str, Any]:
    """Answer a node's challenge with bytes that lie here.

    Raises:
        CallerFault: `bad_address`; as `tell`. Unavailable: `track_not_known`; as `AuditTrees.proof`.
    """
    who = checked_address(who)
    asked = await client.call(contract("pinning"), deployed.addresses["pinning"], "challenge", who)
    trees = AuditTrees(folder_of(settings), _Chunks(settings.data))
    proof = trees.proof(await _root_of(settings, asked["track"]), asked)
    purpose = f"prove {asked['round']} for {who}"
    arguments = (who, proof.leaf, list(proof.chunk_path), list(proof.track_path))
    return await tell(client, deployed, "pinning", purpose, "prove", *arguments)


async def _root_of(settings: Settings, track: bytes) -> str:
    state = await state_now(settings)
    for one in (*state.tracks, *state.withdrawn):
        if one.said.track == track:
            return to_hex(one.said.track_root)
    raise Unavailable("track_not_known", "The track is not among those that the chain tells of.")
