"""Real recordings, published into a data folder of their own: for tests that fetch them again."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from digm.grants import Grant, make_grant
from digm.manifest import Manifest, parse_manifest
from hub.config import Settings
from hub.fetching.assembling import Assembly
from hub.fetching.fetch import granted_chunks
from hub.fetching.unlocking import whole_grant
from hub.publishing.model import PublishOptions
from hub.publishing.publish import publish
from hub.publishing.vault import FILE_NAME, Vault
from hub.storage.chunk_store import ChunkStore

RATE = 44_100


@dataclass(frozen=True)
class Recording:
    """A published track, what it was made of, and its key."""

    source: Path
    data: Path
    manifest: Manifest
    track_key: bytes

    @property
    def root(self) -> str:
        return self.manifest.track_root.hex()

    @property
    def store(self) -> ChunkStore:
        return ChunkStore(self.data)

    def assembly(self, rendition: int, *, as_anyone: bool = False) -> Assembly:
        """A rendition with the key, or with what anyone is granted."""
        grant: Grant = whole_grant(self.manifest, self.track_key)
        if as_anyone:
            grant = make_grant(self.manifest, self.track_key, bytes(32), 1 << 40)
        chosen = self.manifest.renditions[rendition]
        return Assembly(self.manifest, chosen, grant, granted_chunks(chosen, grant), None)


def published(source: Path, data: Path, **options: object) -> Recording:
    """Publish a file."""
    [track] = publish([source], Settings(data=data), PublishOptions(**options))  # type: ignore[arg-type]
    manifest = parse_manifest(ChunkStore(data).manifest(track.track_root))
    with Vault.open(data / FILE_NAME) as vault:
        secret = vault.secret(track.track_root)
    assert secret is not None
    return Recording(source, data, manifest, secret.track_key)


def decoded(path: Path, sample_format: str = "s32") -> npt.NDArray[np.int64]:
    """What ffmpeg makes of a file, which must please it; (samples, 2)."""
    done = subprocess.run(
        ["ffmpeg", "-v", "error", "-xerror", "-i", path, "-map", "0:a:0", "-f", f"{sample_format}le", "-"],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode()
    return (
        np.frombuffer(done.stdout, {"s16": "<i2", "s32": "<i4"}[sample_format]).reshape(-1, 2).astype(np.int64)
    )
