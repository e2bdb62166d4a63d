"""Who is at the other end of a QUIC connection: the certificates of libp2p (specs/tls/tls.md).

A certificate is made for one run of a node, with a key of its own, and says by a signature whose node's it is.
No authority signs anything. TLS has shown that the other side has the certificate's key; here is shown whose
key that is. py-libp2p 0.8.1 has a reader of its own for these, which does not look at the signature's result.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from libp2p.crypto.keys import PrivateKey, PublicKey
from libp2p.crypto.serialization import deserialize_public_key
from libp2p.peer.id import ID

from digm.errors import PeerFault

SIGNED_KEY = x509.ObjectIdentifier("1.3.6.1.4.1.53594.1.1")
_PREFIX = b"libp2p-tls-handshake:"
_SEQUENCE, _OCTETS = 0x30, 0x04
_SHORT = 0x80  # lengths below it are one byte
_VALID = timedelta(days=3_650)
_CLOCKS_DIFFER = timedelta(days=1)


def make_certificate(node_key: PrivateKey) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A certificate of a node, and the key that goes with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    signature = node_key.sign(_PREFIX + _public_bytes(key.public_key()))
    proof = _der(_SEQUENCE, _der(_OCTETS, node_key.get_public_key().serialize()) + _der(_OCTETS, signature))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "libp2p")])  # nobody reads it; RFC 5280 wants one
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER)
        .not_valid_after(now + _VALID)
        .add_extension(x509.UnrecognizedExtension(SIGNED_KEY, proof), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate, key


def peer_of(certificates: Sequence[x509.Certificate]) -> ID:
    """Whose certificate it is.

    Args:
        certificates: what the other side sent; TLS has shown that it has the first one's key.
    Raises:
        PeerFault: `bad_certificate`.
    """
    if len(certificates) != 1:
        raise _bad(f"{len(certificates)} certificates")
    certificate = certificates[0]
    try:
        now = datetime.now(UTC)
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            raise _bad("not valid today")
        if any(extension.critical and extension.oid != SIGNED_KEY for extension in certificate.extensions):
            raise _bad("an unknown extension is critical")
        certificate.verify_directly_issued_by(certificate)
        extension = certificate.extensions.get_extension_for_oid(SIGNED_KEY).value
        assert isinstance(extension, x509.UnrecognizedExtension)
        key, signature = _signed_key(extension.value)
        if not key.verify(_PREFIX + _public_bytes(certificate.public_key()), signature):
            raise _bad("signed by somebody else")
        return ID.from_pubkey(key)
    except PeerFault:
        raise
    except (ValueError, TypeError, x509.ExtensionNotFound, InvalidSignature, UnsupportedAlgorithm) as error:
        raise _bad(f"{error!r:.80}") from error
    except Exception as error:  # parsers of keys, which raise many kinds
        raise _bad(f"{error!r:.80}") from error


def _signed_key(der: bytes) -> tuple[PublicKey, bytes]:
    body, rest = _opened(_SEQUENCE, der)
    key, body = _opened(_OCTETS, body)
    signature, body = _opened(_OCTETS, body)
    if rest or body:
        raise ValueError("more than a key and a signature")
    return deserialize_public_key(key), signature


def _opened(tag: int, der: bytes) -> tuple[bytes, bytes]:
    """What is in the first item of DER, and what comes after it."""
    if len(der) < 2 or der[0] != tag:
        raise ValueError("other DER than a key and a signature")
    length, start = der[1], 2
    if length >= _SHORT:
        start += length - _SHORT
        length = int.from_bytes(der[2:start])
        if length < _SHORT or len(der) < start:
            raise ValueError("a length that is not DER")
    if len(der) < start + length:
        raise ValueError("DER that ends too soon")
    return der[start : start + length], der[start + length :]


def _der(tag: int, body: bytes) -> bytes:
    size = len(body)
    long = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag, size]) + body if size < _SHORT else bytes([tag, _SHORT | len(long)]) + long + body


def _public_bytes(key: object) -> bytes:
    return bytes(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))  # type: ignore[attr-defined]


def _bad(what: str) -> PeerFault:
    return PeerFault("bad_certificate", f"The other side's certificate is no node's: {what}.")
