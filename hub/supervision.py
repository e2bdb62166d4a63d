"""Child processes of one machine's DIGM: started, watched, restarted with back-off, and ended together.

Each child leads a process group of its own, writes its log to DATA/logs, and ends when this process ends,
however that happens. What the children do is their own business; they are configured by the environment.
"""

import asyncio
import contextlib
import itertools
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

import structlog

from digm.errors import CallerFault, Unavailable
from hub.lifecycle import tie_to_parent

log = structlog.get_logger()
BACKOFF_FIRST_S = 0.5
BACKOFF_MOST_S = 30.0
STEADY_AFTER_S = 60.0
STOP_WITHIN_S = 8.0
LOG_MOST_BYTES = 8 * 1024 * 1024
EXIT_CONFIGURATION = 2
ENDS_BEFORE_GIVING_UP = 3
PATIENCE = 10  # nice(2)


class Child:
    """One `digm` command as a child process.

    Args:
        name: its subcommand.
        logs: folder for its log file.
        environment: the whole environment of the child.
        arguments: of the subcommand, whenever it is run.
        log_name: of its log file; the subcommand's if empty.
        is_patient: the others' work goes first.
    """

    def __init__(
        self,
        name: str,
        logs: Path,
        environment: Mapping[str, str],
        *,
        arguments: Sequence[str] = (),
        log_name: str = "",
        is_patient: bool = False,
    ) -> None:
        self.name = name
        self.log_path = logs / f"{log_name or name}.log"
        self._environment, self._arguments = environment, arguments
        self._before = _patiently(tie_to_parent()) if is_patient else tie_to_parent()
        self._process: asyncio.subprocess.Process | None = None

    async def run(self, *arguments: str) -> int:
        """Start it and wait for its end.

        Returns:
            the exit status; negative: the signal that ended it.
        """
        with open_log(self.log_path) as target:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "hub.cli", self.name, *self._arguments, *arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=target,
                stderr=target,
                env=self._environment,
                preexec_fn=self._before,
                start_new_session=True,
            )
        return await self._process.wait()

    async def keep_running(self, may_fail: asyncio.Event) -> None:
        """Run it for ever; a crash is followed by a restart.

        Args:
            may_fail: once set, a child that refuses its settings is restarted too; before, that is fatal, and
                so is one that ends again and again.
        Raises:
            Unavailable: `child_failed`, with the child's own sentence.
        """
        delay_s = BACKOFF_FIRST_S
        for ends in itertools.count(1):
            began = time.monotonic()
            status = await self.run()
            if status == EXIT_CONFIGURATION and not may_fail.is_set():
                raise Unavailable(
                    "child_failed", self.last_words() or f"The process {self.name} did not start."
                )
            if ends >= ENDS_BEFORE_GIVING_UP and not may_fail.is_set():
                raise Unavailable(
                    "child_failed",
                    f"The process {self.name} does not stay up (exit status {status}); its last words in "
                    f"{self.log_path}: {self.last_words()}",
                )
            log.warning(
                "child_ended", name=self.name, status=status, restart_in_s=delay_s, log=str(self.log_path)
            )
            if time.monotonic() - began > STEADY_AFTER_S:
                delay_s = BACKOFF_FIRST_S
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, BACKOFF_MOST_S)

    async def stop(self) -> None:
        """End it and whatever it started: gently, then not."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        _signal_group(process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_WITHIN_S):
                await process.wait()
                return
        log.warning("child_killed", name=self.name)
        _signal_group(process.pid, signal.SIGKILL)
        await process.wait()

    def last_words(self) -> str:
        """The last line that it wrote."""
        try:
            lines = self.log_path.read_text("utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        return lines[-1] if lines else ""


def _patiently(before: Callable[[], None]) -> Callable[[], None]:
    def in_child() -> None:
        before()
        os.nice(PATIENCE)

    return in_child


async def keep_program(
    name: str,
    command: Sequence[str],
    log_path: Path,
    stop: asyncio.Event,
    ending: signal.Signals = signal.SIGTERM,
) -> None:
    """Run somebody else's program until `stop` is set; when it ends by itself it is started again.

    What it started ends with it: it leads a process group of its own.

    Args:
        command: the program by its path, and its arguments; it stays in the foreground.
        log_path: gets what it prints.
        ending: the signal at which it finishes its work and ends; it is killed `STOP_WITHIN_S` later.
    Raises:
        Unavailable: `{name}_failed`: it ended again and again, soon after it was started.
    """
    delay_s, early_ends, tie = BACKOFF_FIRST_S, 0, tie_to_parent()
    stopping = asyncio.create_task(stop.wait(), name=f"stop {name}")
    try:
        while not stop.is_set():
            began = time.monotonic()
            with open_log(log_path) as target:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=target,
                    stderr=target,
                    preexec_fn=tie,
                    start_new_session=True,
                )
            await _until_ended(process, stopping, ending)
            if stop.is_set():
                return
            log.warning("program_ended", name=name, status=process.returncode, restart_in_s=delay_s)
            was_steady = time.monotonic() - began > STEADY_AFTER_S
            early_ends, delay_s = (0, BACKOFF_FIRST_S) if was_steady else (early_ends + 1, delay_s)
            if early_ends >= ENDS_BEFORE_GIVING_UP:
                raise Unavailable(f"{name}_failed", f"{name} does not stay up; {log_path} says why.")
            await asyncio.wait({stopping}, timeout=delay_s)
            delay_s = min(2 * delay_s, BACKOFF_MOST_S)
    finally:
        stopping.cancel()


async def _until_ended(
    process: asyncio.subprocess.Process, stopping: "asyncio.Task[bool]", ending: signal.Signals
) -> None:
    """Wait for either, then see to it that the whole group ends."""
    running = asyncio.create_task(process.wait(), name="program")
    waited: set[asyncio.Task[bool] | asyncio.Task[int]] = {running, stopping}
    try:
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            process.send_signal(ending)
            await asyncio.wait({running}, timeout=STOP_WITHIN_S)
    finally:
        # What it left behind would hold its ports.
        _signal_group(process.pid, signal.SIGKILL)
        await running


def _signal_group(leader: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, number)


def open_log(path: Path) -> IO[bytes]:
    """Open a log for appending; one that has grown large is kept once, as `.1`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > LOG_MOST_BYTES:
        path.replace(path.with_name(path.name + ".1"))
    return path.open("ab")


async def stop_all(children: Sequence[Child]) -> None:
    """End all of them at once."""
    await asyncio.gather(*(child.stop() for child in children))


def check_writable(data: Path) -> None:
    """Make the data folder and write into it.

    Raises:
        CallerFault: `data_not_writable`.
    """
    probe = data / f".writable-{os.getpid()}"
    try:
        data.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise CallerFault(
            "data_not_writable",
            f"The data folder {data} cannot be written ({error.strerror}); choose another one with DIGM_DATA.",
        ) from error
