"""Thousands of listeners in one process, without a browser: the scheduler's rules, measured and tuned.

    .venv/bin/python -m bench.swarm_sim [--json] [--peers 1000] [--only NAME] [--set name=value ...]

Every page runs the real digm.scheduler; around it is bench.swarm_model. `offload_of_ideal` is the part of all
bytes that came from peers, over what is possible when the server gives one copy; `server_copies` is what the
server gave, in tracks. The first cases are those of bench/swarm.py.
"""

import argparse
import dataclasses
import random
from collections.abc import Iterator
from typing import Any

from bench.report import Report, quantile
from bench.swarm_model import HOMES, MEGA, Case, Clock, Line, Port
from bench.swarm_page import Page, World
from digm.chunks import FRAME_BYTES
from digm.scheduler import SchedulerSettings


def small_cases() -> Iterator[Case]:
    """N pages on one machine, as bench/swarm.py has them."""
    for n in (2, 4, 6, 10):
        for stagger_s in (0.0, 3.0, 10.0):
            for delay_s in (0.0, 0.05, 0.2):
                yield Case(
                    f"pages n={n} stagger={stagger_s:g} delay={delay_s * 1000:g}",
                    tuple(i * stagger_s for i in range(n)),
                    server_delay_s=delay_s,
                )


def crowds(peers: int) -> Iterator[Case]:
    """Homes on real lines, a server with a gigabit."""
    rng = random.Random(7)
    at_once = tuple(0.0 for _ in range(peers))
    poisson = tuple(sorted(rng.uniform(0, 300) for _ in range(peers)))
    flash = tuple(sorted(min(300.0, rng.expovariate(1 / 30)) for _ in range(peers)))
    common = Case(
        "", (), lines=HOMES, server=Line(125 * MEGA, 125 * MEGA, 0.0), server_delay_s=0.02, python_s=(1.0, 4.0)
    )
    yield dataclasses.replace(common, name=f"crowd at once n={peers}", arrivals=at_once)
    yield dataclasses.replace(common, name=f"crowd poisson n={peers}", arrivals=poisson)
    yield dataclasses.replace(common, name=f"crowd flash n={peers}", arrivals=flash)
    yield dataclasses.replace(common, name=f"crowd flash, churn n={peers}", arrivals=flash, stays_s=90.0)
    yield dataclasses.replace(
        common, name=f"crowd flash, half free riders n={peers}", arrivals=flash, free_riders=0.5
    )
    for part in (0.1, 0.5, 0.9):
        name = f"crowd flash, {part:.0%} corrupted n={peers}"
        yield dataclasses.replace(common, name=name, arrivals=flash, corrupted=part)
    yield Case("long recording, n=10", tuple(3.0 * i for i in range(10)), chunks=1_600, track_s=7_200.0)
    dsl = ((HOMES[2][0], 1.0),)
    yield dataclasses.replace(common, name=f"crowd flash, all DSL n={peers}", arrivals=flash, lines=dsl)


def run(case: Case, settings: SchedulerSettings) -> dict[str, Any]:
    """Simulate one case."""
    clock, rng = Clock(), random.Random(case.seed)
    world = World(case, clock, settings, rng, Port(case.server.up))
    for number, arrival in enumerate(case.arrivals):
        page = Page(world, f"{rng.getrandbits(64):016x}{number}")
        world.pages[page.name] = page
        clock.at(arrival, page.navigate)
    clock.run(max(case.arrivals) + case.track_s + 60.0)
    return figures(world)


def figures(world: World) -> dict[str, Any]:
    case, pages = world.case, list(world.pages.values())
    chunk_bytes = 8 * FRAME_BYTES
    honest = [page for page in pages if not page.is_corrupt]
    needed = sum(len(page.held) * chunk_bytes for page in pages)
    one_copy = chunk_bytes * len({chunk for page in pages for chunk in page.held})
    server = world.server.carried
    firsts = [
        page.playhead.first_sound_at - page.born_at
        for page in honest
        if page.playhead.first_sound_at is not None
    ]
    stalls = [page.playhead.stalls for page in honest]
    ideal = (needed - one_copy) / needed
    return {
        "case": case.name,
        "offload": round(1 - server / needed, 4),
        "offload_of_ideal": round((1 - server / needed) / ideal, 4) if ideal > 0 else 1.0,
        "server_copies": round(server / (chunk_bytes * case.chunks), 2),
        "stalls": sum(stalls),
        "stalled_pages": sum(bool(stall) for stall in stalls),
        "stalled_s": round(sum(page.playhead.stalled_s for page in honest), 1),
        "first_sound_p50_ms": round(1000 * quantile(firsts, 0.5)),
        "first_sound_p90_ms": round(1000 * quantile(firsts, 0.9)),
        "surplus": round(sum(page.from_server + page.from_peers for page in pages) / needed - 1, 4),
        "poll_us": round(1e6 * world.poll_s / max(1, world.polls), 1),
        "poll_longest_us": round(1e6 * world.longest_poll_s),
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object a line, the summary last")
    parser.add_argument("--peers", type=int, default=300, help="listeners in each of the crowds")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each of the small cases")
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="of SchedulerSettings")
    return parser.parse_args()


def main() -> None:
    options = _options()
    changes = dict(item.split("=", 1) for item in options.set)
    kinds = {field.name: type(field.default) for field in dataclasses.fields(SchedulerSettings)}
    settings = SchedulerSettings(**{name: kinds[name](value) for name, value in changes.items()})
    report = Report("swarm_sim", options.json)
    small, crowd = [], []
    for case in small_cases():
        if options.only in case.name:
            runs = [run(dataclasses.replace(case, seed=1 + i), settings) for i in range(options.seeds)]
            line = _mean(runs)
            small.append(line)
            report.row(**line)
    for case in crowds(options.peers):
        if options.only in case.name:
            crowd.append(run(case, settings))
            report.row(**crowd[-1])
    report.summary(
        pages_worst_offload_of_ideal=min((line["offload_of_ideal"] for line in small), default=None),
        pages_stalls=sum(line["stalls"] for line in small),
        crowd_worst_offload_of_ideal=min((line["offload_of_ideal"] for line in crowd), default=None),
        crowd_stalled_pages=sum(line["stalled_pages"] for line in crowd),
        aim="pages: at least 0.95 of the ideal, no stall",
    )


def _mean(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Of several seeds: the mean of each number, the sum of stalls, the longest poll."""
    line: dict[str, Any] = {"case": runs[0]["case"]}
    for name in runs[0]:
        values = [run[name] for run in runs]
        if name == "poll_longest_us":
            line[name] = max(values)
        elif "stall" in name:
            line[name] = round(sum(values), 1)
        elif name != "case":
            line[name] = round(sum(values) / len(values), 4)
    return line


if __name__ == "__main__":
    main()
