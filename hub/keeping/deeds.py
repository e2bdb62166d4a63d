"""How each deed is done: transactions through the outbox, bytes through the acquirer."""

import asyncio

from digm.errors import Unavailable
from digm.ids import to_hex
from digm.keeping import Deed, Kind
from hub.chain.model import Receipt
from hub.chain.rules import STAKE_TERMS
from hub.chain.state import FoundTrack
from hub.keeping.acquiring import Acquirer
from hub.keeping.contract_view import SETTLED_AT_ONCE, ContractView
from hub.keeping.proofs import AuditTrees
from hub.pinning.network import Store

NOBODY = "0x" + "00" * 20


class Deeds:
    """Does what `digm.keeping` decided, for one account.

    A purpose that can come once only (a round's proof) has its own name. Of the others the one that was begun
    and is not known to be done is gone on with: after kill -9 nothing is sent a second time.
    """

    def __init__(self, view: ContractView, acquirer: Acquirer, store: Store, trees: AuditTrees) -> None:
        self._view, self._acquirer, self._store, self._trees = view, acquirer, store, trees

    async def do(self, deed: Deed, track: FoundTrack | None, name: str, ends_at: int) -> Receipt | None:
        """One deed.

        Args:
            track: the order's; None where the deed is about no order. name: under which it is kept.
        Raises:
            CallerFault: `reverted`, `no_funds`, `too_expensive`. PeerFault: `chain_mismatch`. Unavailable.
        """
        order_id = deed.order_id
        match deed.kind:
            case Kind.PROVE:
                return await self._prove(deed)
            case Kind.SEAL:
                return await self._view.tell(self._once(f"seal {deed.round}"), "seal")
            case Kind.SLASH:
                return await self._view.tell(self._again(f"slash {deed.node}"), "slash", deed.node)
            case Kind.RELEASE:
                purpose = self._again(f"release {order_id}")
                return await self._view.tell(purpose, "release", order_id, self._view.address)
            case Kind.ACCEPT:
                purpose = self._again(f"accept {order_id} {deed.node}".rstrip())
                return await self._view.tell(purpose, "accept", order_id, deed.node or NOBODY)
            case Kind.CLAIM:
                return await self._claim()
            case Kind.FETCH:
                assert track is not None
                await self._acquirer.acquire(track, name, ends_at)
            case Kind.LET_GO:
                assert track is not None
                await asyncio.to_thread(self._store.unpin, to_hex(track.said.track_root), name)
        return None

    def _once(self, what: str) -> str:
        return f"{what} {self._view.contracts}"

    def _again(self, what: str) -> str:
        return self._view.client.sender.purpose(f"{what} {self._view.contracts}")

    async def _prove(self, deed: Deed) -> Receipt | None:
        asked = await self._view.ask("challenge", self._view.address)
        if asked["round"] != deed.round:
            return None  # the next look sees which round it is
        root = await asyncio.to_thread(self._root_of, asked["audit_root"])
        proof = await asyncio.to_thread(self._trees.proof, root, asked)
        purpose = self._once(f"prove {deed.round}")
        arguments = (self._view.address, proof.leaf, list(proof.chunk_path), list(proof.track_path))
        return await self._view.tell(purpose, "prove", *arguments)

    def _root_of(self, audit_root: bytes) -> str:
        """The held track with these bytes: the chain may have forgotten to tell us of it, the store has not."""
        for track in self._store.tracks():
            if self._trees.known(track.track_root) == audit_root:
                return track.track_root
        raise Unavailable("track_not_held", "The bytes that the challenge is about are not here.")

    async def _claim(self) -> Receipt | None:
        view, para = self._view, self._view.deployed.addresses["para"]
        pins = tuple(await view.ask("pins_of", view.address, 0, 256))
        earned = list(await view.earnings(pins))
        for at in range(0, len(earned), SETTLED_AT_ONCE):
            some = earned[at : at + SETTLED_AT_ONCE]
            await view.tell(self._again("settle"), "settle_many", some, view.address)
        receipt = None
        # With the bounties for slashing: these are in what the slashed nodes had staked.
        for token in (para, *(view.deployed.addresses[part] for part in STAKE_TERMS)):
            if await view.ask("credits", token, view.address):
                receipt = await view.tell(self._again(f"withdraw {token}"), "withdraw", token)
        view.forget_owed()
        return receipt
