"""What the tests of reading audio files share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from digm.errors import CallerFault
from hub.media import IngestedTrack, IngestLimits, ingest

Read = Callable[..., IngestedTrack]
Refuse = Callable[..., CallerFault]


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """Where ingest puts its results."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def read(workdir: Path) -> Read:
    """Ingest a file that is good."""

    def do(path: Path, **options: object) -> IngestedTrack:
        return ingest(path, workdir, **options)

    return do


@pytest.fixture
def refuse(workdir: Path) -> Refuse:
    """Ingest a file that is not: the fault names it, and nothing is left behind."""

    def do(path: Path, limits: IngestLimits | None = None, **options: object) -> CallerFault:
        with pytest.raises(CallerFault) as caught:
            ingest(path, workdir, limits, **options)
        fault = caught.value
        assert path.name in fault.message
        assert fault.message.endswith(".")
        assert "\n" not in fault.message
        assert list(workdir.iterdir()) == []
        return fault

    return do
