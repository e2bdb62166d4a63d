"""Who may hear whole tracks for a while without buying them: accounts that hold so much of a token, or a pass.

The policy is the artist's, in `DATA/premium.json` (`digm premium` writes it); each rule of it is enough alone.
An account shows itself by a signed message (`digm.sign_in`), and what it holds is asked of the chain at every
grant. A grant is for ten minutes at most, and never for longer than the message and the pass: who sold the
token, or whose pass ended, hears what was granted, and no more.
"""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from digm.errors import CallerFault, DigmError, PeerFault, Unavailable
from digm.ids import from_hex
from hub.chain.state import ChainState
from hub.granting.messages import PremiumTerm, Proof
from hub.granting.refusals import WORDS
from hub.storage.durable import disk_fault, disk_faults_named, write_durably

if TYPE_CHECKING:
    from hub.chain.client import ChainClient
    from hub.chain.deployment import Deployment
    from hub.config import Settings

FILE_NAME = "premium.json"
LONGEST_S = 600
ANSWER_WITHIN_S = 4.0
MOST_RULES = 8
MAX_FILE_BYTES = 16_384


class Hold(msgspec.Struct, frozen=True, tag="hold", tag_field="kind"):
    """Accounts that hold a token. `amount`: of its smallest units, decimal; zero as `token`: the coin."""

    token: str
    amount: str


class Pass(msgspec.Struct, frozen=True, tag="pass", tag_field="kind"):
    """Accounts with a pass of this issuer's: the artist's own account, or who keeps a site."""

    issuer: str


class Policy(msgspec.Struct, frozen=True):
    """What is in the file. No rules: nobody hears more than everybody."""

    rules: tuple[Hold | Pass, ...] = ()
    version: Literal[1] = 1


class Followed(Protocol):
    """What is needed of `hub.chain.follower.ChainFollower`."""

    @property
    def state(self) -> ChainState: ...


def load_policy(data: Path) -> Policy:
    """What the artist decided; nothing where there is no file. Blocks.

    Raises:
        CallerFault: `bad_premium`: the file says nothing that can be meant. Unavailable: `disk_failed`.
    """
    path = data / FILE_NAME
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return Policy()
    except OSError as error:
        raise disk_fault(error, data) from error
    try:
        policy = msgspec.json.decode(content[: MAX_FILE_BYTES + 1], type=Policy)
        for rule in policy.rules:
            _check(rule)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        raise CallerFault("bad_premium", f"{path} holds no rules: digm premium writes it.") from error
    if len(policy.rules) > MOST_RULES:
        raise CallerFault("bad_premium", f"{path} holds more than {MOST_RULES} rules.")
    return policy


def save_policy(data: Path, policy: Policy) -> None:
    """Keep it, durably; an artist process that runs goes by it from the next grant on.

    Raises:
        CallerFault: `data_not_writable`. Unavailable: `disk_full`, `disk_failed`.
    """
    with disk_faults_named(data):
        data.mkdir(parents=True, exist_ok=True)
        write_durably(data / FILE_NAME, msgspec.json.format(msgspec.json.encode(policy)), data / "incoming")


def _check(rule: Hold | Pass) -> None:
    address = rule.token if isinstance(rule, Hold) else rule.issuer
    if len(bytes.fromhex(address.removeprefix("0x"))) != 20 or not address.startswith("0x"):
        raise ValueError("no address")
    if isinstance(rule, Hold) and not (rule.amount.isascii() and rule.amount.isdecimal() and int(rule.amount)):
        raise ValueError("no amount")


def premium_none() -> Unavailable:
    """There is no policy."""
    return _refused("premium_none")


def _refused(code: str) -> Unavailable:
    return Unavailable(code, WORDS[code])


class Premium:
    """Asks the chain for one vault."""

    def __init__(self, settings: "Settings", chain: Followed) -> None:
        self._settings, self._chain = settings, chain

    def terms(self) -> tuple[PremiumTerm, ...]:
        """What pages may tell of it; nothing, where the file cannot be read. Blocks."""
        try:
            rules = load_policy(self._settings.data).rules
        except DigmError:
            return ()
        return tuple(
            PremiumTerm("pass", issuer=rule.issuer)
            if isinstance(rule, Pass)
            else PremiumTerm("hold", rule.token, rule.amount)
            for rule in rules
        )

    async def until_s(self, proof: Proof, player_key_hex: str, now_s: float) -> int:
        """Until when a page may hear whole tracks by what an account holds.

        Args:
            now_s: seconds since 1970.
        Raises:
            PeerFault: as `SignIn.check`, `signed_in`. Unavailable: `premium_none`, `premium_not_enough`,
                `pass_none`, `pass_expired`, `premium_unchecked`. CallerFault: `bad_premium`.
        """
        policy = await asyncio.to_thread(load_policy, self._settings.data)
        if not policy.rules:
            raise premium_none()
        deployed = self._chain.state.deployed
        if deployed is None:
            raise _refused("premium_unchecked")
        from hub.chain.accounts import signed_in

        signed = await asyncio.to_thread(signed_in, proof.message, proof.signature)
        signed.check(from_hex(player_key_hex), deployed.chain_id, now_s)
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                left_s = await self._left_s(deployed, policy, signed.address)
        except TimeoutError as error:
            raise _refused("premium_unchecked") from error
        except DigmError as fault:
            if fault.code in WORDS:
                raise
            raise _refused("premium_unchecked") from fault
        return int(min(now_s + min(left_s, LONGEST_S), signed.expires_at))

    async def _left_s(self, deployed: "Deployment", policy: Policy, account: str) -> float:
        """How long the best of the rules is good for. Raises why none of them is."""
        from hub.chain.client import ChainClient
        from hub.chain.opening import urls_of
        from hub.chain.rpc import Rpc

        refusals: list[Unavailable] = []
        async with Rpc(urls_of(self._settings)) as rpc:
            client = ChainClient(rpc)
            if await rpc.chain_id() != deployed.chain_id:
                raise PeerFault("wrong_chain", "The chain's server is of another chain.")
            for rule in policy.rules:
                left_s = await _held_s(client, deployed, rule, account)
                if left_s > 0:
                    return left_s
                refusals.append(_why_not(rule, left_s))
        raise refusals[-1]


async def _held_s(client: "ChainClient", deployed: "Deployment", rule: Hold | Pass, account: str) -> float:
    """For how long a rule is kept; negative: it was, and is over; 0: it is not."""
    from hub.chain.deployment import contract

    if isinstance(rule, Pass):
        where = deployed.addresses.get("passes")
        if where is None:
            return 0
        until = int(await client.call(contract("passes"), where, "until", rule.issuer, account))
        return (until - await client.time() or -1) if until else 0
    if int(rule.token, 16) == 0:
        return LONGEST_S if await client.balance(account) >= int(rule.amount) else 0
    # Any ERC-20 has `balanceOf` as ours has it.
    balance = int(await client.call(contract("para"), rule.token, "balanceOf", account))
    return LONGEST_S if balance >= int(rule.amount) else 0


def _why_not(rule: Hold | Pass, left_s: float) -> Unavailable:
    if isinstance(rule, Hold):
        return _refused("premium_not_enough")
    return _refused("pass_expired" if left_s < 0 else "pass_none")
