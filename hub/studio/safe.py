"""The vault from the page: whose it is, its back-up as a download, and bringing one back."""

import asyncio
import base64
import binascii
import time
from typing import Any

import msgspec
from aiohttp import hdrs, web

from digm.errors import CallerFault
from digm.ids import to_hex
from hub.api.bodies import read_body
from hub.studio.replies import answer, read
from hub.studio.room import ROOM
from hub.vault.backup import MAX_BYTES, make_backup
from hub.vault.restore import restore

PASSPHRASE = "X-DIGM-Passphrase"  # noqa: S105 - the name of the header


class BackupBody(msgspec.Struct, frozen=True):
    """The passphrase of a new back-up."""

    passphrase: str


def routes() -> list[web.AbstractRouteDef]:
    """All of them need the page key."""
    return [
        web.get("/api/vault", show),
        web.post("/api/vault/backup", backup),
        web.put("/api/vault/restore", bring_back),
    ]


async def show(request: web.Request) -> web.Response:
    """Whose vault it is, and what is in it."""
    room = request.app[ROOM]
    secrets = await asyncio.to_thread(room.vault.secrets)
    found: dict[str, Any] = {
        "artist": to_hex(room.vault.artist_key),
        "keys": len(secrets),
        "is_sealed": room.settings.vault_passphrase is not None,
        "path": str(room.vault.path),
        "is_replaced": room.is_vault_replaced,
    }
    return answer(found)


async def backup(request: web.Request) -> web.Response:
    """A back-up, as a file."""
    body = await read(request, BackupBody)
    document = await asyncio.to_thread(make_backup, request.app[ROOM].settings, body.passphrase)
    name = time.strftime("digm-vault-%Y-%m-%d.backup")
    return web.Response(
        body=document,
        content_type="application/octet-stream",
        headers={
            hdrs.CONTENT_DISPOSITION: f'attachment; filename="{name}"',
            hdrs.CACHE_CONTROL: "no-store",
        },
    )


async def bring_back(request: web.Request) -> web.Response:
    """A back-up in the body, its passphrase (base64) in a header. `?replace` puts what is there aside."""
    room = request.app[ROOM]
    room.check_idle()
    try:
        passphrase = base64.b64decode(request.headers.get(PASSPHRASE, ""), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise CallerFault("bad_body", "The studio's page is of another version: load it again.") from error
    document = await read_body(request, MAX_BYTES)
    done = await asyncio.to_thread(restore, room.settings, document, passphrase, "replace" in request.query)
    room.is_vault_replaced = True
    return answer(
        {
            "artist": done.artist,
            "made_at": done.made_at,
            "keys": done.keys,
            "kept": done.kept,
            "before": done.before,
        }
    )
