"""`digm chain`: what a node's operator does by hand; `digm node` does most of it by itself."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.chain_common import AsJson, Order, chain, run, show, tell

if TYPE_CHECKING:
    from hub.chain.client import ChainClient
    from hub.chain.deployment import Deployment
    from hub.config import Settings

NodeClass = Annotated[str, typer.Option("--class", help="elder or cold.")]
Token = Annotated[str, typer.Option(help="In which token: digm, xfg or heat.")]
Amount = Annotated[str, typer.Argument(metavar="AMOUNT", help="In whole tokens, such as 1000 or 0.5.")]
Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="Of a node.")]
OwnOrOther = Annotated[str, typer.Argument(metavar="[ADDRESS]", help="Of a node; none: the key's here.")]


@chain.command("audits")
def audits(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Of a node.")], as_json: AsJson = False
) -> None:
    """Show a node's stake, its conduct, and the challenge that it has to answer now."""

    async def work(settings: "Settings") -> None:
        from hub.chain.opening import open_deployed
        from hub.chain.report import node_of

        async with open_deployed(settings, with_key=False) as (client, deployed):
            show(await node_of(client, deployed, address), as_json)

    run(work)


@chain.command("stake")
def stake(amount: Amount, token: Token = "digm", node_class: NodeClass = "elder") -> None:  # noqa: S107 - no secret
    """Stake as a node, or stake more."""

    async def work(settings: "Settings") -> None:
        from hub.chain.opening import open_deployed
        from hub.chain.staking import node_key_of
        from hub.chain.staking import stake as put_in

        async with open_deployed(settings, with_key=True) as (client, deployed):
            key = node_key_of(settings.data)
            show(await put_in(client, deployed, amount, token, node_class, key), False)

    run(work)


@chain.command("unstake")
def unstake(amount: Amount) -> None:
    """Ask for stake back; it can be collected with `digm chain claim` when the delay is over."""

    async def work(settings: "Settings") -> None:
        from hub.chain.opening import open_deployed
        from hub.chain.staking import ask_back

        async with open_deployed(settings, with_key=True) as (client, deployed):
            show(await ask_back(client, deployed, amount), False)

    run(work)


@chain.command("claim")
def claim() -> None:
    """Collect what is owed to the key here: rewards, refunds, and stake whose delay is over."""

    async def work(settings: "Settings") -> None:
        from hub.chain.opening import open_deployed
        from hub.chain.staking import collect

        async with open_deployed(settings, with_key=True) as (client, deployed):
            for part, amount in (await collect(client, deployed)).items():
                print(f"{amount} {part}", flush=True)

    run(work)


@chain.command("accept")
def accept(
    number: Order,
    instead_of: Annotated[str, typer.Option(metavar="ADDRESS", help="The jailed node whose place it is.")] = "",
    is_unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Do not compare the bytes here with the chain before.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take a place of an order, for bytes that lie in this data folder."""

    async def job(client: "ChainClient", deployed: "Deployment", settings: "Settings") -> dict[str, Any]:
        from hub.chain import telling
        from hub.chain.opening import checked_address

        if not is_unchecked:
            await telling.check_order(client, deployed, settings, number)
        evicted = checked_address(instead_of) if instead_of else telling.NOBODY
        purpose = f"accept {number} {instead_of} *"
        return await telling.tell(client, deployed, "pinning", purpose, "accept", number, evicted)

    tell(job, as_json)


@chain.command("release")
def release(number: Order, address: OwnOrOther = "", as_json: AsJson = False) -> None:
    """Give up a copy whose order is over, or whose track was withdrawn."""
    _tell_about(f"release {number} of", "release", [number], address, as_json)


@chain.command("give-back")
def give_back(number: Order, as_json: AsJson = False) -> None:
    """Give up a copy before its order is over, at the cost of a part of the stake behind it."""
    _tell_pinning(f"give back {number} *", "give_back", [number], as_json)


@chain.command("evict")
def evict(number: Order, address: Address, as_json: AsJson = False) -> None:
    """Free the place that a jailed node has in an order."""
    _tell_about(f"evict {number} of", "evict", [number], address, as_json)


@chain.command("prove")
def prove(address: OwnOrOther = "", as_json: AsJson = False) -> None:
    """Answer a node's challenge with bytes that lie in this data folder."""

    async def job(client: "ChainClient", deployed: "Deployment", settings: "Settings") -> dict[str, Any]:
        from hub.chain.telling import prove as answer

        return await answer(client, deployed, settings, address or client.sender.address)

    tell(job, as_json)


@chain.command("seal")
def seal(as_json: AsJson = False) -> None:
    """Open this epoch's round with the hash of its seed block; pays a bounty."""
    _tell_pinning("seal *", "seal", [], as_json)


@chain.command("slash")
def slash(address: Address, as_json: AsJson = False) -> None:
    """Cut the stake of a node that missed too many rounds; pays a bounty."""
    _tell_about("slash", "slash", [], address, as_json)


@chain.command("unjail")
def unjail(as_json: AsJson = False) -> None:
    """The way back, after the jail time and with enough stake."""
    _tell_pinning("unjail *", "unjail", [], as_json)


def _tell_pinning(purpose: str, function: str, arguments: list[Any], as_json: bool) -> None:
    async def job(client: "ChainClient", deployed: "Deployment", _settings: "Settings") -> dict[str, Any]:
        from hub.chain.telling import tell as tell_it

        return await tell_it(client, deployed, "pinning", purpose, function, *arguments)

    tell(job, as_json)


def _tell_about(purpose: str, function: str, arguments: list[Any], address: str, as_json: bool) -> None:
    """Something about a node: the one that is named, or the key's here."""

    async def job(client: "ChainClient", deployed: "Deployment", _settings: "Settings") -> dict[str, Any]:
        from hub.chain.opening import checked_address
        from hub.chain.telling import tell as tell_it

        who = checked_address(address or client.sender.address)
        name = f"{purpose} {who} *"
        return await tell_it(client, deployed, "pinning", name, function, *arguments, who)

    tell(job, as_json)
