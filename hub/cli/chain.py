"""`digm chain`: the contracts, and the devnet. Reading needs no key; no secret is ever an argument."""

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from digm.errors import CallerFault
from hub.cli import chain_nodes, chain_orders, chain_passes, chain_tracks  # noqa: F401 - they add their commands
from hub.cli.chain_common import AsJson, chain, run, show

if TYPE_CHECKING:
    from hub.config import Settings


@chain.command("devnet")
def devnet(
    block_seconds: Annotated[
        float, typer.Option(min=0, help="An empty block this often; 0: blocks only for transactions.")
    ] = 0,
    with_contracts: Annotated[
        bool, typer.Option("--with-contracts", help="Deploy DIGM's contracts, if they are not there.")
    ] = False,
    with_anvil: Annotated[bool, typer.Option("--anvil", help="Run Anvil, if it is installed.")] = False,
) -> None:
    """Run a chain on this machine alone, for trying things out. Its accounts' keys are known to everybody."""
    from functools import partial

    from hub.chain.devnet import anvil, server
    from hub.config import load_settings
    from hub.lifecycle import run_process

    settings = load_settings()
    if with_anvil:
        if with_contracts:
            raise CallerFault("bad_option", "On Anvil, deploy with digm chain deploy.")
        run_process("devnet", settings, partial(anvil.serve, settings, block_s=block_seconds))
        return
    serve = partial(server.serve, settings, block_s=block_seconds, with_contracts=with_contracts)
    run_process("devnet", settings, serve)


@chain.command("settle-in", hidden=True)
def settle_in(
    nodes: Annotated[int, typer.Option(min=0, help="How many elder nodes live in this data folder.")],
    track_roots: Annotated[list[str] | None, typer.Argument(metavar="[TRACKROOT]...")] = None,
) -> None:
    """On the devnet of `digm up`: accounts, play money and stakes; these tracks published and ordered."""

    async def work(settings: "Settings") -> None:
        from hub.chain.devnet.household import Household
        from hub.chain.devnet.household import settle_in as settle
        from hub.neighbours import places_of

        show(await settle(Household.of(settings, places_of(settings.data, nodes)), track_roots or ()), True)

    run(work)


@chain.command("key")
def key(
    take_in: Annotated[
        bool, typer.Option("--import", help="Take in a private key, which is asked for or read from stdin.")
    ] = False,
) -> None:
    """Make the key that pays and signs here, in an encrypted file; or say whose it is, if there is one."""
    import getpass

    from hub.chain import keystore, opening
    from hub.chain.passphrase import ask_passphrase
    from hub.config import load_settings

    settings = load_settings()
    path = opening.folder_of(settings) / keystore.FILE_NAME
    address = keystore.address_of(path)
    if address is None:
        secret = ""
        if take_in:
            secret = getpass.getpass("Private key: ") if sys.stdin.isatty() else sys.stdin.readline()
        passphrase = ask_passphrase(settings, is_new=True)
        if take_in:
            address = keystore.import_key(path, keystore.key_bytes(secret), passphrase)
        else:
            address = keystore.create_key(path, passphrase)
    print(address, flush=True)


@chain.command("status")
def status(as_json: AsJson = False) -> None:
    """Show the chain, the contracts, and what the key here has."""
    from hub.chain.report import status_of

    run(lambda settings: _print_status(settings, as_json, status_of))


async def _print_status(settings: "Settings", as_json: bool, status_of: Any) -> None:
    from hub.chain.opening import open_client

    async with open_client(settings, with_key=False) as client:
        found = await status_of(client, settings)
    show(found, as_json)


@chain.command("deploy")
def deploy(
    rules: Annotated[
        str, typer.Option(help="devnet, l2 or l1 (docs/chain.md); unset: devnet on the devnet, else l2.")
    ] = "",
) -> None:
    """Put DIGM's contracts onto the chain; the key here pays. On the devnet it is given money first."""

    async def work(settings: "Settings") -> None:
        from hub.chain import deployment, opening
        from hub.chain.rules import load_rules

        async with opening.open_client(settings, with_key=True) as client:
            is_devnet = await client.rpc.chain_id() == opening.DEVNET_CHAIN_ID
            await opening.fund_on_devnet(client, client.sender.address)
            await deployment.deploy(
                client,
                opening.folder_of(settings) / deployment.FILE_NAME,
                load_rules(rules or ("devnet" if is_devnet else "l2")),
                lambda part, address: print(f"{part:10}{address}", flush=True),
            )

    run(work)


@chain.command("fund")
def fund(
    address: Annotated[
        str, typer.Argument(metavar="[ADDRESS]", help="Whose account; none: the key's here.")
    ] = "",
) -> None:
    """On the devnet: give an account coins for gas, and 100,000 of each token."""

    async def work(settings: "Settings") -> None:
        from hub.chain import keystore, opening
        from hub.chain.devnet.demo import give

        folder = opening.folder_of(settings)
        whose = address or keystore.address_of(folder / keystore.FILE_NAME)
        if whose is None:
            raise CallerFault("no_key", "There is no key here: digm chain key makes one, or name an address.")
        async with opening.open_deployed(settings, with_key=False) as (client, deployed):
            await give(client.rpc, deployed, folder, opening.checked_address(whose))

    run(work)


@chain.command("events")
def events(
    as_json: AsJson = False,
    after: Annotated[int, typer.Option(min=0, help="Only what came after this number.")] = 0,
    watch: Annotated[bool, typer.Option("--watch", help="Go on with what happens.")] = False,
) -> None:
    """Show what happened in the contracts, in words, as far as it counts; and what the chain took back."""

    async def work(settings: "Settings") -> None:
        from hub.chain.deployment import deployment_of
        from hub.chain.opening import open_reader
        from hub.chain.report import event_json
        from hub.chain.story import FolderNames, WholeStory, line

        async with open_reader(settings) as reader:
            story, last = WholeStory(deployment_of(settings)), 0
            names = FolderNames(settings.data, story)
            while True:
                await reader.catch_up_patiently(forever=watch)
                while found := reader.events(last):
                    for step, event, told in story.tell(found):
                        if step.sequence <= after:
                            continue
                        if as_json:
                            print(event_json(step, event, [names.say(one) for one in told]), flush=True)
                            continue
                        for one in told:
                            print(line(one, names.say(one)), flush=True)
                    last = found[-1][0].sequence
                if not watch:
                    return
                await asyncio.sleep(reader.poll_s)

    run(work)
