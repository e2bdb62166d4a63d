"""The node and the chain: what it follows, what it does for the contract, and what it says of that.

Without a chain, contracts or a key nothing of it does anything, and nothing of Ethereum is imported.
"""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from digm.announcements import Announcement
from digm.chain_standing import ChainStanding
from digm.errors import CallerFault, DigmError
from digm.keeping import Policy
from digm.node_ids import peer_id
from digm.placement import Candidate
from hub.backbone.identity import NodeIdentity
from hub.chain.amounts import read_amount, say_amount
from hub.chain.follower import ChainFollower
from hub.chain.handing_on import FOLDER, ask_deployments
from hub.chain.keystore import FILE_NAME, address_of
from hub.chain.standings import standing_of_announced, token_of
from hub.config import Settings
from hub.keeping.keeper import Keeper, Neighbours
from hub.node.storage import NodeStore
from hub.pinning.herald import Herald
from hub.pinning.network import Network

log = structlog.get_logger()
CLASSES = {0: None, 1: "elder", 2: "cold"}


class ChainPart:
    """Follows the chain, and keeps what the node's account promised there.

    Args:
        step_s: what each turn waits for the one before it, where several nodes could take a place.
    """

    def __init__(
        self,
        settings: Settings,
        network: Network,
        identity: NodeIdentity,
        store: NodeStore,
        herald: Herald,
        step_s: float,
    ) -> None:
        self._network, self._herald = network, herald

        # Only the nodes that the operator named: others could name contracts of their own.
        named = [address.rpartition("/p2p/")[2] for address in settings.backbone_bootstrap]

        async def ask_others(genesis: bytes) -> Sequence[bytes]:
            return await ask_deployments(network, named, genesis)

        self.follower = ChainFollower(settings, ask_others)
        policy = Policy(
            least_price=_amount("node_least_price", settings.node_least_price),
            claim_at=_amount("node_claim", settings.node_claim),
            step_s=step_s,
        )
        herald.account = _account(settings)
        me = Candidate(identity.node_key, settings.operator, settings.network)
        neighbours = Neighbours(network, store, me, self._present, self._claimants)
        self.keeper = Keeper(settings, self.follower, neighbours, policy, self._has_account)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.follower.run(), name="chain")
            tasks.create_task(self.keeper.run(), name="keeper")

    def standing(self, said: Announcement) -> ChainStanding | None:
        """What the chain says of a node that announced itself."""
        return standing_of_announced(self.follower.state, said)

    def is_jailed(self, said: Announcement) -> bool:
        standing = self.standing(said)
        return standing is not None and standing.is_jailed

    def document(self) -> dict[str, Any]:
        """For `GET /api/node`."""
        state, keeper = self.follower.state, self.keeper
        member = keeper.member
        found: dict[str, Any] = {
            "contract": state.deployed.addresses["pinning"] if state.deployed else None,
            "head": state.head,
            "is_current": state.is_current,
            "account": keeper.account,
            "trouble": keeper.trouble or state.trouble or None,
            "node": None,
            "deeds": keeper.done,
            "doing": keeper.doing,
        }
        if member is not None and member.node_class:
            account, known = member.account, state.pins.nodes.get(member.account.address)
            found["node"] = {
                "class": CLASSES.get(member.node_class),
                "token": token_of(state, known) if known else member.token,
                "stake": say_amount(account.stake),
                "leaving": say_amount(member.leaving),
                "orders": list(account.pins),
                "pinned_bytes": account.pinned_bytes,
                "misses_in_a_row": member.missed,
                "points": member.points,
                "last_round": account.last_round,
                "has_open_challenge": account.has_open_challenge,
                "is_slashable": account.is_slashable,
                "jailed_until": account.jailed_until or None,
                "owed": say_amount(account.owed),
            }
        return found

    def _has_account(self, address: str) -> None:
        self._herald.account = address

    def _present(self) -> Mapping[str, Candidate]:
        nodes = {one.address.lower(): one for one in self.follower.state.pins.nodes.values()}
        found = {}
        for said in self._herald.ledger.present(time.time()):
            node = nodes.get((said.account or "").lower())
            if node is not None and node.node_key == said.node:
                found[node.address] = Candidate.of(said)
        return found

    def _claimants(self, track_root: bytes) -> list[str]:
        claims = self._herald.ledger.of_track(track_root, time.time())
        random.shuffle(claims)  # not all who make a copy from the same one
        claims.sort(key=lambda claim: (self.is_jailed(claim), -claim.share))
        return [peer_id(claim.node) for claim in claims]


def _account(settings: Settings) -> str | None:
    """As the key file says it; whether the key opens shows later. Blocks."""
    try:
        return address_of(settings.data / FOLDER / FILE_NAME)
    except DigmError as fault:
        log.warning("account_not_known", code=fault.code, reason=fault.message)
        return None


def _amount(name: str, text: str) -> int:
    try:
        return read_amount(text)
    except CallerFault as fault:
        variable = f"DIGM_{name.upper()}"
        raise CallerFault(
            "bad_setting", f"The setting {variable} cannot be used: {fault.message}", variable=variable
        ) from fault
