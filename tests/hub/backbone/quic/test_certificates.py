"""Certificates of QUIC: whose they are, and whose they are not."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.secp256k1 import create_new_key_pair as create_secp256k1_pair
from libp2p.peer.id import ID

from digm.errors import PeerFault
from hub.backbone.quic import certificates
from hub.backbone.quic.certificates import SIGNED_KEY, make_certificate, peer_of

NODE, OTHER = create_new_key_pair(bytes(range(32))), create_new_key_pair(bytes(range(1, 33)))
ANN = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Ann")])
BOB = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Bob")])
TODAY, DAY = datetime.now(UTC), timedelta(days=1)


def proof(signer: Any, named: Any, key: ec.EllipticCurvePrivateKey) -> bytes:
    """The extension: the name of one node, the signature of perhaps another."""
    signature = signer.private_key.sign(b"libp2p-tls-handshake:" + certificates._public_bytes(key.public_key()))
    der = certificates._der
    return der(0x30, der(4, named.public_key.serialize()) + der(4, signature))


def certificate(
    extension: bytes | None = None,
    *,
    signer: Any = NODE,
    named: Any = NODE,
    issuer: x509.Name = ANN,
    until: datetime = TODAY + DAY,
    critical: bool = False,
) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder().subject_name(ANN).issuer_name(issuer).public_key(key.public_key())
        .serial_number(1).not_valid_before(TODAY - 3 * DAY).not_valid_after(until)
        .add_extension(x509.UnrecognizedExtension(SIGNED_KEY, extension or proof(signer, named, key)), False)
    )  # fmt: skip
    if critical:
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
    return builder.sign(key, hashes.SHA256())


@pytest.mark.parametrize("pair", [NODE, create_secp256k1_pair()], ids=["ed25519", "secp256k1"])
def test_a_certificate_names_the_node_that_made_it(pair: Any) -> None:
    made, key = make_certificate(pair.private_key)
    assert peer_of([made]) == ID.from_pubkey(pair.public_key)
    assert made.public_key() == key.public_key()


@pytest.mark.parametrize(
    "shown",
    [
        [],
        [certificate(), certificate()],
        [certificate(signer=OTHER)],
        [certificate(named=OTHER)],
        [certificate(issuer=BOB)],
        [certificate(until=TODAY - DAY)],
        [certificate(critical=True)],
        [certificate(b"\x30\x02\x04\x00")],
        [certificate(b"\x30")],
        [certificate(b"\x30\x84\xff\xff\xff\xff")],
        [certificate(b"\x30\x80\x04")],
        [certificate(b"\x04" * 60)],
        [certificate(proof(NODE, NODE, ec.generate_private_key(ec.SECP256R1())))],
    ],
    ids=[
        "none", "two", "signed by another", "names another", "issued by another", "expired", "critical",
        "no key", "cut off", "long length", "empty length", "no sequence", "of another certificate",
    ],
)  # fmt: skip
def test_what_is_no_nodes_certificate_is_refused(shown: list[x509.Certificate]) -> None:
    with pytest.raises(PeerFault) as fault:
        peer_of(shown)
    assert fault.value.code == "bad_certificate"
