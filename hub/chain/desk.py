"""What pages ask the chain for through their hub: what an account has, transactions sent on, play money.

Pages have no way to the chain of their own: their content policy lets them talk to the hub alone. The hub signs
nothing for them, and sends on only what is for DIGM's own contracts. Importing this imports eth-account.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from hexbytes import HexBytes

from digm.chain_sales import COIN
from digm.errors import CallerFault, Unavailable
from hub.chain import words
from hub.chain.client import with_reason
from hub.chain.contract import Contract
from hub.chain.deployment import KINDS, SELLING, Deployment, contract
from hub.chain.model import Event
from hub.chain.opening import DEVNET_CHAIN_ID, checked_address, urls_of
from hub.chain.rpc import Question, Rpc
from hub.chain.rules import TOKENS, UNIT
from hub.config import Settings

MOST_RAW_BYTES = 4_096
FRESH_FOR_S, MOST_FRESH = 1.0, 10_000
GIFT_WEI, GIFT_PARA = 10 * UNIT, 1_000 * UNIT
ENOUGH_WEI, ENOUGH_PARA = 5 * UNIT, 500 * UNIT
DYNAMIC_FEE = 2  # EIP-1559
TOLD_TO = (*SELLING, *TOKENS)
"""The contracts to which transactions of pages may go."""


class ChainDesk:
    """One hub's way to the chain for its pages. Made in a thread: this module's imports take a second."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._giving = settings, asyncio.Lock()
        self._rpc: Rpc | None = None
        self._looking = asyncio.Lock()
        self._fresh: tuple[float, int, int, Sequence[Event]] = (0.0, -1, 0, ())
        self._urls: tuple[str, ...] = ()

    async def _open(self) -> Rpc:
        urls = await asyncio.to_thread(urls_of, self._settings)  # the devnet may have another port by now
        if self._rpc is None or urls != self._urls:
            await self.close()
            self._rpc, self._urls = await Rpc(urls).__aenter__(), urls
        return self._rpc

    async def close(self) -> None:
        """Let go of the connections."""
        if self._rpc is not None:
            rpc, self._rpc = self._rpc, None
            await rpc.__aexit__(None, None, None)

    # -- looking

    async def account(self, deployed: Deployment, address: str) -> dict[str, Any]:
        """What an account has, and what a transaction of it needs: numbers as decimal strings.

        Raises:
            CallerFault: `bad_address`. As `Rpc.ask`; PeerFault `rpc_lies`.
        """
        rpc, who = await self._open(), checked_address(address)
        questions: list[Question] = [
            ("eth_getBlockByNumber", ["latest", False]),
            ("eth_getTransactionCount", [who, "pending"]),
            ("eth_getBalance", [who, "latest"]),
            ("eth_gasPrice", []),
            ("eth_chainId", []),
        ]
        asked = _questions(deployed, who)
        questions += [_call(deployed.addresses[part], contract(part), *rest) for part, *rest in asked]
        block, nonce, coin, price, chain_id, *answers = await rpc.ask_together(questions)
        newest = words.fields(block, "the newest block")
        said = {
            (part, function, *arguments): _answer(contract(part), function, answer)
            for (part, function, *arguments), answer in zip(asked, answers, strict=True)
        }
        return {
            "address": who,
            "chain_id": words.number(chain_id, "the chain's id"),
            "block": words.number(newest.get("number"), "the block's number"),
            "time": words.number(newest.get("timestamp"), "the block's time"),
            "nonce": words.number(nonce, "a nonce"),
            "coin": str(words.number(coin, "a balance")),
            "gas_price": str(words.number(price, "the gas price")),
            "base_fee": str(words.number(newest.get("baseFeePerGas", "0x0"), "the base fee")),
            **_holdings(deployed, who, said),
        }

    async def transaction(self, hash_hex: str) -> dict[str, Any]:
        """What became of a transaction: `state` is `unknown`, `pending`, `done` or `reverted`.

        Raises:
            as `Rpc.ask`; PeerFault `rpc_lies`.
        """
        rpc = await self._open()
        receipt, known = await rpc.ask_together(
            [("eth_getTransactionReceipt", [hash_hex]), ("eth_getTransactionByHash", [hash_hex])]
        )
        if receipt is None:
            return {"transaction": hash_hex, "state": "unknown" if known is None else "pending", "block": None}
        found = words.fields(receipt, "a receipt")
        is_good = words.number(found.get("status"), "a status") == 1
        block = words.number(found.get("blockNumber"), "a block")
        return {"transaction": hash_hex, "state": "done" if is_good else "reverted", "block": block}

    async def fresh(self, deployed: Deployment, counted: int) -> tuple[int, Sequence[Event]]:
        """What `Sales` wrote behind the blocks that count, as far as it is known: asked once for all who wait.

        Args:
            counted: the newest block whose events count.
        Returns:
            up to which block, and what.
        Raises:
            as `Rpc.ask`; PeerFault `rpc_lies`.
        """
        async with self._looking:
            when, since, head, found = self._fresh
            if since == counted and time.monotonic() - when < FRESH_FOR_S:
                return head, found
            rpc, sales = await self._open(), contract("sales")
            wanted = {
                "fromBlock": hex(max(deployed.first_block, counted + 1)),
                "toBlock": "latest",
                "address": deployed.address("sales"),
            }
            newest, said = await rpc.ask_together([("eth_blockNumber", []), ("eth_getLogs", [wanted])])
            head = words.number(newest, "the newest block")
            if not isinstance(said, list) or len(said) > MOST_FRESH:
                raise words.lie("logs are no list, or too many")
            events = [sales.event(words.log_of(one)) for one in said]
            known = [one for one in events if one is not None and counted < one.log.block <= head]
            self._fresh = (time.monotonic(), counted, head, known)
            return head, known

    # -- telling

    async def send(self, deployed: Deployment, raw: str) -> dict[str, Any]:
        """Send a signed transaction on, which only its signer can have made.

        Args:
            raw: 0x and hex, a transaction with a type 2 envelope (EIP-1559).
        Returns:
            its hash.
        Raises:
            CallerFault: `bad_transaction`, `wrong_chain`, `not_ours`: it is for no contract of DIGM's;
                `reverted`: found before it is sent; as `Rpc.ask`.
        """
        rpc = await self._open()
        fields, sender = await asyncio.to_thread(_signed, raw)
        if fields["chainId"] != deployed.chain_id:
            raise CallerFault(
                "wrong_chain",
                f"The transaction is for chain {fields['chainId']}; this hub's is {deployed.chain_id}.",
            )
        to = words.checksummed(bytes(fields["to"])) if fields.get("to") else ""
        parts = {deployed.addresses[part]: part for part in TOLD_TO if part in deployed.addresses}
        if to not in parts:
            raise CallerFault("not_ours", "Only transactions to DIGM's sales, passes and tokens are sent on.")
        call = {
            "from": sender,
            "to": to,
            "data": words.data(bytes(fields["data"])),
            "value": hex(fields["value"]),
        }
        try:
            await rpc.ask("eth_call", call, "latest")
            hash_hex = await rpc.ask("eth_sendRawTransaction", raw)
        except CallerFault as fault:
            raise with_reason(contract(parts[to]), fault) from fault
        return {"transaction": words.hash_of(hash_hex, "a transaction's hash"), "from": sender}

    async def give(self, deployed: Deployment, address: str) -> dict[str, Any]:
        """Play money for an account, on the devnet alone.

        Raises:
            CallerFault: `not_devnet`, `bad_address`, `has_enough`. As `Rpc.ask`.
        """
        rpc, who = await self._open(), checked_address(address)
        if deployed.chain_id != DEVNET_CHAIN_ID or await rpc.chain_id() != DEVNET_CHAIN_ID:
            raise CallerFault("not_devnet", "Money is given away on the devnet alone.")
        para, token = deployed.addresses["para"], contract("para")
        async with self._giving:  # one after the other, so that nobody is given it twice at once
            coins, held, accounts = await rpc.ask_together(
                [
                    ("eth_getBalance", [who, "latest"]),
                    _call(para, token, "balanceOf", who),
                    ("eth_accounts", []),
                ]
            )
            has_coins = words.number(coins, "a balance") >= ENOUGH_WEI
            has_para = _answer(token, "balanceOf", held) >= ENOUGH_PARA
            if has_coins and has_para:
                raise CallerFault("has_enough", "This account has play money already.")
            if not isinstance(accounts, list) or not accounts:
                raise Unavailable("faucet_dry", "This chain's server has no accounts that give money away.")
            given = []
            if not has_coins:
                # Not the first: what deploys and settles in here counts that one's nonces.
                gift = {"from": accounts[-1], "to": who, "value": hex(GIFT_WEI)}
                given.append(await rpc.ask("eth_sendTransaction", gift))
            if not has_para:
                data = words.data(token.call_data("transfer", [who, GIFT_PARA]))
                given.append(
                    await rpc.ask("eth_sendTransaction", {"from": accounts[0], "to": para, "data": data})
                )
        return {"address": who, "transactions": [words.hash_of(one, "a hash") for one in given]}


