"""Publishing beside the same work done with ffmpeg and OpenSSL: seconds of audio per second, peak memory.

    .venv/bin/python bench/ingest.py [--json] [--minutes 5] [--long-minutes 120] [--runs 3]

Two sums are compared with. `remux` is the least that anybody could do: ffmpeg copies the packets into
fragmented MP4, OpenSSL (through `cryptography` and hashlib) encrypts and hashes the result. `same work` adds
what a published track also has: the Opus rendition, and the loudness with its true peak.
"""

import hashlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bench.report import Report, arguments

CHUNK = 524_288
MUSIC = (
    "aevalsrc='0.3*sin(2*PI*220*t)*(0.6+0.4*sin(0.7*t))+0.2*sin(2*PI*331*t)+0.05*(random(0)-0.5)"
    "|0.3*sin(2*PI*277*t)*(0.6+0.4*cos(0.5*t))+0.2*sin(2*PI*440*t)+0.05*(random(1)-0.5)':s=44100"
)


def ffmpeg(*options: str | Path) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-y", *map(str, options)], check=True)


def render(folder: Path, minutes: float, name: str) -> Path:
    """Music-like sound (tones that beat, some noise): FLAC gives about 800 kbit/s, as recorded music does."""
    path = folder / name
    ffmpeg("-f", "lavfi", "-i", MUSIC, "-t", str(minutes * 60), "-c:a", *_codec(path), path)
    return path


def _codec(path: Path) -> list[str]:
    return ["pcm_s16le", "-rf64", "auto"] if path.suffix == ".wav" else ["flac"]


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def encrypt_and_hash(path: Path) -> None:
    """AES-256-GCM and SHA-256 of a file in pieces of a chunk, at the speed of OpenSSL."""
    cipher, nonce = AESGCM(bytes(32)), bytes(12)
    with path.open("rb") as source, path.with_suffix(".sealed").open("wb") as target:
        while piece := source.read(CHUNK):
            sealed = cipher.encrypt(nonce, piece, None)
            hashlib.sha256(sealed).digest()
            target.write(sealed)
        os.fsync(target.fileno())


def peer_seconds(source: Path, folder: Path) -> tuple[float, float]:
    """(remux, encryption and hashing) and the same with the Opus rendition and the loudness; in seconds."""
    copied, opus = folder / "peer.mp4", folder / "peer-opus.mp4"
    codec = ["-c", "copy"] if source.suffix == ".flac" else ["-c:a", "flac"]
    fragmented = ["-strict", "-2", "-movflags", "frag_keyframe+empty_moov", "-frag_duration", "2000000"]
    remux = timed(lambda: ffmpeg("-i", source, *codec, *fragmented, copied))
    remux += timed(lambda: encrypt_and_hash(copied))
    rest = timed(lambda: ffmpeg("-i", source, "-c:a", "libopus", "-b:a", "128k", *fragmented, opus))
    rest += timed(lambda: encrypt_and_hash(opus))
    rest += timed(lambda: ffmpeg("-i", source, "-af", "ebur128=peak=true:framelog=verbose", "-f", "null", "-"))
    return remux, remux + rest


def publish(source: Path, data: Path) -> tuple[float, float]:
    """Wall seconds and peak resident MiB (largest process) of `digm publish`, whole process."""
    environment = {**os.environ, "DIGM_DATA": str(data)}
    command = [sys.executable, "-m", "hub.cli", "publish", "--json", str(source)]
    start = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"digm publish ended with status {process.returncode}")
    # ru_maxrss of a reaped child covers its own reaped children too: the sandboxed worker among them.
    return seconds, usage.ru_maxrss / 1024


def measure(report: Report, folder: Path, name: str, minutes: float, runs: int) -> dict[str, float]:
    source = render(folder, minutes, name)
    rows = []
    for run in range(runs):
        remux, same_work = peer_seconds(source, folder)
        seconds, peak_mib = publish(source, folder / f"data-{name}-{run}")
        rows.append((seconds, remux, same_work, peak_mib))
    middle = sorted(rows)[len(rows) // 2]
    facts = {
        "minutes": minutes,
        "digm_s": round(middle[0], 2),
        "remux_s": round(middle[1], 2),
        "same_work_s": round(middle[2], 2),
        "audio_s_per_s": round(minutes * 60 / middle[0], 1),
        "ratio_to_remux": round(middle[0] / middle[1], 2),
        "ratio_to_same_work": round(middle[0] / middle[2], 2),
        "peak_mib": round(max(row[3] for row in rows), 1),
    }
    report.row(file=name, **facts)
    source.unlink()
    return facts


def main() -> None:
    options = arguments(__doc__ or "", minutes=5.0, long_minutes=120.0, runs=3)
    report = Report("ingest", options.json)
    with tempfile.TemporaryDirectory(prefix="digm-bench-") as temporary:
        folder = Path(temporary)
        flac = measure(report, folder, "song.flac", options.minutes, options.runs)
        wav = measure(report, folder, "song.wav", options.minutes, options.runs)
        long = measure(report, folder, "long.wav", options.long_minutes, 1) if options.long_minutes else None
    report.summary(
        flac_ratio_to_same_work=flac["ratio_to_same_work"],
        wav_ratio_to_same_work=wav["ratio_to_same_work"],
        flac_ratio_to_remux=flac["ratio_to_remux"],
        wav_ratio_to_remux=wav["ratio_to_remux"],
        flac_audio_s_per_s=flac["audio_s_per_s"],
        long_peak_mib=long and long["peak_mib"],
        bench_process_peak_mib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        aim="ratio at most 1.5; a 2-hour WAV in under 300 MiB",
    )


if __name__ == "__main__":
    main()
