"""nginx carries TCP: its process, the application's processes behind it, and what they share.

The application answers on Unix sockets, carries HTTP/3 itself, and lays verified chunks on the shelf. nginx is
started, watched and ended like coturn is.
"""

import asyncio
import os
import pwd
import resource
import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import structlog

from digm.errors import CallerFault, DigmError
from hub.config import Settings
from hub.gateway.nginx_config import Front, configuration
from hub.gateway.server import alt_svc
from hub.gateway.shelf import shelf_bytes, work_folder
from hub.gateway.sockets import GatewaySockets, bind_datagrams, choose_ports
from hub.gateway.workers import Share, keep_workers
from hub.supervision import keep_program

log = structlog.get_logger()
PROGRAM = "nginx"
# Of DIGM_GATEWAY_CACHE_BYTES; the rest is for what the processes send themselves.
SHELF_PART = 0.75
BACKLOG = 512
UNPRIVILEGED = ("www-data", "nginx", "nobody")


async def serve_behind_nginx(settings: Settings, stop: asyncio.Event, files: tuple[Path, Path] | None) -> None:
    """Run nginx and the processes behind it until `stop` is set.

    Args:
        files: certificate chain and key.
    Raises:
        CallerFault: `nginx_missing`, `nginx_refused`, `port_in_use`, `cannot_listen`.
        Unavailable: `nginx_failed`: it ends again and again.
    """
    program = shutil.which(PROGRAM, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        raise CallerFault(
            "nginx_missing",
            f"DIGM_GATEWAY_TCP is nginx, and there is no program {PROGRAM}: install it "
            "(apt-get install nginx), or set DIGM_GATEWAY_TCP=hypercorn.",
        )
    plain, tls = choose_ports(settings)
    opened: list[socket.socket] = []
    with work_folder() as (folder, is_memory):
        try:
            datagrams = bind_datagrams(settings, tls, opened)
            sockets = [
                GatewaySockets(_backend(folder / f"{number}.sock", opened), None, quic)
                for number, quic in enumerate(datagrams)
            ]
            front = _front(settings, folder, (plain, tls), len(sockets))
            share = _share(settings, folder, is_memory, len(sockets))
            command = await asyncio.to_thread(_prepared, program, front, files)
            log.info("gateway_listening", host=settings.host, port=plain, tls_port=tls, tcp=PROGRAM)
            try:
                async with asyncio.TaskGroup() as tasks:
                    keep_workers(tasks, sockets, share, stop)
                    log_path = settings.data / "logs" / "nginx.log"
                    running = keep_program(PROGRAM, command, log_path, stop, signal.SIGQUIT)
                    tasks.create_task(running, name=PROGRAM)
            except* DigmError as failures:
                raise failures.exceptions[0] from None
        finally:
            for item in opened:
                item.close()


def _backend(path: Path, opened: list[socket.socket]) -> socket.socket:
    backend = socket.socket(socket.AF_UNIX)
    opened.append(backend)
    backend.bind(str(path))
    # nginx's processes are another user where it was started by root. What answers there answers anybody.
    path.chmod(0o666)
    backend.listen(BACKLOG)
    return backend


def _share(settings: Settings, folder: Path, is_memory: bool, workers: int) -> Share:
    shelf, counts = folder / "shelf", folder / "counts"
    for path in (shelf, counts):
        path.mkdir()
    shelf.chmod(0o755)
    room = shelf_bytes(folder, int(settings.gateway_cache_bytes * SHELF_PART)) if is_memory else 0
    cache_bytes = settings.gateway_cache_bytes - room
    return Share(cache_bytes // workers, counts, shelf, room // workers, folder / "sent.log")


def _front(settings: Settings, folder: Path, ports: tuple[int | None, int | None], workers: int) -> Front:
    user = None
    if os.geteuid() == 0:
        user = next((name for name in UNPRIVILEGED if _is_user(name)), None)
        folder.chmod(0o711)
    host = settings.host or "0.0.0.0"
    host = f"[{host}]" if ":" in host else host
    plain, tls = (None if port is None else f"{host}:{port}" for port in ports)
    return Front(
        folder,
        user,
        plain,
        tls,
        tuple(folder / f"{number}.sock" for number in range(workers)),
        alt_svc(settings, ports[1]),
        resource.getrlimit(resource.RLIMIT_NOFILE)[1],
    )


def _is_user(name: str) -> bool:
    with suppress(KeyError):
        pwd.getpwnam(name)
        return True
    return False


def _prepared(program: str, front: Front, files: tuple[Path, Path] | None) -> list[str]:
    """Write the configuration and let nginx look at it.

    Returns:
        the command line.
    Raises:
        CallerFault: `nginx_refused`, with its reason.
    """
    if files is not None:
        # By a name of ours: nginx would look for variables in the operator's.
        for name, target in zip(("cert.pem", "key.pem"), files, strict=True):
            (front.folder / name).symlink_to(target.absolute())
    path = front.folder / "nginx.conf"
    path.write_text(configuration(front))
    command = [program, "-e", "stderr", "-p", str(front.folder), "-c", str(path)]
    looked = subprocess.run([*command, "-t", "-q"], capture_output=True, text=True, check=False, timeout=30)
    if looked.returncode:
        reasons = [line for line in looked.stderr.splitlines() if "[emerg]" in line] or [looked.stderr.strip()]
        raise CallerFault("nginx_refused", f"nginx does not take its configuration: {reasons[0]}")
    return command
