"""Whether a claim holds on what was measured: on the same videos, with an interval, and by networks that have learnt.

A network at chance decides nothing (docs/decisions/0021): to be above one that was not trained out is no finding, and
one that has fallen to chance has nothing left to lose. So both sides of a comparison have to be above chance over all
classes, but for a first side that something was taken from: its attention inverted or its maps hidden, where the fall
is what is claimed; or a stream that cannot see what makes the class, where attention is what lifts it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Literal, get_args

import numpy as np

from pipeline.eval.compare import paired
from pipeline.eval.metrics import Interval
from pipeline.reproduce.cells import Drop, Picked, cells_of
from pipeline.reproduce.collect import differences, level, points_of
from pipeline.reproduce.papers import Pipeline
from pipeline.reproduce.plan import Desk

Verdict = Literal["holds", "fails", "undecided at this size", "undecided at chance"]
LEVEL = 0.05
"""Of the test, two-sided."""
CANNOT_SEE: Mapping[str, str] = {"label=motion": "without_spatial", "label=appearance": "without_temporal"}
"""Columns of streams that cannot see the class without the other one's map, by what makes it in synthetic videos."""


@dataclass(frozen=True)
class Part:
    """One comparison: the second ought to be higher."""

    name: str
    first: Picked | Drop
    second: Picked | Drop
    across: bool = False
    """Whether the sides may have been measured under unequal protocols, which are then told."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One sentence, and the comparisons that bear on it; all within one pipeline."""

    text: str
    source: str
    pipeline: Pipeline
    parts: tuple[Part, ...]
    note: str = ""
    """What its intervals and tests do not know."""


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
    void: tuple[str, ...] = ()
    """Networks at chance that leave the comparison without a meaning, each in words."""
    fallen: tuple[str, ...] = ()
    """Those whose being at chance is what is claimed, or by design."""
    protocols: tuple[str, ...] = ()
    """Of the first and the second, where they are not the same."""

    @property
    def verdict(self) -> Verdict:
        """Say what interval and test say, of networks that have learnt something."""
        return "undecided at chance" if self.void else verdict_of(self.difference, self.p)

    @property
    def words(self) -> str:
        """Say the verdict with what has to be known about it."""
        if self.void:
            return f"undecided: {'; '.join(self.void)}"
        return "; ".join((self.verdict, *self.fallen))


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
        ValueError: readings of other videos or data, of another pipeline, or of unequal protocols where these are not
            expected.
    """
    found = []
    for part in claim.parts:
        names = {*cells_of(part.first), *cells_of(part.second)}
        if all(desk.is_done(desk.cells[name]) for name in names):
            found.append(_judge(desk, part, claim.pipeline))
    return tuple(found)


def _judge(desk: Desk, part: Part, pipeline: Pipeline) -> Judged:
    ids, first_N, about = differences(desk, part.first, pipeline)
    others, second_N, other = differences(desk, part.second, pipeline)
    if ids != others:
        raise ValueError(f"{part.name}: both must have answered the same videos")
    if about.passport != other.passport or (about.protocol != other.protocol and not part.across):
        raise ValueError(f"{part.name}: not comparable: {about} and {other}")
    apart = (about.protocol, other.protocol) if about.protocol != other.protocol else ()
    void, fallen = _void(desk, part, pipeline), _fallen(desk, part, pipeline)
    if isinstance(part.first, Drop) or isinstance(part.second, Drop):
        points = points_of(second_N - first_N, 2)  # each drop is -1, 0 or 1
        return Judged(part, len(ids), points, None, None, None, void, fallen, apart)
    pair = paired(first_N.astype(np.bool_), second_N.astype(np.bool_))
    share = pair.difference()
    points = Interval(100 * share.value, 100 * share.low, 100 * share.high)
    return Judged(part, pair.videos, points, pair.gained, pair.lost, pair.p_value(), void, fallen, apart)


def _void(desk: Desk, part: Part, pipeline: Pipeline) -> tuple[str, ...]:
    """What ought to be above chance and is not."""
    first, second = (_network(side) for side in (part.first, part.second))
    asked = [replace(one, inversion="none") for one in (first, second) if one.inversion != "none"]
    if not _may_fall(desk, first):
        asked.append(first)
    return tuple(_at_chance(desk, (*asked, second), pipeline))


def _fallen(desk: Desk, part: Part, pipeline: Pipeline) -> tuple[str, ...]:
    """What is at chance because something was taken from it, or it cannot see the class."""
    first = _network(part.first)
    return tuple(_at_chance(desk, (first,), pipeline)) if _may_fall(desk, first) else ()


def _network(side: Picked | Drop) -> Picked:
    """The reading that says whether a side has learnt something: over all classes, since edited ones are its worst."""
    return replace(side.of if isinstance(side, Drop) else side, group="all")


def _may_fall(desk: Desk, first: Picked) -> bool:
    """Whether the side that ought to be lower may be at chance."""
    made = desk.world.made.get(desk.cells[first.cell].data, ())
    cannot_see = any(first.column == column for cause, column in CANNOT_SEE.items() if cause in made)
    return cannot_see or first.inversion != "none" or first.column.startswith("blind_")


def _at_chance(desk: Desk, asked: tuple[Picked, ...], pipeline: Pipeline) -> Iterator[str]:
    for picked in dict.fromkeys(asked):
        found = level(desk, picked, pipeline)
        if found.is_chance:
            share, chance = (f"{value:.2f} %" for value in (found.value.value, found.chance))
            yield f"{named(picked)} is at chance ({share}; chance {chance})"


def named(picked: Picked) -> str:
    """Say which network it is, and what of it."""
    stem = PurePosixPath(picked.file).stem.removeprefix("predictions").removeprefix("-")
    column = "" if picked.column == "scores" else picked.column.replace("_", ", ")
    inverted = "" if picked.inversion == "none" else f"{picked.inversion} inverted"
    return ", ".join(filter(None, (picked.cell, stem, column, inverted)))


def summary(judged: tuple[Judged, ...]) -> str:
    """Say in one phrase how a claim fares."""
    counts = {name: sum(one.verdict == name for one in judged) for name in get_args(Verdict)}
    told = [f"{name} in {count}" for name, count in counts.items() if count]
    return f"{', '.join(told)} of {len(judged)} comparisons" if judged else "not measured"
