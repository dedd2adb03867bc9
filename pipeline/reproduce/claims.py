"""What the papers claim, and whether it holds on what was measured: paired, on the same videos, with an interval."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.eval.compare import paired
from pipeline.eval.metrics import Interval, bootstrap_mean
from pipeline.reproduce.cells import Drop, Picked, cells_of
from pipeline.reproduce.collect import differences
from pipeline.reproduce.papers import GROUPS, STREAMS, Pipeline
from pipeline.reproduce.plan import Desk
from pipeline.reproduce.rows import edited, stream

Verdict = Literal["holds", "fails", "undecided at this size"]
LEVEL = 0.05
"""Of the test, two-sided."""


@dataclass(frozen=True)
class Part:
    """One comparison: the second ought to be higher."""

    name: str
    first: Picked | Drop
    second: Picked | Drop


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One sentence, and the comparisons that bear on it; all within one pipeline."""

    text: str
    source: str
    pipeline: Pipeline
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Judged:
    """One comparison as it came out."""

    part: Part
    videos: int
    difference: Interval
    """Second minus first, points."""
    gained: int | None
    """Videos that only the second has right; None of drops, which are no answers."""
    lost: int | None
    p: float | None
    """Exact McNemar."""

    @property
    def verdict(self) -> Verdict:
        """Say what interval and test say."""
        return verdict_of(self.difference, self.p)


def verdict_of(difference: Interval, p: float | None = None) -> Verdict:
    """Return whether a difference that ought to be positive is: by its 95 % interval, and by the test if there is one.

    Of few differing videos a bootstrap makes too narrow an interval (five gained and none lost: p = .06, and the whole
    interval above zero), so both have to agree.

    Args:
        difference: second minus first, points.
        p: of McNemar's exact test.
    """
    decided = p is None or p < LEVEL
    if difference.low > 0 and decided:
        return "holds"
    return "fails" if difference.high < 0 and decided else "undecided at this size"


def judge(desk: Desk, claim: Claim) -> tuple[Judged, ...]:
    """Compare; parts whose cells are not done are left out.

    Raises:
        ValueError: readings of other videos, or of another pipeline.
    """
    found = []
    for part in claim.parts:
        names = {*cells_of(part.first), *cells_of(part.second)}
        if all(desk.is_done(desk.cells[name]) for name in names):
            found.append(_judge(desk, part, claim.pipeline))
    return tuple(found)


def _judge(desk: Desk, part: Part, pipeline: Pipeline) -> Judged:
    ids, first_N = differences(desk, part.first, pipeline)
    others, second_N = differences(desk, part.second, pipeline)
    if ids != others:
        raise ValueError(f"{part.name}: both must have answered the same videos")
    if isinstance(part.first, Drop) or isinstance(part.second, Drop):
        return Judged(part, len(ids), bootstrap_mean(100 * (second_N - first_N)), None, None, None)
    pair = paired(first_N.astype(np.bool_), second_N.astype(np.bool_))
    share = pair.difference()
    points = Interval(100 * share.value, 100 * share.low, 100 * share.high)
    return Judged(part, pair.videos, points, pair.gained, pair.lost, pair.p_value())


def summary(judged: tuple[Judged, ...]) -> str:
    """Say in one phrase how a claim fares."""
    counts = {name: sum(one.verdict == name for one in judged) for name in ("holds", "fails", "undecided at this size")}
    told = [f"{name} in {count}" for name, count in counts.items() if count]
    return f"{', '.join(told)} of {len(judged)} comparisons" if judged else "not measured"


def claims_of_papers() -> tuple[Claim, ...]:
    """Return what the papers claim of their tables, a pipeline at a time."""
    return (*_branch(), *_knowledge(), *_inversion(), *_attention())


