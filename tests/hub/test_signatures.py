"""The one check of Ed25519 signatures that the hub's rooms share."""

import pytest

from hub.signatures import verify
from tests.digm.signers import Signer

ANN = Signer("ann")
SIGNATURE = ANN.sign(b"hello")


def test_a_signature_of_the_key_holds() -> None:
    assert verify(ANN.public, SIGNATURE, b"hello")


@pytest.mark.parametrize(
    "key, signature, message",
    [
        (ANN.public, SIGNATURE, b"hullo"),
        (Signer("bob").public, SIGNATURE, b"hello"),
        (ANN.public, bytes(64), b"hello"),
        (ANN.public, SIGNATURE[:-1], b"hello"),
        (ANN.public, b"", b"hello"),
        (b"", SIGNATURE, b"hello"),
        (ANN.public + b"\0", SIGNATURE, b"hello"),
        (b"\xff" * 32, SIGNATURE, b"hello"),
    ],
)
def test_anything_else_does_not_and_raises_nothing(key: bytes, signature: bytes, message: bytes) -> None:
    assert not verify(key, signature, message)
