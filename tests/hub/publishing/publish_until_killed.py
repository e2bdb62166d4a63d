"""Publishes new recordings until it is killed, again and again; run by test_kill.py in processes of its own.

Each round forks a child that publishes and acknowledges on a pipe, and kills it after a random time.
"""

import json
import os
import random
import select
import signal
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from conftest import StandInIngest, write_wav

import hub.publishing.publish as publishing
from hub.config import Settings


def record(music: Path, number: int) -> Path:
    """A recording of 5 to 9 seconds, whole also if we are killed while it is made."""
    path = music / f"{number}.wav"
    if not path.exists():
        write_wav(music / f"{number}.new", 5.0 + number % 5, seed=number).rename(path)
    return path


def publish_for_ever(data: Path, music: Path, first: int, acknowledge: int) -> None:
    """The child: one new file after another, each acknowledged once `publish` has returned."""
    number = first
    while True:
        path = record(music, number)
        [track] = publishing.publish([path], Settings(data=data))
        os.write(acknowledge, (track.track_root + "\n").encode())
        number += 1


def run_round(data: Path, music: Path, first: int, delay_s: float) -> list[str]:
    """Let a child live for a while.

    Returns:
        the track roots that it acknowledged.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            publish_for_ever(data, music, first, writing)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(9)
    os.close(writing)
    time.sleep(delay_s)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    said = b""
    while select.select([reading], [], [], 0)[0] and (block := os.read(reading, 65_536)):
        said += block
    os.close(reading)
    if not os.WIFSIGNALED(status):
        sys.exit("The publisher ended before it was killed.")
    return said.decode().split()


def time_one(data: Path, music: Path) -> float:
    """How long publishing takes on this machine as busy as it is: the moments of death are chosen by it."""
    for number in (os.getpid() + 1_000_000, os.getpid() + 2_000_000):
        path = record(music, number)
        start = time.monotonic()
        publishing.publish([path], Settings(data=data))
    return time.monotonic() - start


def main() -> None:
    """Arguments: data folder, music folder, rounds, seed, "real" or "stand-in"."""
    data, music = Path(sys.argv[1]), Path(sys.argv[2])
    rounds, seed = int(sys.argv[3]), int(sys.argv[4])
    if sys.argv[5] == "stand-in":
        publishing.ingest = StandInIngest(seconds=10)
    random.seed(seed)
    # The first recordings are there before the clock runs: writing them is not publishing.
    for number in range(10):
        record(music, number)
    acknowledged: list[str] = []
    took_s = time_one(data, music)
    for _ in range(rounds):
        acknowledged += run_round(data, music, len(set(acknowledged)), random.uniform(0, 2 * took_s))
    print(json.dumps(sorted(set(acknowledged))))


if __name__ == "__main__":
    main()
