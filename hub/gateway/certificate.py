"""The gateway's certificate: the operator's files, or a self-signed pair for use on one machine."""

import datetime
import ipaddress
import secrets
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from digm.errors import CallerFault
from hub.config import Settings
from hub.storage.durable import disk_faults_named, make_folder, rename_into, sync_folder, write_new

VALID_DAYS = 90
RENEWED_DAYS_BEFORE = 14
CERTIFICATE_FILE, KEY_FILE = "gateway-cert.pem", "gateway-key.pem"


def certificate_files(settings: Settings) -> tuple[Path, Path] | None:
    """Certificate chain and private key (PEM).

    Returns:
        the operator's files; else, where DIGM_GATEWAY_TLS_PORT asks for TLS, a self-signed pair in the data
        folder, made again before it expires; None without TLS.
    Raises:
        CallerFault: `bad_certificate`. Unavailable, CallerFault: the data folder cannot be written.
    """
    if settings.gateway_cert and settings.gateway_key:
        _check_pair(settings.gateway_cert, settings.gateway_key)
        return settings.gateway_cert, settings.gateway_key
    if settings.gateway_tls_port < 0:
        return None
    certificate, key = settings.data / CERTIFICATE_FILE, settings.data / KEY_FILE
    names = _names(settings)
    if not _is_good(certificate, key, names):
        chain, private = self_signed(names)
        # The key first: a crash in between leaves a pair that does not fit, which is made again.
        with disk_faults_named(settings.data):
            _put(key, private, 0o600)
            _put(certificate, chain, 0o644)
    return certificate, key


def _check_pair(certificate: Path, key: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except OSError as error:  # ssl.SSLError is one
        raise CallerFault(
            "bad_certificate", f"DIGM_GATEWAY_CERT and DIGM_GATEWAY_KEY cannot be used together: {error}."
        ) from error


def _put(path: Path, data: bytes, mode: int) -> None:
    make_folder(path.parent)
    staged = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    write_new(staged, data, mode)
    rename_into(staged, path)
    sync_folder(path.parent)


def self_signed(names: list[str]) -> tuple[bytes, bytes]:
    """A certificate for these names and addresses that only this machine's owner believes, and its key.

    Returns:
        both in PEM.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "DIGM gateway on this machine")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private


def _names(settings: Settings) -> list[str]:
    names = ["localhost", "127.0.0.1", "::1"]
    public = urlsplit(settings.gateway_url or "").hostname
    for name in (settings.host, public):
        if name and name not in names and name not in ("0.0.0.0", "::"):
            names.append(name)
    return names


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _is_good(certificate: Path, key: Path, names: list[str]) -> bool:
    try:
        read = x509.load_pem_x509_certificate(certificate.read_bytes())
        private = serialization.load_pem_private_key(key.read_bytes(), None)
        listed = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, TypeError, x509.ExtensionNotFound):
        return False
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=RENEWED_DAYS_BEFORE)
    fits = read.public_key() == private.public_key()
    return fits and read.not_valid_after_utc > soon and set(listed) >= {_general_name(name) for name in names}
