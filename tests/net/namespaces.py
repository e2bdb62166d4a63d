"""Network namespaces that are made for a test, entered, and gone after it. Needs root and ip (iproute2)."""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Self

CLONE_NEWNET = 0x4000_0000  # setns(2)
_libc = ctypes.CDLL(None, use_errno=True)


def missing(programs: Collection[str]) -> str:
    """Why there can be no namespaces here, or not with these programs; "" if there can."""
    absent = [name for name in programs if shutil.which(name) is None]
    if absent:
        return f"{', '.join(absent)} not installed"
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"dg{os.getpid() % 100_000}-try"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"no network namespaces: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=False)
    return ""


class Namespaces:
    """Some of them; use as a context manager. Their full names begin with a prefix of this process.

    Subclasses connect them in `build`.
    """

    def __init__(self, kind: str, names: Sequence[str]) -> None:
        self._prefix = f"{kind}{os.getpid() % 100_000}"
        self._processes: list[subprocess.Popen[bytes]] = []
        self._all = [self.name(what) for what in names]

    def name(self, what: str) -> str:
        return f"{self._prefix}-{what}"

    def __enter__(self) -> Self:
        try:
            self._remove()
            for name in self._all:
                run("ip", "netns", "add", name)
                run("ip", "-n", name, "link", "set", "lo", "up")
            self.build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()
        self._remove()

    def build(self) -> None:
        """Connect them."""

    def inside(self, what: str) -> list[str]:
        """The beginning of a command that runs in a namespace."""
        return ["ip", "netns", "exec", self.name(what)]

    def within(self, what: str) -> AbstractContextManager[None]:
        """What this thread opens and starts meanwhile is in a namespace."""
        return entered(self.name(what))

    def start(self, what: str, command: Sequence[str], environment: dict[str, str], log: Path) -> None:
        """Run a process in a namespace until the end, or `stop`."""
        with log.open("ab") as target:
            process = subprocess.Popen(
                [*self.inside(what), *command], env=environment, stdout=target, stderr=target
            )
        self._processes.append(process)

    def stop(self) -> None:
        """End all processes."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def ip(self, what: str, words: str) -> None:
        """An `ip` command for a namespace."""
        run("ip", "-n", self.name(what), *words.split())

    def _remove(self) -> None:
        for name in self._all:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def run(*command: str, text: str = "") -> str:
    """A command that has to succeed; what it says."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


@contextmanager
def entered(name: str) -> Iterator[None]:
    """This thread is in a namespace meanwhile; `name` is as `ip netns` shows it."""
    with Path("/proc/thread-self/ns/net").open() as here, Path("/run/netns", name).open() as there:
        _enter(there.fileno())
        try:
            yield
        finally:
            _enter(here.fileno())


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