def _branch() -> Iterator[Claim]:
    parts = [
        Part(f"3D ResNet-{depth[1:]}, {text}", Picked(f"s0-baseline-{depth}-{way}"), Picked(f"s0-stabn-{depth}-{way}"))
        for depth in ("r50", "r101")
        for text, way in (("32", "one"), ("32x2", "two"))
    ]
    yield Claim(text="ST-ABN is above its baseline", source="S0 table 1, top-1", pipeline="S0", parts=tuple(parts))
    parts = [
        Part(f"{version.upper()}, {text}", Picked(f"s1-{version}-baseline-{way}"), Picked(f"s1-{version}-stabn-{way}"))
        for version in ("v1", "v2")
        for text, way in (("32", "one"), ("32+32", "two"))
    ]
    yield Claim(text="ST-ABN is above its baseline", source="S1 table 1, top-1", pipeline="S1", parts=tuple(parts))


def _knowledge() -> Iterator[Claim]:
    def lifted(network: str) -> tuple[Part, ...]:
        return tuple(Part(f"{g} classes", edited(network, group=g), edited("after", group=g)) for g in GROUPS)

    yield Claim(
        text="human knowledge lifts edited and other classes",
        source="S0 table 2, top-1, before against after",
        pipeline="S0",
        parts=lifted("before"),
    )
    yield Claim(
        text="human knowledge lifts them beyond as much training without it",
        source="ours, against the control, which S0 lacks",
        pipeline="S0",
        parts=lifted("control"),
    )


def _inversion() -> Iterator[Claim]:
    drops = {name: Drop(edited(name), edited(name, inversion="spatial")) for name in ("before", "after")}
    yield Claim(
        text="inverting the spatial attention hurts",
        source="S0 table 3, top-1",
        pipeline="S0",
        parts=tuple(Part(f"{name} human knowledge", drop.to, drop.of) for name, drop in drops.items()),
    )
    yield Claim(
        text="it hurts more after human knowledge",
        source="S0 table 3, drop of top-1",
        pipeline="S0",
        parts=(Part("drop before against drop after", drops["before"], drops["after"]),),
    )
    single, double = list[Part](), list[Part]()
    for version in ("v1", "v2"):
        none, spatial, temporal, both = (
            Picked(f"s1-{version}-stabn-one", inversion=how) for how in ("none", "spatial", "temporal", "both")
        )
        single += [
            Part(f"{version.upper()}, spatial", spatial, none),
            Part(f"{version.upper()}, temporal", temporal, none),
        ]
        double += [
            Part(f"{version.upper()}, both against spatial", both, spatial),
            Part(f"{version.upper()}, both against temporal", both, temporal),
        ]
    yield Claim(text="inverting either attention hurts", source="S1 table 2, top-1", pipeline="S1", parts=tuple(single))
    yield Claim(text="inverting both hurts most", source="S1 table 2, top-1", pipeline="S1", parts=tuple(double))


def _attention() -> Iterator[Claim]:
    def against(slot: str, data: str) -> list[Part]:
        title = {"ucf101": "UCF-101", "hmdb51": "HMDB-51"}[data]
        cross = f"{data}-cross"
        return [Part(f"{title}, {part}", stream(f"{data}-{slot}", part), stream(cross, part)) for part in STREAMS]

    yield Claim(
        text="cross attention lifts each stream and the fusion above Two-Stream",
        source="S3 tables 4.1 and 4.2, top-1 (UCF-101's streams are ours)",
        pipeline="S3",
        parts=(*against("two-stream", "hmdb51"), *against("two-stream", "ucf101")),
    )
    yield Claim(
        text="cross attention lifts them beyond as much training without maps",
        source="ours, against the control, which S3 lacks",
        pipeline="S3",
        parts=(*against("control", "hmdb51"), *against("control", "ucf101")),
    )
    yield Claim(
        text="cross attention is above TSN on HMDB-51",
        source="S3 table 4.1, top-1; on UCF-101 the thesis is below TSN",
        pipeline="S3",
        parts=tuple(against("tsn", "hmdb51")),
    )
    parts = []
    for data, title in (("hmdb51", "HMDB-51"), ("ucf101", "UCF-101")):
        for part in STREAMS:
            cross = f"{data}-cross"
            parts.append(Part(f"{title}, {part}", stream(cross, part, "blind"), stream(cross, part)))
    yield Claim(
        text="the networks lean on their maps",
        source="ours: the same networks shown 0.1 in place of maps, which they were trained to expect",
        pipeline="S3",
        parts=tuple(parts),
    )
