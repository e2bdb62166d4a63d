"""Recordings for the tests: real WAV files, and a stand-in for ingest that takes no time."""

import hashlib
import shutil
import wave
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from digm.errors import CallerFault
from digm.media import AudioConfig
from hub.config import Settings
from hub.media.model import INDEX_ENTRY, IngestedRendition, IngestedTrack, Tags
from hub.storage.catalogue import Catalogue
from hub.storage.chunk_store import ChunkStore
from hub.storage.verification import verify_track

SAMPLE_RATE = 44_100
OPUS_HEAD = b"OpusHead" + bytes([1, 2, 0, 0, 0x80, 0xBB, 0, 0, 0, 0, 0])


def write_wav(path: Path, seconds: float = 5.0, seed: int = 0) -> Path:
    """A real recording: two tones and a little noise, different for each seed."""
    random = np.random.default_rng(seed)
    time_s = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tones = [np.sin(2 * np.pi * random.uniform(100, 1000) * time_s) for _ in range(2)]
    sound = np.stack(tones, axis=1) * 9_000 + random.normal(0, 300, (len(time_s), 2))
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes(sound.astype("<i2").tobytes())
    return path


@dataclass
class StandInIngest:
    """Makes two renditions out of the bytes of any file; what it says of a file is chosen by name."""

    tags: dict[str, Tags] = field(default_factory=dict)
    covers: dict[str, bytes] = field(default_factory=dict)
    bad: set[str] = field(default_factory=set)
    seconds: int = 20
    seen: list[Path] = field(default_factory=list)
    during: object = None

    def __call__(self, source, workdir, limits=None, on_progress=None, cover=None):
        self.seen.append(source)
        if source.name in self.bad:
            raise CallerFault("damaged_file", f"{source} is damaged: copy or export it again.")
        folder = workdir / "ingest"
        folder.mkdir()
        if callable(self.during):
            self.during(source, folder)
        seed = hashlib.sha256(source.read_bytes()).digest()
        renditions = [
            self._rendition(
                AudioConfig("flac", 44_100, 2, 16, 44_100, bytes(34), 0, 0), seed, folder, 4096, 12_000
            ),
            self._rendition(
                AudioConfig("opus", 48_000, 2, 0, 48_000, OPUS_HEAD, 312, 0), seed, folder, 960, 300
            ),
        ]
        picture = self.covers.get(source.name) or (cover.read_bytes() if cover else None)
        if picture:
            (folder / "cover.jpg").write_bytes(picture)
        return IngestedTrack(
            tags=self.tags.get(source.name, Tags()),
            cover=folder / "cover.jpg" if picture else None,
            duration_s=float(self.seconds),
            loudness_lufs=-14.0,
            true_peak_db=-1.0,
            peaks=bytes(range(100)),
            renditions=renditions,
            source_codec="flac",
            notes=[],
        )

    def _rendition(self, config, seed, folder, duration, size):
        count = self.seconds * config.timescale // duration
        sound = hashlib.shake_256(seed + config.codec.encode()).digest(count * size)
        (folder / f"{config.codec}.packets").write_bytes(sound)
        (folder / f"{config.codec}.index").write_bytes(INDEX_ENTRY.pack(size, duration) * count)
        return IngestedRendition(
            config=config,
            packets=folder / f"{config.codec}.packets",
            index=folder / f"{config.codec}.index",
            total_bytes=count * size,
            duration=count * duration,
            largest_sample_bytes=size,
        )


@dataclass
class DataFolder:
    """What lies in a data folder, and whether it fits together."""

    path: Path

    @property
    def settings(self) -> Settings:
        return Settings(data=self.path)

    @property
    def store(self) -> ChunkStore:
        return ChunkStore(self.path)

    def tracks(self):
        catalogue = Catalogue.open(self.path)
        try:
            return catalogue.tracks()
        finally:
            catalogue.close()

    def assert_consistent(self):
        """Every listed track is whole, nothing else lies in the store, nothing is left in staging."""
        wanted, roots = set(), set()
        for entry in self.tracks():
            assert verify_track(self.store, entry).damages == []
            manifest = self.store.manifest(entry.track_root)
            wanted |= _hashes_in(manifest)
            roots.add(f"{entry.track_root}.json")
        assert set(self.store.hashes()) == wanted
        manifests = self.path / "manifests"
        assert {path.name for path in manifests.glob("*")} == roots
        assert list((self.path / "staging").glob("*")) == []
        empty = [path for path in (self.path / "chunks").glob("??") if not any(path.iterdir())]
        assert empty == []

    def assert_empty(self):
        self.assert_consistent()
        assert self.tracks() == []


def _hashes_in(document: bytes) -> set[str]:
    from digm.manifest import parse_manifest

    manifest = parse_manifest(document)
    hashes = {chunk_hash.hex() for rendition in manifest.renditions for chunk_hash in rendition.chunk_hashes}
    return hashes | ({manifest.cover.hash.hex()} if manifest.cover else set())


@pytest.fixture
def data(tmp_path):
    return DataFolder(tmp_path / "data")


@pytest.fixture
def music(tmp_path):
    """A folder to put recordings into."""
    folder = tmp_path / "music"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def stand_in(monkeypatch):
    """Publishing with `StandInIngest` in place of the real one."""
    ingest = StandInIngest()
    monkeypatch.setattr("hub.publishing.publish.ingest", ingest)
    return ingest


@pytest.fixture
def record(music):
    """Makes a file for the stand-in: any bytes will do."""

    def record(name: str, content: bytes | None = None) -> Path:
        path = music / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(content if content is not None else name.encode() * 100)
        return path

    return record


@pytest.fixture
def wav(music):
    """Makes a real recording."""
    return lambda name="tone.wav", seconds=5.0, seed=0: write_wav(music / name, seconds, seed)
