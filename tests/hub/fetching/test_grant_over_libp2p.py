"""Who knows one node of the backbone fetches and opens a track: no hub is named, no key is given."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from digm.errors import Unavailable
from hub.fetching.fetch import Fetch, FetchJob, FetchReport
from hub.fetching.targets import Target
from tests.hub.fetching.recordings import RATE, decoded, published
from tests.hub.granting.test_carried_grants import hub_in_backbone
from tests.hub.granting.test_grants_end_to_end import artist_at
from tests.hub.media.sounds import music, quantised, write_wav

SOUND = quantised(music(5 * RATE), 16)


async def fetched(track_root: str, out: Path, bootstrap: str) -> FetchReport:
    target = Target(track_root, bootstrap=(bootstrap,))
    job = FetchJob(target=target, out=out, raw=None, track_key=None, via=frozenset({"libp2p"}), patience_s=20.0)
    async with asyncio.timeout(60):
        return await Fetch(job).run()


async def test_a_track_is_fetched_and_opened_by_one_who_knows_a_node_and_no_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.bridge.member.LOOKED_AT_S", 0.05)
    track = published(
        write_wav(tmp_path / "music.wav", SOUND, RATE, 16), tmp_path / "data", title="Night train"
    )
    async with hub_in_backbone(tmp_path / "data") as (hub, there):
        with pytest.raises(Unavailable, match="key vault is not connected") as refused:
            await fetched(track.root, tmp_path / "locked.flac", there.multiaddrs[0])
        assert refused.value.code == "no_key"
        async with artist_at(hub, tmp_path / "data"):
            report = await fetched(track.root, tmp_path / "song.flac", there.multiaddrs[0])
        assert report.error is None
    assert np.array_equal(decoded(tmp_path / "song.flac", "s16"), SOUND)
