"""The gateway with a certificate: HTTP/2 is negotiated, and a bad certificate is one sentence."""

import asyncio
import datetime
import ssl
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from digm.errors import CallerFault
from hub.config import Settings
from hub.gateway.server import serve
from hub.gateway.sockets import bind
from hub.storage.chunk_store import ChunkStore
from tests.hub.house import publish_track


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return folder / "cert.pem", folder / "key.pem"


async def test_http_2_is_negotiated_and_http_1_still_answers(tmp_path: Path) -> None:
    track = publish_track(tmp_path)
    certificate, key = self_signed(tmp_path)
    settings = Settings(data=tmp_path, gateway_cert=certificate, gateway_key=key)
    listening, stop = bind("127.0.0.1", 0), asyncio.Event()
    port, name = listening.getsockname()[1], track.chunk(0, 0)
    trusting = ssl.create_default_context(cafile=str(certificate))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(settings, stop, listening))
        url = f"https://localhost:{port}/{name}"
        async with aiohttp.ClientSession() as session, session.get(url, ssl=trusting) as answer:
            assert await answer.read() == ChunkStore(tmp_path).read(name)
        trusting.set_alpn_protocols(["h2"])
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname="localhost")
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        writer.transport.abort()
        stop.set()


@pytest.mark.parametrize("workers", [1, 2])
async def test_files_that_are_no_certificate_are_refused_by_name(tmp_path: Path, workers: int) -> None:
    certificate, key = self_signed(tmp_path)
    key.write_text("not a key")
    settings = Settings(
        data=tmp_path, gateway_port=0, gateway_cert=certificate, gateway_key=key, gateway_workers=workers
    )
    with pytest.raises(CallerFault, match="DIGM_GATEWAY_CERT") as failure:
        await serve(settings, asyncio.Event())
    assert failure.value.code == "bad_certificate"
