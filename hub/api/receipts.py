"""Listening receipts over HTTP: pages send theirs, givers ask for those that are for them.

`POST /api/receipts` is there in any case, so that a page hears `receipts_off` where nobody collects them, and
asks no more. Each is checked: shape, time, the track's own sizes, the listener's signature. Nothing is kept of
the address that it came from.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
import structlog
from aiohttp import hdrs, web
from msgspec import Meta
from prometheus_client import Counter

from digm.errors import CallerFault, DigmError, PeerFault, Unavailable
from digm.ids import from_hex, is_hex_id, to_hex
from digm.manifest import Rendition, parse_manifest
from digm.receipts import MAX_RECEIPT_BYTES, Receipt, decode_receipt
from hub.api.addresses import client_address
from hub.api.bodies import read_body
from hub.granting.rate import RateLimit
from hub.receipts.store import Batch, Proven, ReceiptStore
from hub.services import SERVICES, Services, off_loop
from hub.signatures import verify

log = structlog.get_logger()
PER_MINUTE = 600  # of one address; a page sends one every five seconds at most
MOST_AT_ONCE = 64
MAX_BODY_BYTES = 1_024 + MOST_AT_ONCE * (2 * MAX_RECEIPT_BYTES + 3)
BATCHED_EVERY_S = 60.0
ASK_CONTEXT = b"digm/1 my receipts"
ASK_WITHIN_S = 300
MAX_TRACKS = 256
CORS = {hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*"}

_Hex = Annotated[str, Meta(max_length=2 * MAX_RECEIPT_BYTES)]

RECEIPTS = Counter("digm_receipts", "Listening receipts, by what came of them.", ["result"])


class ReceiptsBody(msgspec.Struct, frozen=True):
    """What a page sends: receipts in hex."""

    receipts: Annotated[
        list[Annotated[str, Meta(max_length=2 * MAX_RECEIPT_BYTES)]],
        Meta(min_length=1, max_length=MOST_AT_ONCE),
    ]


class Collector:
    """Checks receipts and keeps them.

    Args:
        store: where.
    """

    def __init__(self, store: ReceiptStore, services: Services) -> None:
        self.store, self._services = store, services
        self.rate = RateLimit(PER_MINUTE)
        self._renditions: OrderedDict[str, tuple[Rendition, ...]] = OrderedDict()

    def take(self, receipts: list[Receipt], now_s: float) -> None:
        """Check all, keep all. Blocks.

        Raises:
            PeerFault: `receipt_*`. Unavailable: `track_not_held`, `receipts_full`.
        """
        for receipt in receipts:
            receipt.check(self._shapes(to_hex(receipt.track_root)), now_s)
            if not verify(receipt.listener, receipt.signature, receipt.signed_part):
                raise PeerFault("receipt_signature", "The receipt is not signed by its listener.")
        for receipt in receipts:
            RECEIPTS.labels("kept" if self.store.keep(receipt) else "known").inc()

    def _shapes(self, root: str) -> tuple[Rendition, ...]:
        if root not in self._renditions:
            self._renditions[root] = parse_manifest(self._services.store.manifest(root)).renditions
            if len(self._renditions) > MAX_TRACKS:
                self._renditions.popitem(last=False)
        return self._renditions[root]

    async def keep_batching(self) -> None:
        """Until cancelled."""
        while True:
            try:
                for made in await off_loop(self.store.batch, time.time()):
                    log.info("receipts_batched", root=to_hex(made.root)[:8], receipts=made.count)
            except DigmError as error:
                log.warning("receipts_not_batched", code=error.code)
            await asyncio.sleep(BATCHED_EVERY_S)


COLLECTOR: web.AppKey[list[Collector]] = web.AppKey("receipts", list)


def add_receipts(app: web.Application) -> None:
    """Mount the API; with DIGM_LISTENING_PROOF it collects. Opens the file: blocks."""
    services = app[SERVICES]
    is_on = services.settings.listening_proof
    app[COLLECTOR] = [Collector(ReceiptStore(services.settings.data), services)] if is_on else []
    app.router.add_post("/api/receipts", take_receipts)
    app.router.add_get("/api/receipts", list_batches)
    app.router.add_get("/api/receipts/{giver}", receipts_for)
    if is_on:
        app.cleanup_ctx.append(_batching)


async def _batching(app: web.Application) -> AsyncIterator[None]:
    collector = _collector(app)
    task = asyncio.create_task(collector.keep_batching(), name="receipts")
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.to_thread(collector.store.close)


def _collector(app: web.Application) -> Collector:
    for collector in app[COLLECTOR]:
        return collector
    raise Unavailable("receipts_off", "Nobody collects listening receipts here.")


async def take_receipts(request: web.Request) -> web.Response:
    """Some receipts of one page; all of them, or none."""
    collector = _collector(request.app)
    try:
        collector.rate.take(client_address(request, request.app[SERVICES].settings), time.monotonic())
        receipts = await _read(request)
        await off_loop(collector.take, receipts, time.time())
    except DigmError as error:
        RECEIPTS.labels(error.code).inc()
        raise
    return web.Response(status=204, headers=CORS)


async def _read(request: web.Request) -> list[Receipt]:
    body = await read_body(request, MAX_BODY_BYTES)
    try:
        said = msgspec.json.decode(body, type=ReceiptsBody)
        return [decode_receipt(bytes.fromhex(text)) for text in said.receipts]
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise CallerFault("bad_body", 'Send JSON like {"receipts": ["hex digits"]}.') from error


async def list_batches(request: web.Request) -> web.Response:
    """`{"batches": [{"root", "bucket", "receipts", "bytes"}]}`, newest first: what everybody may see."""
    batches = await off_loop(_collector(request.app).store.batches)
    return web.json_response({"batches": [batch_json(one) for one in batches]}, headers=CORS)


async def receipts_for(request: web.Request) -> web.Response:
    """A giver's own receipts of one batch, with proofs: `?batch=ROOT&at=UNIX&signature=HEX`.

    They tell who heard what, as far as the giver knows it anyway: so only the giver gets them.
    """
    collector = _collector(request.app)
    giver, batch = request.match_info["giver"], request.query.get("batch", "")
    if not is_hex_id(giver) or not is_hex_id(batch):
        raise CallerFault("bad_id", "A giver and a batch are 64 lower-case hex digits each.")
    _check_asker(giver, batch, request.query)
    store = collector.store
    found = [one for one in await off_loop(store.batches) if to_hex(one.root) == batch]
    if not found:
        raise Unavailable("not_found", "There is no such batch here.")
    proven = await off_loop(store.proven, found[0], from_hex(giver))
    return web.json_response({"receipts": [proven_json(one) for one in proven]}, headers=CORS)


def asking(giver: bytes, batch: bytes, at: int) -> bytes:
    """What a giver signs to have its receipts."""
    return ASK_CONTEXT + giver + batch + at.to_bytes(8, "big")


def _check_asker(giver: str, batch: str, query: Any) -> None:
    try:
        at, signature = int(query.get("at", "")), bytes.fromhex(query.get("signature", ""))
        message = asking(from_hex(giver), from_hex(batch), at)
    except (ValueError, OverflowError) as error:
        raise CallerFault("bad_query", "Say when you ask (at) and sign it (signature).") from error
    if abs(at - time.time()) > ASK_WITHIN_S or not verify(from_hex(giver), signature, message):
        raise PeerFault("receipts_not_yours", "Only the giver itself gets its receipts: sign with its key.")


def batch_json(one: Batch) -> dict[str, object]:
    """A batch, as it is listed."""
    return {"root": to_hex(one.root), "bucket": one.bucket, "receipts": one.count, "bytes": one.bytes_taken}


def proven_json(one: Proven) -> dict[str, object]:
    """A receipt with its proof, as it is exported."""
    return {
        "batch": to_hex(one.batch.root),
        "receipt": one.receipt.encode().hex(),
        "index": one.index,
        "count": one.batch.count,
        "proof": [to_hex(step) for step in one.proof],
    }
