"""Receipts at a real hub: sent, checked, batched, proven, and given only to whom they are for."""

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import hub.receipts.store as stored
from digm.merkle import tree_root
from digm.receipts import BUCKET_S, Receipt, Taken
from hub.api.receipts import COLLECTOR, asking
from hub.receipts.store import ReceiptStore
from tests.hub.house import Published, hub_over, publish_track

LATER_S = 3 * BUCKET_S


def public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


class Listening:
    """One session of a listener, of one giver."""

    def __init__(self, track: Published, giver: bytes) -> None:
        self._key, self._track, self._giver = Ed25519PrivateKey.generate(), track, giver
        self.bucket = int(time.time()) // BUCKET_S

    def receipt(self, frames: int, root: bytes | None = None) -> Receipt:
        """For the first frames of the track; its chunks have one each."""
        root = root or self._track.manifest.track_root
        taken = (Taken(0, 0, frames, frames),)
        unsigned = Receipt(root, self._giver, public(self._key), self.bucket, taken)
        return Receipt(
            root, self._giver, public(self._key), self.bucket, taken, self._key.sign(unsigned.signed_part)
        )


async def send(hub: TestServer, *receipts: Receipt | bytes) -> Any:
    """The error's code; None: taken."""
    said = [(one if isinstance(one, bytes) else one.encode()).hex() for one in receipts]
    body = json.dumps({"receipts": said})
    async with (
        aiohttp.ClientSession() as http,
        http.post(hub.make_url("/api/receipts"), data=body) as answer,
    ):
        return None if answer.status == 204 else (await answer.json())["error"]["code"]


def store_of(hub: TestServer) -> ReceiptStore:
    return hub.app[COLLECTOR][0].store  # type: ignore[attr-defined]


async def test_nobody_collects_receipts_unless_the_operator_says_so(tmp_path: Path) -> None:
    track = publish_track(tmp_path)
    async with hub_over(tmp_path) as hub:
        assert await send(hub, Listening(track, b"\x01" * 32).receipt(1)) == "receipts_off"
    assert not (tmp_path / stored.FILE_NAME).exists()


async def test_receipts_are_batched_and_each_is_proven_to_be_in_its_batch(tmp_path: Path) -> None:
    track, givers = publish_track(tmp_path), [Ed25519PrivateKey.generate() for _ in range(2)]
    listeners = [Listening(track, public(givers[number % 2])) for number in range(5)]
    async with hub_over(tmp_path, listening_proof=True) as hub:
        assert await send(hub, *(one.receipt(1) for one in listeners)) is None
        latest = [one.receipt(3) for one in listeners]
        assert await send(hub, *latest) is None
        assert await send(hub, listeners[0].receipt(2)) is None  # came late, says less
        store = store_of(hub)
        assert store.batch(time.time()) == []  # its time is not over
        (batch,) = store.batch(time.time() + LATER_S)
        assert batch.root == tree_root(sorted(one.encode() for one in latest))
        assert (batch.count, batch.bytes_taken) == (5, 5 * 3 * 65_536)
        assert all(one.holds() for one in store.proven(batch))
        mine = store.proven(batch, public(givers[0]))
        assert {one.receipt.listener for one in mine} == {one.receipt(1).listener for one in listeners[::2]}
        await asks(hub, givers, batch.root)
        seed = tmp_path / "seed"
        (seed / "secrets").mkdir(parents=True)
        (seed / "secrets" / "seed").write_bytes(givers[0].private_bytes_raw())
        own = await asyncio.to_thread(digm, seed, "mine", "--hub", str(hub.make_url("")))
        assert "3 receipts hold" in digm(seed, "check", "-", given=own)
        elsewhere = await asyncio.to_thread(digm, tmp_path, "mine", "--hub", str(hub.make_url("")), status=2)
        assert "Nobody gives from" in elsewhere
    export = digm(tmp_path, "export", batch.root.hex())
    assert len(export.splitlines()) == 5
    checked = digm(tmp_path, "check", "-", given=export)
    assert f"{public(givers[0]).hex()}  {3 * 3 * 65_536} bytes" in checked
    assert "5 receipts hold" in checked
    wrong = export.replace('"index": 0', '"index": 1')
    assert "not in the batch" in digm(tmp_path, "check", "-", given=wrong, status=2)
    assert batch.root.hex() in digm(tmp_path, "list")


async def asks(hub: TestServer, givers: list[Ed25519PrivateKey], root: bytes) -> None:
    """Each gets its own, and nobody another's."""
    at, (first, second) = int(time.time()), givers
    async with aiohttp.ClientSession() as http:
        for signer, status in ((first, 200), (second, 403)):
            signature = signer.sign(asking(public(first), root, at)).hex()
            query = {"batch": root.hex(), "at": str(at), "signature": signature}
            async with http.get(hub.make_url(f"/api/receipts/{public(first).hex()}"), params=query) as answer:
                assert answer.status == status
                if status == 200:
                    assert len((await answer.json())["receipts"]) == 3


def digm(data: Path, *arguments: str, given: str = "", status: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "hub.cli", "receipts", *arguments],
        env={"DIGM_DATA": str(data), "PATH": "/usr/bin:/bin"},
        cwd=Path(__file__).parents[3], input=given, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


async def test_what_is_not_signed_not_now_or_more_than_the_track_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    track = publish_track(tmp_path)
    one, late = Listening(track, b"\x01" * 32), Listening(track, b"\x01" * 32)
    late.bucket -= 5
    good = one.receipt(2)
    forged = good.encode()[:-1] + bytes([good.encode()[-1] ^ 1])
    async with hub_over(tmp_path, listening_proof=True) as hub:
        assert await send(hub, forged) == "receipt_signature"
        assert await send(hub, late.receipt(1)) == "receipt_time"
        assert await send(hub, one.receipt(5)) == "receipt_range"
        assert await send(hub, one.receipt(1, root=b"\x09" * 32)) == "track_not_held"
        assert await send(hub, good, forged) == "receipt_signature"  # all or none
        assert await send(hub, b"\x01" * 100) == "receipt_malformed"
        assert await send(hub) == "bad_body"
        assert store_of(hub).waiting == 0
        monkeypatch.setattr(stored, "MOST_WAITING", 1)
        assert await send(hub, good) is None
        assert await send(hub, Listening(track, b"\x01" * 32).receipt(1)) == "receipts_full"
        assert await send(hub, one.receipt(3)) is None  # who is in may say more
        assert store_of(hub).waiting == 1


async def test_after_a_month_receipts_are_forgotten(tmp_path: Path) -> None:
    track = publish_track(tmp_path)
    async with hub_over(tmp_path, listening_proof=True) as hub:
        await send(hub, Listening(track, b"\x01" * 32).receipt(2))
        store = store_of(hub)
        assert len(store.batch(time.time() + LATER_S)) == 1
        store.batch(time.time() + stored.KEPT_S + LATER_S)
        assert store.batches() == []
