"""Relays as their own processes, of both engines: one that may reach this machine, for peers that are in the
tests, and one with the defaults."""

import contextlib
import datetime
import ipaddress
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hub.relay.credentials import load_relay_secret, turn_credentials
from tests.ports import free_ports

STARTS_WITHIN_S = 30.0
# Public, and nobody's neighbour: refused only because the settings say that the hub is there.
HUB_ADDRESS = "8.8.4.4"


@dataclass(frozen=True)
class Relay:
    """A running relay."""

    port: int
    tls_port: int
    health_port: int
    secret: bytes
    certificate: Path
    process: "subprocess.Popen[bytes]"
    log: Path
    data: Path

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.port)

    def credentials(self, session: str = "5e551011", ttl_s: int = 600) -> tuple[str, str]:
        return turn_credentials(self.secret, session, time.time(), ttl_s)


@pytest.fixture(scope="session", params=["embedded", "coturn"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def relay(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """May reach 127.0.0.1 and ::1, which are the machine's own and therefore named one by one."""
    settings = {"DIGM_TURN_ALLOW": "127.0.0.1/32,::1/128"}
    with running(engine, tmp_path_factory.mktemp(engine), settings) as started:
        yield started


@pytest.fixture(scope="session")
def strict_relay(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """As it comes."""
    settings = {"DIGM_PUBLIC_URL": f"http://{HUB_ADDRESS}:8080"}
    with running(engine, tmp_path_factory.mktemp(engine), settings) as started:
        yield started


@contextlib.contextmanager
def running(engine: str, folder: Path, settings: dict[str, str]) -> Iterator[Relay]:
    """`digm relay` until the end of the block."""
    certificate, key = make_certificate(folder)
    port, tls_port, health_port = free_ports(3)
    log = folder / "relay.log"
    environment = os.environ | {
        "DIGM_DATA": str(folder / "data"),
        "DIGM_TURN_ENGINE": engine,
        "DIGM_TURN_HOST": "127.0.0.1,::1",
        "DIGM_TURN_PORT": str(port),
        "DIGM_TURN_TLS_PORT": str(tls_port),
        "DIGM_TURN_CERT": str(certificate),
        "DIGM_TURN_KEY": str(key),
        "DIGM_RELAY_PORT": str(health_port),
        **settings,
    }
    with log.open("wb") as target:
        process = subprocess.Popen(
            [sys.executable, "-m", "hub.cli", "relay"], env=environment, stdout=target, stderr=target
        )
    try:
        wait_until_ready(health_port, process, log)
        secret = load_relay_secret(folder / "data")
        yield Relay(port, tls_port, health_port, secret, certificate, process, log, folder / "data")
    finally:
        process.terminate()
        process.wait(15)


def wait_until_ready(health_port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        url = f"http://127.0.0.1:{health_port}/readyz"
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.05)
    raise AssertionError(log.read_text())


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of its own authority for localhost, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    addresses = [x509.IPAddress(ipaddress.ip_address(text)) for text in ("127.0.0.1", "::1")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=7))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost"), *addresses]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_path, key_path = folder / "cert.pem", folder / "key.pem"
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return certificate_path, key_path
