"""docs/backbone.md shows bytes; they are what the code writes."""

import json
import re

from digm.announcements import Announcement, encode_announcement
from digm.backbone_messages import PROTOCOLS, TOPIC, encode_answer, encode_frame, provider_key
from digm.bitfield import Bitfield
from digm.wire import Data, Flag, Hello, Request, encode
from hub.backbone.settings import BackboneSettings
from tests.hub.backbone.nodes import ROOT

PAGE = (ROOT / "docs" / "backbone.md").read_text()
DOCUMENTS = (ROOT / "docs" / "pinning.md").read_text()
TRACK = bytes(range(32))


def shown(line: str) -> bytes:
    """The bytes of a line of the example, R being the track root; what stands for payload is left out."""
    hexadecimal = line.split("   ")[0].replace("R", TRACK.hex()).replace("…", "")
    return bytes.fromhex(hexadecimal.replace(" ", ""))


def test_the_example_of_a_fetch_is_what_the_code_writes() -> None:
    lines = [line.strip()[2:] for line in PAGE.splitlines() if line.startswith(("    > ", "    < "))]
    held, nothing = (
        {n: field(n) for n in (0, 1)} for field in (lambda _: Bitfield.full(4), lambda _: Bitfield(4))
    )
    written = [
        encode_frame(TRACK),
        encode_frame(encode_answer(b"")),
        encode_frame(encode(Hello(TRACK, held))),
        encode_frame(encode(Hello(TRACK, nothing, Flag(0)))),
        encode_frame(encode(Request(1, 0, 2, 0, 1))),
        encode_frame(encode(Data(1, 0, bytes(65_527))))[:-65_527],
        encode_frame(encode(Data(1, 65_527, bytes(9))))[:-9],
    ]
    assert list(map(shown, lines)) == written


def test_the_page_of_documents_names_every_member_of_an_announcement() -> None:
    announcement = Announcement(
        node=TRACK, instance=bytes(16), track_root=TRACK, manifest_hash=TRACK, held={0: Bitfield.full(4)},
        operator="us", network="AS1", sequence=1, issued_at=1, valid_until=2, account="0x" + "00" * 20,
    )  # fmt: skip
    members = json.loads(encode_announcement(announcement, lambda _: bytes(64)))
    table = DOCUMENTS.split("## Announcements", 1)[1].split("\n\n", 2)[1]
    named = [name for row in table.splitlines()[2:] for name in re.findall("`([a-z_]+)`", row.split("|")[1])]
    assert sorted(named) == sorted(members.keys() - {"digm", "kind", "signature"})


def test_the_page_names_every_protocol_limit_and_key() -> None:
    for protocol in PROTOCOLS.values():
        assert f"`{protocol.name}`" in PAGE
        assert f"{protocol.most_request_bytes:,} / {protocol.most_answer_bytes:,}" in PAGE
    assert f"`{TOPIC}`" in PAGE
    assert provider_key(bytes(32))[:2].hex(" ") in PAGE
    settings = BackboneSettings()
    assert f"{settings.most_inbound} inbound connections" in PAGE
    assert f"{settings.most_streams_per_connection} open streams" in PAGE
