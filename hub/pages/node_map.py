"""Where everything on the operator's map goes: nodes around the hub, and the weave of tracks and nodes.

Geometry and words only; what is drawn is `hub.overview.network`'s, how it looks is the template's and the style
sheet's.

A node's distance from the hub is its latency (logarithmic), its disc grows with what it holds, the ring around
it closes with its score in audits. Directions say nothing but stay: nodes of one network stand side by side.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from digm.chain_standing import ChainStanding
from digm.chain_story import amount
from hub.overview.network import Audit, Holding, Network, Node, State, Track, Traffic

WIDTH, HEIGHT = 960, 360
CENTRE_X, CENTRE_Y = WIDTH / 2, HEIGHT / 2
REACH_X, REACH_Y = 350, 148
ORBITS_MS = (1, 10, 100)
FARTHEST_MS = 1_000
DISC, DISC_GROWS = 7, 8
TURN = 0.35  # radians
MOST_DRAWN = 60
MOST_LABELS = 20
MOST_ROWS = 100
MOST_PIPS = 12
SPARK_WIDTH, SPARK_HEIGHT = 120, 24
QUIET_PER_S = 64  # bytes: health checks are no traffic
LEAST_FULL_RATE = 64 * 1024  # bytes a second that fill a small drawing: silence must not look like a storm
STATES = {
    State.HEALTHY: "passes its audits",
    State.UNPROVEN: "not audited yet",
    State.SLOW: "answers audits slowly",
    State.ABSENT: "does not answer audits",
    State.FAILED: "failed its audits",
    State.GONE: "gone",
}


@dataclass(frozen=True)
class Place:
    """Where a node stands on the map."""

    x: float
    y: float
    radius: float

    @property
    def is_right(self) -> bool:
        return self.x >= CENTRE_X

    @property
    def label_x(self) -> float:
        return self.x + (self.radius + 9 if self.is_right else -self.radius - 9)


def drawn_network(network: Network, now_s: float) -> dict[str, Any]:
    """Everything that the template needs.

    Args:
        now_s: seconds since 1970, for how long ago something was.
    """
    others = [node for node in network.nodes if not node.is_self]
    around = others[:MOST_DRAWN]
    places = dict(zip((node.peer_id for node in around), _places(around, len(network.tracks)), strict=True))
    columns = network.nodes[:MOST_DRAWN]
    return {
        "summary": summary(network),
        "width": WIDTH,
        "height": HEIGHT,
        "centre": (CENTRE_X, CENTRE_Y),
        "orbits": [_orbit(ms, len(around)) for ms in ORBITS_MS],
        "links": _links(around, places),
        "sky": [_sky(node, places[node.peer_id], len(around)) for node in around],
        "columns": [_head(node) for node in columns],
        "is_dense": len(columns) > 8,
        "rows": [_row(track, columns) for track in network.tracks[:MOST_ROWS]],
        "more_rows": max(0, len(network.tracks) - MOST_ROWS),
        "nodes": [_facts(node, now_s) for node in columns],
        "more_nodes": max(0, len(network.nodes) - len(columns)),
    }


def summary(network: Network) -> str:
    """The state of the network in one sentence or two; it changes only when something of weight does."""
    here = [node for node in network.nodes if node.state is not State.GONE and not node.is_self]
    gone = [node for node in network.nodes if node.state is State.GONE]
    bad = [node for node in here if node.state in (State.FAILED, State.ABSENT)]
    short = [track for track in network.tracks if track.missing]
    ordered = [track for track in network.tracks if track.desired is not None]
    words = [f"{_count(len(here), 'node')} besides this hub."]
    if bad:
        words.append(f"{_names(bad)} did not pass the audits.")
    if gone:
        words.append(f"{_names(gone)} left.")
    if short:
        copies = _count(sum(track.missing for track in short), "ordered copy", "ordered copies")
        verb = "is" if copies.startswith("1 ") else "are"
        words.append(f"{copies} of {_count(len(short), 'track')} {verb} missing.")
    elif ordered:
        words.append("Every ordered copy is there.")
    return " ".join(words)


def _count(number: int, name: str, names: str = "") -> str:
    return f"{number} {name if number == 1 else names or name + 's'}"


def _names(nodes: list[Node]) -> str:
    names = [node.operator for node in nodes[:3]]
    return ", ".join(names) + (f" and {len(nodes) - 3} more" if len(nodes) > 3 else "")


# -- around the hub


def _orbit(latency_ms: float, count: int) -> dict[str, Any]:
    share = _distance(latency_ms, count)
    x, y = share * REACH_X, share * REACH_Y
    return {"x": round(x, 1), "y": round(y, 1), "label_y": round(CENTRE_Y - y, 1), "name": f"{latency_ms:g} ms"}


def _distance(latency_ms: float | None, count: int) -> float:
    """0.0 (the hub) to 1.0 (a second away, or nobody knows how far); a crowd leaves more room in the middle."""
    hole = min(0.7, 0.3 + 0.02 * count)
    known = FARTHEST_MS if latency_ms is None else min(max(latency_ms, 0.0), FARTHEST_MS)
    return hole + (1 - hole) * math.log10(1 + known) / math.log10(1 + FARTHEST_MS)


def _places(nodes: list[Node], track_count: int) -> Iterable[Place]:
    for number, node in enumerate(nodes):
        # Turned a little, so that nobody stands right above or below the hub, where names are.
        angle = 2 * math.pi * (number + 0.5) / len(nodes) - math.pi / 2 + TURN
        distance = _distance(node.latency_ms, len(nodes))
        held = sum(holding.share for holding in node.tracks) / max(1, track_count)
        yield Place(
            round(CENTRE_X + distance * REACH_X * math.cos(angle), 1),
            round(CENTRE_Y + distance * REACH_Y * math.sin(angle), 1),
            round(DISC + DISC_GROWS * math.sqrt(min(1.0, held)), 1),
        )


def _links(nodes: list[Node], places: dict[str, Place]) -> list[dict[str, Any]]:
    """To the hub, and between nodes that say that they know each other."""
    links = []
    for node in nodes:
        place = places[node.peer_id]
        if node.is_connected:
            path = f"M{CENTRE_X:g} {CENTRE_Y:g}L{place.x:g} {place.y:g}"
            links.append({"key": node.peer_id, "path": path, "flow": _flow(node.traffic), "kind": "spoke"})
        for neighbour in node.neighbours:
            other = places.get(neighbour)
            if other is not None and (node.peer_id < neighbour or not _knows(nodes, neighbour, node.peer_id)):
                # Bent towards the middle, where it lies apart from the orbits.
                bend_x = (place.x + other.x + CENTRE_X) / 3
                bend_y = (place.y + other.y + CENTRE_Y) / 3
                path = f"M{place.x:g} {place.y:g}Q{bend_x:.1f} {bend_y:.1f} {other.x:g} {other.y:g}"
                links.append({"key": f"{node.peer_id}-{neighbour}", "path": path, "flow": 0, "kind": "chord"})
    return links


def _knows(nodes: list[Node], name: str, other: str) -> bool:
    return any(node.peer_id == name and other in node.neighbours for node in nodes)


def _flow(traffic: Traffic | None) -> int:
    """0 (nothing moves) to 4 (more than a megabyte a second)."""
    rate = traffic.sent_per_s + traffic.received_per_s if traffic else 0.0
    return sum(rate > limit for limit in (QUIET_PER_S, 10_000, 100_000, 1_000_000))


def _sky(node: Node, place: Place, count: int) -> dict[str, Any]:
    return {
        **_head(node),
        "place": place,
        "ring": round(100 * (node.score or 0.0), 1),
        "has_label": count <= MOST_LABELS,
        "label": _shortened(node.operator, 18),
        "detail": _latency(node.latency_ms) if node.state is not State.GONE else "gone",
        "roots": " ".join(holding.track_root[:16] for holding in node.tracks),
    }


# -- who holds what


def _head(node: Node) -> dict[str, Any]:
    return {
        "peer_id": node.peer_id,
        "short_id": f"…{node.peer_id[-6:]}",
        "operator": node.operator,
        "state": node.state.value,
        "is_self": node.is_self,
        "words": _words(node),
    }


def _words(node: Node) -> str:
    """All of a node in one line, for those who do not see the drawing."""
    parts = ["this hub" if node.is_self else STATES[node.state]]
    if node.latency_ms is not None:
        parts.append(_latency(node.latency_ms))
    parts.append(f"holds {_count(len(node.tracks), 'track')}")
    return f"{node.operator}: {', '.join(parts)}"


def _row(track: Track, columns: Iterable[Node]) -> dict[str, Any]:
    held = [{h.track_root: h for h in node.tracks}.get(track.track_root) for node in columns]
    return {
        "track_root": track.track_root,
        "key": track.track_root[:16],
        "title": track.title or f"Track {track.track_root[:8]}",
        "artist": track.artist or ("Unknown artist" if track.title else "not published here"),
        "is_published": track.title is not None,
        "cells": [_cell(node, holding) for node, holding in zip(columns, held, strict=True)],
        "pips": _pips(track),
        "missing": track.missing,
        "copies": _copies(track),
    }


def _cell(node: Node, holding: Holding | None) -> dict[str, Any]:
    if holding is None or not holding.share:
        return {"share": 0, "pinned": False, "words": "nothing", "operator": node.operator, "id": node.peer_id}
    amount = "all" if holding.share >= 1 else f"{max(1, math.floor(100 * holding.share))} %"
    words = f"{amount}, pinned" if holding.pinned else f"{amount}, not pinned"
    share = round(100 * holding.share, 1)
    return {
        "share": share, "pinned": holding.pinned, "words": words, "operator": node.operator, "id": node.peer_id,
    }  # fmt: skip


def _pips(track: Track) -> list[str]:
    """A mark for each copy that is there or ordered."""
    if track.desired is None:
        marks = ["spare"] * track.held
    else:
        there = min(track.held, track.desired)
        marks = ["held"] * there + ["lacking"] * track.missing + ["spare"] * (track.held - there)
    return marks[:MOST_PIPS]


def _copies(track: Track) -> str:
    return _count(track.held, "copy", "copies") if track.desired is None else f"{track.held} of {track.desired}"


# -- one by one


def _facts(node: Node, now_s: float) -> dict[str, Any]:
    return {
        **_head(node),
        "network": node.network,
        "state_words": "this hub" if node.is_self else STATES[node.state],
        "latency": "" if node.is_self else _latency(node.latency_ms),
        "audit": _audit(node.last_audit, node.auditors, now_s),
        "score": None if node.score is None else round(100 * node.score),
        "gateway": _host(node.gateway),
        "disk": _disk(node),
        "traffic": _traffic(node.traffic),
        "spark": _spark(node.traffic),
        "chain": _chain(node.chain),
        "count": _count(len(node.tracks), "track"),
    }


def _latency(latency_ms: float | None) -> str:
    if latency_ms is None:
        return "distance unknown"
    return f"{latency_ms:.1f} ms" if latency_ms < 10 else f"{latency_ms:.0f} ms"


def _audit(audit: Audit | None, auditors: int, now_s: float) -> str:
    if audit is None:
        return "no audit yet"
    verbs = {"pass": "passed", "fail": "failed", "offline": "not reached", "timed_out": "no answer"}
    by = f", by {_count(auditors, 'node')}" if auditors > 1 else ""
    return f"{verbs.get(audit.outcome, audit.outcome)} {_ago(now_s - audit.at)}{by}"


def _ago(seconds: float) -> str:
    for size, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size:.0f} {name} ago"
    return "just now" if seconds < 10 else f"{seconds // 10 * 10:.0f} s ago"


def _disk(node: Node) -> dict[str, Any] | None:
    if node.held_bytes is None:
        return None
    quota = node.quota_bytes
    share = min(1.0, node.held_bytes / quota) if quota else 0.0
    words = size(node.held_bytes) + (f" of {size(quota)}" if quota else "")
    return {"words": words, "share": round(100 * share, 1)}


def _traffic(traffic: Traffic | None) -> str | None:
    if traffic is None:
        return None
    rate = traffic.sent_per_s + traffic.received_per_s
    moving = f"{size(rate)}/s" if rate >= QUIET_PER_S else "quiet"
    return f"{moving} · gave {size(traffic.sent_bytes)}, took {size(traffic.received_bytes)}"


def _spark(traffic: Traffic | None) -> str:
    """The points of a line, the newest at the right end; empty where there is nothing to draw."""
    if traffic is None or len(traffic.recent) < 2 or max(traffic.recent) < QUIET_PER_S:
        return ""
    highest = max(LEAST_FULL_RATE, *traffic.recent)
    step = SPARK_WIDTH / (len(traffic.recent) - 1)
    return " ".join(
        f"{number * step:.1f},{SPARK_HEIGHT - 1 - (SPARK_HEIGHT - 2) * rate / highest:.1f}"
        for number, rate in enumerate(traffic.recent)
    )


def _chain(standing: ChainStanding | None) -> dict[str, Any] | None:
    if standing is None:
        return None
    token = standing.token.upper() if len(standing.token) <= 8 else "tokens"
    words = f"{amount(standing.stake)} {token}"
    if standing.slashed:
        words += f", lost {amount(standing.slashed)}"
    if standing.jailed_until is not None:
        words += ", in jail"
    elif standing.misses_in_a_row:
        words += f", {_count(standing.misses_in_a_row, 'round')} missed"
    return {"words": words, "is_bad": standing.is_jailed or standing.misses_in_a_row > 0}


def _host(url: str | None) -> str:
    """Host and port of a stranger's URL, or nothing where it is none."""
    try:
        parts = urlsplit(url or "")
        return parts.netloc if parts.scheme in ("http", "https") and parts.hostname else ""
    except ValueError:
        return ""


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def size(count: float) -> str:
    """Bytes as people read them."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            value = count / factor
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{count:.0f} B"
