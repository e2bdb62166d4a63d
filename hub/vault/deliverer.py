"""Delivers track keys to who paid, as a task of the artist process: looks at each purchase on the chain,
decides (`digm.delivering`), wraps, and sends through the outbox: neither a kill nor a restored backup does
anything twice.

Without a chain, contracts that sell, or an account it waits, says so once, and grants go on as they do without.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

import structlog
from prometheus_client import Counter

from digm.delivering import Delivery, Scene, Terms, due, owner_of, sent_before_s
from digm.errors import CallerFault, DigmError
from digm.ids import short
from digm.purchases import Suite, purchase_aad
from hub.chain.handing_on import FOLDER
from hub.chain.keystore import FILE_NAME, address_of
from hub.chain.state import ChainState
from hub.pauses import Pauses
from hub.vault.clock import ChainClock
from hub.vault.track_keys import Wanted
from hub.vault.wrapping import wrap

if TYPE_CHECKING:
    from hub.chain.client import ChainClient
    from hub.chain.deployment import Deployment
    from hub.config import Settings

log = structlog.get_logger()
LOOKED_AGAIN_S = 2.0
AT_ONCE = 8
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 120.0
DELIVERIES = Counter("digm_vault_deliveries", "Keys for who paid, by what came of it.", ["result"])
_WAITING = ("no_key", "no_passphrase")
# Somebody else delivered it, or the buyer has the money back.
_NOTHING_LEFT = ("nothing_to_deliver", "too_late")


class Followed(Protocol):
    """What is needed of `hub.chain.follower.ChainFollower`."""

    @property
    def state(self) -> ChainState: ...
    @property
    def version(self) -> int: ...
    async def changed(self, since: int = 0) -> int: ...


class TrackKeys(Protocol):
    """Where track keys are; `keys` blocks."""

    def keys(self, wanted: Sequence[Wanted]) -> list[bytes]:
        """Raises Unavailable `track_key_missing`; CallerFault `vault_key_wrong`."""
        ...


@dataclass(frozen=True)
class _Account:
    """The account that delivers, opened for one set of contracts."""

    client: "ChainClient"
    deployed: "Deployment"


class Deliverer:
    """One vault's deliveries. Run it as a task.

    Attributes:
        trouble: the code of what keeps it from delivering; empty: nothing.
        delivered: how many keys it has delivered since its start.
    """

    def __init__(
        self,
        settings: "Settings",
        chain: Followed,
        track_keys: TrackKeys,
        terms: Terms,
        clock: ChainClock | None = None,
    ) -> None:
        self._settings, self._chain, self._keys = settings, chain, track_keys
        self._terms, self._clock = terms, clock or ChainClock()
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._pauses = Pauses[str](FIRST_PAUSE_S, LONGEST_PAUSE_S, time.monotonic)
        self._told: dict[str, str] = {}
        self._opening = Pauses[str](FIRST_PAUSE_S, LONGEST_PAUSE_S, time.monotonic)
        self.trouble = ""
        self.delivered = 0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            deployed = self._chain.state.deployed
            if deployed is not None and "sales" in deployed.addresses:
                try:
                    await self._work_for(deployed)
                except DigmError as fault:
                    self._say(fault)
                except Exception:
                    log.exception("deliverer_crashed")
            await asyncio.sleep(LOOKED_AGAIN_S)

    async def _work_for(self, deployed: "Deployment") -> None:
        """With one set of contracts, until others are named."""
        async with AsyncExitStack() as stack:
            account: _Account | None = None
            stack.push_async_callback(self._stop)
            version = 0
            while (state := self._chain.state).deployed == deployed:
                deliveries = await asyncio.to_thread(self._due, state)
                # Before anybody has paid: the first buyer need not wait for it.
                sells = account is None and await asyncio.to_thread(self._sells, state)
                if account is None and (deliveries or sells) and not self._opening.left_s("account"):
                    account = await self._open(deployed, stack)
                if account is not None:
                    self._begin(account, deliveries)
                try:
                    async with asyncio.timeout(LOOKED_AGAIN_S):
                        version = await self._chain.changed(version)
                except TimeoutError:
                    pass  # a pause, or another vault's turn, may be over

    def _due(self, state: ChainState) -> list[Delivery]:
        """Blocks: there may be thousands of purchases. Nothing is decided on a picture that may be old."""
        if not state.is_current or not state.sales.waiting:
            return []
        me = address_of(self._settings.data / FOLDER / FILE_NAME)
        if me is None:
            self._say(
                CallerFault("no_key", "Somebody paid, and there is no account to deliver: digm chain key.")
            )
            return []
        tracks = {one.said.track: one.said for one in (*state.withdrawn, *state.tracks)}
        now_s = self._clock.now_s(state.time)
        return list(due(Scene(state.sales, tracks, me, now_s, state.time_of), self._terms))

    def _sells(self, state: ChainState) -> bool:
        """Whether something is for sale that would be delivered from here. Blocks."""
        me = address_of(self._settings.data / FOLDER / FILE_NAME)
        if me is None or not state.is_current:
            return False
        tracks = {one.said.track: one.said for one in state.tracks}
        owners = {owner_of(state.sales, tracks, item) for item in state.sales.offers}
        return any(owner is not None and state.sales.may_deliver(owner, me) for owner in owners)

    async def _open(self, deployed: "Deployment", stack: AsyncExitStack) -> _Account | None:
        # Only now: eth-account and eth-abi take longer to import than all the rest of a vault.
        from hub.keeping.account import open_account

        try:
            async with AsyncExitStack() as opening:
                client = await opening.enter_async_context(open_account(self._settings, deployed))
                await client.sender.resume()
                stack.push_async_exit(opening.pop_all())
        except DigmError as fault:
            self._opening.failed("account")
            self._say(fault)
            return None
        self._opening.forget("account")
        if self.trouble:
            log.info("deliverer_goes_on")
            self.trouble = ""
        log.info("deliverer_began", account=client.sender.address, contract=deployed.addresses["sales"])
        return _Account(client, deployed)

    def _begin(self, account: _Account, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            purpose = delivery.purpose
            if len(self._busy) < AT_ONCE and purpose not in self._busy and not self._pauses.left_s(purpose):
                task = asyncio.create_task(self._deliver(account, delivery), name="deliver")
                self._busy[purpose] = task
                task.add_done_callback(partial(self._has_ended, purpose))

    def _has_ended(self, purpose: str, _task: "asyncio.Task[None]") -> None:
        self._busy.pop(purpose, None)

    async def _deliver(self, account: _Account, delivery: Delivery) -> None:
        about = {"item": short(delivery.purchase.item), "buyer": delivery.purchase.buyer}
        try:
            await self._check_paid(account, delivery)
            wrapped = await asyncio.to_thread(self._wrapped, account.deployed, delivery)
            transaction = await self._send(account, delivery, wrapped)
        except DigmError as fault:
            self._pauses.failed(delivery.purpose)
            if fault.code == "too_late" or fault.data.get("reason") in _NOTHING_LEFT:
                DELIVERIES.labels("not_needed").inc()
                log.info("delivery_not_needed", **about, reason=fault.data.get("reason", fault.code))
                return
            self._tell_of_failure(delivery, fault, about)
            return
        except Exception:
            self._pauses.failed(delivery.purpose)
            DELIVERIES.labels("crashed").inc()
            log.exception("delivery_crashed", **about)
            return
        # Until the chain's follower has read it, it looks as if it were still waiting.
        self._pauses.failed(delivery.purpose)
        self.delivered += 1
        DELIVERIES.labels("delivered").inc()
        log.info("key_delivered", **about, transaction=transaction)

    async def _check_paid(self, account: _Account, delivery: Delivery) -> None:
        from hub.vault.paid import check_paid

        await check_paid(self._settings, account.deployed, delivery.purchase)

    def _wrapped(self, deployed: "Deployment", delivery: Delivery) -> bytes:
        """Blocks."""
        bought = delivery.purchase
        sales, buyer = (bytes.fromhex(one[2:]) for one in (deployed.addresses["sales"], bought.buyer))
        aad = purchase_aad(deployed.chain_id, sales, bought.item, buyer)
        state = self._chain.state
        artists = {one.said.track: one.artist_key for one in (*state.withdrawn, *state.tracks)}
        keys = self._keys.keys([Wanted(one.track_root, artists.get(one.track)) for one in delivery.tracks])
        return wrap(keys, bought.buyer_key, Suite(bought.suite), aad).encode()

    async def _send(self, account: _Account, delivery: Delivery, wrapped: bytes) -> str:
        from hub.chain.deployment import contract

        bought, where = delivery.purchase, account.deployed.addresses["sales"]
        receipt = await account.client.transact(
            delivery.purpose, contract("sales"), where, "deliver", bought.item, bought.buyer, wrapped,
            before_s=sent_before_s(bought, self._terms),
        )  # fmt: skip
        return receipt.transaction_hash

    async def _stop(self) -> None:
        """What was begun is in the outbox, and gone on with when the vault starts again."""
        tasks = list(self._busy.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- what it says of itself

    def _tell_of_failure(self, delivery: Delivery, fault: DigmError, about: dict[str, str]) -> None:
        DELIVERIES.labels("failed").inc()
        is_new = self._told.get(delivery.purpose) != fault.code  # it is tried again and again
        tell = log.warning if is_new else log.debug
        tell("delivery_failed", **about, code=fault.code, reason=fault.message)
        self._told[delivery.purpose] = fault.code
        if len(self._told) > 1_000:
            self._told.clear()

    def _say(self, fault: DigmError) -> None:
        if fault.code != self.trouble:
            self.trouble = fault.code
            tell = log.info if fault.code in _WAITING else log.warning
            tell("deliverer_waits", code=fault.code, reason=fault.message)
