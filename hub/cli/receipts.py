"""`digm receipts`: what listeners signed for those who gave them music; see docs/paid-listening.md."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from digm.errors import CallerFault, PeerFault

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from hub.config import Settings
    from hub.receipts.store import ReceiptStore

receipts = typer.Typer(
    help="Show, export and check listening receipts.", no_args_is_help=True, add_completion=False
)
_AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


@receipts.command("list")
def list_batches(as_json: _AsJson = False) -> None:
    """The batches of this machine's hub, newest first."""
    import json

    from hub.api.receipts import batch_json
    from hub.receipts.store import bucket_time

    store = _store()
    for one in store.batches():
        when = f"{bucket_time(one.bucket)}  {one.count} receipts, {one.bytes_taken} bytes  {one.root.hex()}"
        print(json.dumps(batch_json(one)) if as_json else when)
    if not as_json:
        print(f"{store.waiting} receipts wait for their batch.")


@receipts.command("export")
def export(
    batch: Annotated[str, typer.Argument(metavar="ROOT", help="Of the batch: see digm receipts list.")],
    giver: Annotated[str | None, typer.Option(help="Only those for this giver: 64 hex digits.")] = None,
) -> None:
    """The receipts of a batch with their proofs, one JSON object a line."""
    import json

    from digm.ids import from_hex, is_hex_id, to_hex
    from hub.api.receipts import proven_json

    if giver is not None and not is_hex_id(giver):
        raise CallerFault("bad_id", f"{giver!r} is no giver: that is 64 lower-case hex digits.")
    store = _store()
    found = [one for one in store.batches() if to_hex(one.root) == batch]
    if not found:
        raise CallerFault("not_found", f"There is no batch {batch!r} here: see digm receipts list.")
    for one in store.proven(found[0], from_hex(giver) if giver else None):
        print(json.dumps(proven_json(one)))


@receipts.command("mine")
def mine(
    hub: Annotated[
        str | None, typer.Option(metavar="URL", help="The hub; default: DIGM_SIGNAL_URL, this machine's.")
    ] = None,
) -> None:
    """What listeners signed for the node or seeding peer of this data folder, as a hub has it, with proofs."""
    import asyncio
    import json

    from hub.config import load_settings

    settings = load_settings()
    for line in asyncio.run(_ask(settings, hub or settings.signal_url)):
        print(json.dumps(line))


async def _ask(settings: "Settings", hub: str) -> list[dict[str, object]]:
    """In every batch of a hub, those that are for us."""
    import time

    from digm.ids import from_hex
    from hub.api.receipts import asking
    from hub.cli.hub_api import HubApi

    key = _giver_key(settings)
    giver, found = key.public_key().public_bytes_raw(), []
    async with HubApi(hub) as api:
        for batch in (await api.get("/api/receipts"))["batches"]:
            at = int(time.time())
            signature = key.sign(asking(giver, from_hex(batch["root"]), at)).hex()
            path = f"/api/receipts/{giver.hex()}?batch={batch['root']}&at={at}&signature={signature}"
            found += (await api.get(path))["receipts"]
    return found


def _giver_key(settings: "Settings") -> "Ed25519PrivateKey":
    """By which a swarm knows who gives from this folder."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from hub.storage.secret_files import load_secret

    # A hub's folder has both: there the seeding peer gives.
    for name in ("seed", "node-key"):
        if (settings.data / "secrets" / name).exists():
            return Ed25519PrivateKey.from_private_bytes(load_secret(settings.data, name))
    raise CallerFault(
        "no_giver",
        f"Nobody gives from {settings.data}: DIGM_DATA names the folder of a node or seeding peer.",
    )


@receipts.command("check")
def check(
    file: Annotated[str, typer.Argument(metavar="FILE", help="What `digm receipts export` wrote; -: stdin.")],
) -> None:
    """Check exported receipts: each one's signature, and that it is in its batch."""
    try:
        lines = (sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CallerFault("bad_file", f"{file} cannot be read: {error}.") from error
    totals: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        try:
            giver, taken = _checked(line)
        except (ValueError, KeyError, TypeError, CallerFault, PeerFault) as error:
            raise CallerFault("bad_receipt", f"Line {number} of {file} does not hold: {error}") from error
        totals[giver] = totals.get(giver, 0) + taken
    for giver, taken in sorted(totals.items()):
        print(f"{giver}  {taken} bytes")
    print(f"{len(lines)} receipts hold: signed by their listeners, and in their batches.")


def _checked(line: str) -> tuple[str, int]:
    import json

    from digm.ids import from_hex, to_hex
    from digm.receipts import decode_receipt
    from hub.receipts.store import Batch, Proven
    from hub.signatures import verify

    said = json.loads(line)
    receipt = decode_receipt(bytes.fromhex(said["receipt"]))
    if not verify(receipt.listener, receipt.signature, receipt.signed_part):
        raise PeerFault("receipt_signature", "The receipt is not signed by its listener.")
    batch = Batch(from_hex(said["batch"]), receipt.bucket, int(said["count"]), 0, 0.0)
    proof = tuple(from_hex(step) for step in said["proof"])
    if not Proven(receipt, batch, int(said["index"]), proof).holds():
        raise PeerFault("receipt_proof", "The receipt is not in the batch that it names.")
    return to_hex(receipt.giver), receipt.bytes_taken


def _store() -> "ReceiptStore":
    from hub.config import load_settings
    from hub.receipts.store import FILE_NAME, ReceiptStore

    data = load_settings().data
    if not (data / FILE_NAME).exists():
        raise CallerFault(
            "no_receipts",
            f"{data} has no receipts: a hub collects them with DIGM_LISTENING_PROOF=true.",
        )
    return ReceiptStore(data)
