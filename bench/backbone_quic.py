"""Chunks between two of our nodes over QUIC, beside TCP: python -m bench.backbone_quic [--chunks 32] [--json]

As the chunks of bench/backbone.py: 512 KiB each, from memory, four at a time, hashed when they have come.
"""

import asyncio
import tempfile
from pathlib import Path

from bench.backbone import measure_chunks
from bench.report import Report, arguments

KINDS = ("digm", "digm-quic")


async def run(report: Report, chunks: int) -> None:
    with tempfile.TemporaryDirectory(prefix="digm-bench-") as folder:
        for kind in KINDS:
            report.row(kind=kind, **await measure_chunks(kind, kind, chunks, Path(folder)))


def main() -> None:
    options = arguments(__doc__ or "", chunks=32)
    asyncio.run(run(Report("backbone_quic", options.json), options.chunks))


if __name__ == "__main__":
    main()
