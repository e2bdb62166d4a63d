"""What the contract says now, read at one block: its clock, and a node's account."""

import asyncio
from dataclasses import dataclass
from typing import Any

from digm.keeping import Account, Clock
from hub.chain import words
from hub.chain.client import ChainClient
from hub.chain.deployment import Deployment, contract
from hub.chain.model import Receipt

PINS_AT_ONCE = 256  # so many `pins_of` gives, and so many are asked for their earnings
SETTLED_AT_ONCE = 64
COLD = 2


@dataclass(frozen=True)
class Member:
    """The account, with what is only of interest to people."""

    account: Account
    token: str = ""
    node_class: int = 0
    missed: int = 0
    points: int = 0
    leaving: int = 0


class ContractView:
    """Asks `Pinning` and `TrackRegistry` on behalf of one account.

    Raises (all methods):
        as `ChainClient.call`.
    """

    def __init__(self, client: ChainClient, deployed: Deployment) -> None:
        self.client, self.deployed = client, deployed
        self.address = client.sender.address
        self.rules: dict[str, int] = {}
        self._terms: dict[str, dict[str, Any]] = {}
        self._earned: tuple[object, int] = (None, 0)

    @property
    def contracts(self) -> str:
        """Where `Pinning` is: part of a transaction's purpose, as the account may work for several."""
        return self.deployed.addresses["pinning"]

    async def ask(self, function: str, *arguments: Any, block: int | None = None) -> Any:
        """A view of `Pinning`."""
        return await self.client.call(contract("pinning"), self.contracts, function, *arguments, block=block)

    async def of_registry(self, function: str, *arguments: Any) -> Any:
        """A view of `TrackRegistry`."""
        address = self.deployed.addresses["registry"]
        return await self.client.call(contract("registry"), address, function, *arguments)

    async def tell(self, purpose: str, function: str, *arguments: Any) -> Receipt:
        """A transaction, once for each purpose. Raises as `ChainClient.transact`."""
        return await self.client.transact(purpose, contract("pinning"), self.contracts, function, *arguments)

    async def head(self) -> tuple[int, int]:
        """Number and time of the newest block."""
        block = words.fields(
            await self.client.rpc.ask("eth_getBlockByNumber", "latest", False), "the newest block"
        )
        number = words.number(block.get("number"), "the newest block's number")
        return number, words.number(block.get("timestamp"), "the newest block's time")

    async def look(self, block: int, time_s: int) -> tuple[Clock, Member]:
        """Everything at one block."""
        if not self.rules:
            self.rules = dict(await self.ask("rules"))
        clock, facts = await asyncio.gather(
            self.ask("clock", block=block), self.ask("node", self.address, block=block)
        )
        return Clock(block=block, time_s=time_s, **clock), await self._member(facts, block)

    async def _member(self, facts: dict[str, Any], block: int) -> Member:
        pins: list[int] = []
        while len(pins) < facts["pins"]:
            some = await self.ask("pins_of", self.address, len(pins), PINS_AT_ONCE, block=block)
            if not some:
                break
            pins.extend(some)
        terms = await self._terms_of(facts["token"]) if facts["node_class"] else {}
        minimum = terms.get("cold_minimum" if facts["node_class"] == COLD else "elder_minimum", 0)
        account = Account(
            address=self.address,
            stake=facts["stake"],
            minimum=minimum,
            per_gib=terms.get("per_gib", 0),
            pinned_bytes=facts["pinned_bytes"],
            pins=tuple(pins),
            last_round=facts["last_round"],
            jailed_until=facts["jailed_until"],
            is_slashable=facts["is_slashable"],
            has_open_challenge=facts["has_open_challenge"],
            owed=await self._owed(facts["last_round"], tuple(pins)),
        )
        return Member(
            account, facts["token"], facts["node_class"], facts["missed"], facts["points"], facts["leaving"]
        )

    async def _terms_of(self, token: str) -> dict[str, Any]:
        if token not in self._terms:
            self._terms[token] = dict(await self.ask("stake_terms", token))
        return self._terms[token]

    async def _owed(self, last_round: int, pins: tuple[int, ...]) -> int:
        """It grows with each round that is passed: no need to ask at every block."""
        when = (last_round, pins)
        if self._earned[0] != when:
            credit = await self.ask("credits", self.deployed.addresses["para"], self.address)
            self._earned = when, credit + sum((await self.earnings(pins)).values())
        return self._earned[1]

    def forget_owed(self) -> None:
        """It was withdrawn."""
        self._earned = (None, 0)

    async def earnings(self, orders: tuple[int, ...]) -> dict[int, int]:
        """PARA (10^-18) that settling would credit, by order; where it is something."""
        found: dict[int, int] = {}
        for at in range(0, len(orders), SETTLED_AT_ONCE):
            some = orders[at : at + SETTLED_AT_ONCE]
            earned = await asyncio.gather(*(self.ask("earned", one, self.address) for one in some))
            found |= {one: amount for one, amount in zip(some, earned, strict=True) if amount}
        return found
