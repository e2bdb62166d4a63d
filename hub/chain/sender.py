"""Transactions of one account: each is sent once, however often it is begun.

A wish has a purpose. What was sent for it before, also by a process that was killed, is gone on with: the same
signed bytes are sent again; if they stay unheard of, dearer ones with the same nonce. `send` returns when the
transaction is deep enough in the chain; if the chain takes it back, it is sent again.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog

from digm.errors import CallerFault, DigmError, Unavailable
from hub.chain import words
from hub.chain.keystore import Signer
from hub.chain.model import Receipt
from hub.chain.outbox import Attempt, Outbox
from hub.chain.rpc import Rpc

log = structlog.get_logger()
# A quarter more gas than estimated: what is stored may have changed by the time that it runs.
GAS_MARGIN = (5, 4)
# Nodes let a transaction take another one's place from a tenth more on.
DEARER = (9, 8)
LEAST_TIP_WEI = 10**6
LOOKS = 2


@dataclass(frozen=True)
class Patience:
    """What is waited for how long, in seconds.

    Attributes:
        confirmations: how many blocks, its own among them, make a transaction count.
        dearer_after_s: so long unheard of, it is sent again with a higher fee.
        outage_s: so long no server may answer while it is waited.
        highest_fee_wei: the most that a unit of gas may cost.
    """

    confirmations: int = 1
    poll_s: float = 1.0
    dearer_after_s: float = 60.0
    give_up_after_s: float = 1_800.0
    outage_s: float = 120.0
    highest_fee_wei: int = 1_000 * 10**9


@dataclass(frozen=True)
class Wish:
    """What is to be in the chain once.

    Attributes:
        purpose: its name; the same name is the same wish.
        to: None makes a contract of `data`.
        before_s: from this time of the chain on (seconds since 1970) it is not sent to anybody, also when it
            was signed before: who sees it would know what is in it. None: it may be sent for ever.
    """

    purpose: str
    to: str | None
    data: bytes = b""
    value_wei: int = 0
    before_s: int | None = None


@dataclass(frozen=True)
class _Look:
    """What the chain says of a wish. `is_nonce_gone`: so deep in the chain that it counts."""

    receipt: Receipt | None
    is_good: bool
    is_deep: bool
    is_nonce_gone: bool


class Sender:
    """One account's way into the chain. Processes may share the account through the outbox."""

    def __init__(
        self,
        rpc: Rpc,
        signer: Signer,
        outbox: Outbox,
        patience: Patience | None = None,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.address, self.patience = signer.address, patience or Patience()
        self._rpc, self._signer, self._outbox, self._now, self._sleep = rpc, signer, outbox, now, sleep

    async def send(self, wish: Wish) -> Receipt:
        """See to it that the wish is in the chain.

        Raises:
            CallerFault: `reverted`: before it was sent (with `data`), or in its block; `no_funds`,
                `too_expensive`; `too_late`: its time was over before it was in a block.
            Unavailable: `not_mined`: nobody took it within `give_up_after_s`; it is kept, and gone on with
                when it is begun again; as `Rpc.ask`.
        """
        deadline = self._now() + self.patience.give_up_after_s
        while True:
            if not self._outbox.attempts(wish.purpose):
                await self._sign_first(wish)
            receipt = await self._settled(wish, deadline)
            if receipt is not None:
                self._outbox.set_done(wish.purpose, receipt.transaction_hash)
                return receipt

    def purpose(self, name: str) -> str:
        """A purpose for what may be done more than once, such as to stake the same again.

        Returns:
            the one of this name that was begun and is not known to be done, or a new one.
        """
        return self.begun(name) or f"{name} #{secrets.token_hex(4)}"

    def is_begun(self, purpose: str) -> bool:
        """Whether something was signed for exactly this purpose that may still count, or does."""
        return bool(self._outbox.attempts(purpose))

    def begun(self, name: str) -> str | None:
        """The purpose of this name that was begun and is not known to be done."""
        begun = (one for one in self._outbox.open_purposes() if one.startswith(f"{name} #"))
        return next(begun, None)

    async def resume(self) -> list[str]:
        """Send again what may have got lost.

        Returns:
            purposes that are not known to be done; `send` of each says what became of it.
        Raises:
            as `Rpc.ask`.
        """
        await self._broadcast()
        return self._outbox.open_purposes()

    # -- signing

    async def _sign_first(self, wish: Wish) -> None:
        call: dict[str, Any] = {
            "from": self.address,
            "data": words.data(wish.data),
            "value": hex(wish.value_wei),
        }
        if wish.to is not None:
            call["to"] = wish.to
        gas = words.number(await self._rpc.ask("eth_estimateGas", call), "an estimate")
        tip, fee = await self._fees()
        count, chain_id = await self._count("pending"), await self._rpc.chain_id()
        with self._outbox.writing():
            if self._outbox.attempts(wish.purpose):
                return  # another process was first
            fields = {
                "type": 2,
                "chainId": chain_id,
                "nonce": max(count, self._outbox.highest_nonce() + 1),
                "to": words.content(wish.to, "the receiver", words.ADDRESS_BYTES) if wish.to else b"",
                "data": wish.data,
                "value": wish.value_wei,
                "gas": gas * GAS_MARGIN[0] // GAS_MARGIN[1],
                "maxFeePerGas": fee,
                "maxPriorityFeePerGas": tip,
            }
            name, raw = self._signer.sign(fields)
            self._outbox.add(Attempt(name, wish.purpose, int(str(fields["nonce"])), raw, fee))
            if wish.before_s is not None:
                self._outbox.set_deadline(wish.purpose, wish.before_s)
        log.info("transaction_signed", purpose=wish.purpose, nonce=fields["nonce"], hash=name)

    async def _sign_dearer(self, purpose: str) -> None:
        last = self._outbox.attempts(purpose)[-1]
        tip, fee = await self._fees()
        name, raw, fee = self._signer.sign_dearer(last.raw, tip, fee, DEARER)
        if fee > self.patience.highest_fee_wei:
            return  # what was sent stays on offer
        with self._outbox.writing():
            self._outbox.add(Attempt(name, purpose, last.nonce, raw, fee))
        log.info("transaction_made_dearer", purpose=purpose, nonce=last.nonce, hash=name, fee_wei=fee)

    async def _quicken(self, purpose: str) -> None:
        """Dearer ones for it and for whatever has a lower nonce: nobody may wait for that any more."""
        last = self._outbox.attempts(purpose)[-1].nonce
        waiting = self._outbox.attempts_from(await self._count("latest"))
        for name in dict.fromkeys(one.purpose for one in waiting if one.nonce <= last):
            await self._sign_dearer(name)

    async def _fees(self) -> tuple[int, int]:
        """Tip, and the most for a unit of gas: the base fee may double until then (EIP-1559)."""
        block, said = await self._rpc.ask_together(
            [("eth_getBlockByNumber", ["latest", False]), ("eth_maxPriorityFeePerGas", [])]
        )
        base = words.number(words.fields(block, "the newest block").get("baseFeePerGas", "0x0"), "the base fee")
        tip = max(LEAST_TIP_WEI, words.number(said, "the tip"))
        if base + tip > self.patience.highest_fee_wei:
            raise CallerFault(
                "too_expensive",
                f"A unit of gas costs {base + tip} wei now; not more than "
                f"{self.patience.highest_fee_wei} is paid.",
            )
        return tip, min(2 * base + tip, self.patience.highest_fee_wei)

    async def _count(self, block: str) -> int:
        said = await self._rpc.ask("eth_getTransactionCount", self.address, block)
        return words.number(said, "a count of transactions")

    # -- waiting

    async def _settled(self, wish: Wish, deadline: float) -> Receipt | None:
        """The receipt when it is deep enough; None: another transaction has the nonce."""
        signed_at, looks_without, heard_at = self._now(), 0, self._now()
        await self._broadcast()
        while True:
            attempts = self._outbox.attempts(wish.purpose)
            if not attempts:
                raise CallerFault("too_late", "It was in no block in time; it is not sent any more.")
            try:
                look = await self._look(attempts)
                heard_at = self._now()
                if look.receipt is not None:
                    if look.is_deep:
                        return self._checked(wish, look.receipt, look.is_good)
                elif look.is_nonce_gone:
                    # By one of these, and the servers differ just now? Look again before it is given up.
                    looks_without += 1
                    if looks_without > LOOKS:
                        self._outbox.void(attempts)
                        return None
                else:
                    if self._now() - signed_at > self.patience.dearer_after_s:
                        await self._quicken(wish.purpose)
                        signed_at = self._now()
                    await self._broadcast()
            except Unavailable:  # servers come back; what was sent is not lost
                if self._now() - heard_at > self.patience.outage_s:
                    raise
            if self._now() > deadline:
                raise Unavailable(
                    "not_mined",
                    f"The transaction {attempts[-1].hash} is in no block that counts yet; it is kept.",
                )
            await self._sleep(self.patience.poll_s)

    async def _look(self, attempts: list[Attempt]) -> "_Look":
        head = words.number(await self._rpc.ask("eth_blockNumber"), "the newest block")
        deepest = max(0, head - self.patience.confirmations + 1)
        # Of one server: of two, one may know the count and not yet the receipt.
        *receipts, count = await self._rpc.ask_together(
            [
                *(("eth_getTransactionReceipt", [one.hash]) for one in attempts),
                ("eth_getTransactionCount", [self.address, hex(deepest)]),
            ]
        )
        is_nonce_gone = words.number(count, "a count of transactions") > attempts[0].nonce
        for one, answer in zip(attempts, receipts, strict=True):
            if answer is None:
                continue
            receipt, is_good = words.receipt_of(answer)
            if receipt.transaction_hash != one.hash:
                raise words.lie("a receipt is another transaction's")
            return _Look(receipt, is_good, receipt.block <= deepest, is_nonce_gone)
        return _Look(None, False, False, is_nonce_gone)

    def _checked(self, wish: Wish, receipt: Receipt, is_good: bool) -> Receipt:
        if is_good:
            return receipt
        self._outbox.forget(wish.purpose)  # it is done, and did nothing: it may be begun anew
        raise CallerFault("reverted", f"The transaction {receipt.transaction_hash} failed in its block.")

    async def _broadcast(self) -> None:
        """Send what is not in a block, lowest nonce first: a gap would hold up all that follow."""
        for attempt in await self._in_time(self._outbox.attempts_from(await self._count("latest"))):
            try:
                await self._rpc.ask("eth_sendRawTransaction", words.data(attempt.raw))
            except DigmError as fault:
                if fault.code == "no_funds":
                    raise
                if fault.code not in ("already_known", "nonce_too_low", "underpriced", "nonce_too_high"):
                    log.warning("transaction_refused", hash=attempt.hash, code=fault.code, why=fault.message)
                if isinstance(fault, Unavailable) and fault.code == "chain_unreachable":
                    raise

    async def _in_time(self, attempts: list[Attempt]) -> list[Attempt]:
        """What may be sent still. In the place of what is too late something that does nothing takes the nonce,
        as what has the next ones would wait for it for ever."""
        deadlines = self._outbox.deadlines()
        if not any(one.purpose in deadlines for one in attempts):
            return attempts
        block = words.fields(await self._rpc.ask("eth_getBlockByNumber", "latest", False), "the newest block")
        time_s = words.number(block.get("timestamp"), "a block's time")
        late = {one.purpose for one in attempts if deadlines.get(one.purpose, time_s + 1) <= time_s}
        tip, fee = await self._fees() if late else (0, 0)
        for purpose in late:
            old = self._outbox.attempts(purpose)
            name, raw, paid = self._signer.sign_dearer(old[-1].raw, tip, fee, DEARER, is_nothing=True)
            self._outbox.instead(old, Attempt(name, f"nothing but {purpose}", old[-1].nonce, raw, paid))
            log.info("transaction_too_late", purpose=purpose, nonce=old[-1].nonce)
        return [one for one in attempts if one.purpose not in late]