def _questions(deployed: Deployment, who: str) -> list[tuple[str, str, Any] | tuple[str, str, Any, Any]]:
    """Part, function and arguments of each call."""
    asked: list[Any] = []
    for part in TOKENS:
        asked += [(part, "balanceOf", who), (part, "nonces", who)]
        asked += [
            (part, "allowance", who, deployed.addresses[one]) for one in SELLING if one in deployed.addresses
        ]
    for part in SELLING:
        if part in deployed.addresses:
            asked += [(part, "credits", token, who) for token in (COIN, *_tokens(deployed).values())]
    return asked


def _tokens(deployed: Deployment) -> dict[str, str]:
    return {part: deployed.addresses[part] for part in TOKENS}


def _holdings(deployed: Deployment, who: str, said: Mapping[tuple[Any, ...], int]) -> dict[str, Any]:
    tokens = []
    for part, address in _tokens(deployed).items():
        allowed = {
            one: str(said[part, "allowance", who, deployed.addresses[one]])
            for one in SELLING
            if one in deployed.addresses
        }
        name, symbol = TOKENS[part]
        tokens.append(
            {
                "address": address, "symbol": symbol, "name": name, "decimals": 18,
                "balance": str(said[part, "balanceOf", who]),
                "permit_nonce": said[part, "nonces", who],
                "allowances": allowed,
            }
        )  # fmt: skip
    credits_ = [
        {"contract": part, "token": token, "amount": str(amount)}
        for (part, function, token, *_), amount in said.items()
        if function == "credits" and amount
    ]
    return {"tokens": tokens, "credits": credits_}


def _call(address: str, one: Contract, function: str, *arguments: Any) -> Question:
    return "eth_call", [{"to": address, "data": words.data(one.call_data(function, arguments))}, "latest"]


def _answer(one: Contract, function: str, answer: Any) -> Any:
    count = 1 if function in ("balanceOf", "nonces") else 2
    return one.answer(function, count, words.content(answer, "an answer"))


def _signed(raw: str) -> tuple[dict[str, Any], str]:
    """A signed transaction's fields, and who signed it."""
    wrong = CallerFault(
        "bad_transaction", "That is no signed transaction of type 2 (EIP-1559), in hex with 0x."
    )
    if not raw.startswith("0x02") or len(raw) > 2 + 2 * MOST_RAW_BYTES:
        raise wrong
    try:
        content = HexBytes(bytes.fromhex(raw[2:]))
        sender = str(Account.recover_transaction(content))
        fields = dict(TypedTransaction.from_bytes(content).as_dict())
        kept = {name: fields[name] for name in ("chainId", "to", "data", "value")}
    except Exception as error:  # eth-account, rlp and the curve raise what they like for bytes of strangers
        raise wrong from error
    return kept, sender


assert set(TOLD_TO) <= set(KINDS)
