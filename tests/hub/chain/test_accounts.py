"""Whose account showed itself: signatures as wallets make them, and everything else."""

import json
from pathlib import Path
from typing import Any

import pytest

from digm.errors import PeerFault
from hub.chain.accounts import signed_in

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parents[2] / "vectors" / "sign_in.json").read_text())
MESSAGE, SIGNATURE = VECTORS[0]["message"], VECTORS[0]["signature"]


def test_who_signed_is_who_the_message_names() -> None:
    for vector in VECTORS:
        signed = signed_in(vector["message"], "0x" + vector["signature"])
        assert signed.address == vector["fields"]["address"]
    other_v = SIGNATURE[:-2] + f"{int(SIGNATURE[-2:], 16) - 27:02x}"  # as some wallets write it
    assert signed_in(MESSAGE, other_v).domain == "hub.example"


@pytest.mark.parametrize(
    ("message", "signature", "code"),
    [
        (MESSAGE, VECTORS[1]["signature"], "sign_in_forged"),
        (MESSAGE.replace("hub.example", "hub.exampla"), SIGNATURE, "sign_in_forged"),
        (MESSAGE.replace("0xf39Fd6e5", "0x70997970"), SIGNATURE, "bad_sign_in"),
        (MESSAGE.replace("0xf39Fd6e5", "0xf39fd6e5"), SIGNATURE, "bad_sign_in"),
        (MESSAGE + " ", SIGNATURE, "bad_sign_in"),
        (MESSAGE, SIGNATURE[:-2], "sign_in_forged"),
        (MESSAGE, SIGNATURE[:-2] + "07", "sign_in_forged"),
        (MESSAGE, "00" * 65, "sign_in_forged"),
        (MESSAGE, "ff" * 64 + "1b", "sign_in_forged"),
        (MESSAGE, "zz" * 65, "sign_in_forged"),
        (MESSAGE, "00" * 5_000_000, "sign_in_forged"),
    ],
)
def test_nobody_is_taken_for_another(message: str, signature: str, code: str) -> None:
    with pytest.raises(PeerFault) as refused:
        signed_in(message, signature)
    assert refused.value.code == code
