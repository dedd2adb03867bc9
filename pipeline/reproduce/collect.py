"""Result files to numbers with intervals, each with the protocol and the passport that it was measured under."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from pipeline.core import storage
from pipeline.data.records import HIDDEN_LABEL
from pipeline.eval.metrics import Interval, bootstrap_mean, rank_of, wilson
from pipeline.reproduce.cells import Bound, Cell, Drop, Picked, Seconds, Source, Stated, cells_of, closure
from pipeline.reproduce.papers import Pipeline, Table
from pipeline.reproduce.plan import Desk, matches

SAMPLING: Mapping[Pipeline, str] = {"S0": "(dense)", "S1": "(uniform)"}
"""What a protocol of each pipeline says of its clips; two streams have places and no clips."""


@dataclass(frozen=True)
class About:
    """Under what something was measured."""

    protocol: str
    passport: str


@dataclass(frozen=True)
class Reading:
    """Which videos were right, by id, in one reading of predictions."""

    hits: Mapping[str, bool]
    classes: int
    about: About
    constant: float
    """Share of videos that an answer which is always the same gets right: 1 of K where classes are equally frequent."""

    def values(self) -> npt.NDArray[np.float64]:
        """0 or 1 a video, in the order of the ids."""
        return np.array([self.hits[video] for video in sorted(self.hits)], np.float64)


@dataclass(frozen=True)
class Level:
    """Where a network stands over all classes."""

    value: Interval
    """Percent."""
    chance: float
    """What the commonest class alone would get, percent."""

    @property
    def is_chance(self) -> bool:
        """True where the interval includes chance or lies below it."""
        return self.value.low <= self.chance


@dataclass(frozen=True)
class Figure:
    """One number of ours."""

    value: Interval
    """In the unit; the interval of seconds is the value itself."""
    videos: int
    about: About
    unit: Literal["%", "s", "of 1"] = "%"
    """of 1: an area under a curve of probabilities or of truth, or a difference of two."""
    trivial: bool = False
    """A top-5 among five classes or fewer, which says nothing."""
    is_chance: bool = False
    """Of a network that is at chance over all classes."""


@dataclass(frozen=True)
class Filled:
    """A table with what has been measured of it."""

    table: Table
    bound: Bound
    figures: Mapping[tuple[str, str], Figure]
    """By row and column; what is absent is not measured yet."""
    lacking: Mapping[str, str]
    """Why a row is not whole, by row."""
    pictures: Mapping[str, str]
    """Files by name."""


def fill(desk: Desk, table: Table, bound: Bound) -> Filled:
    """Return what is known of a table.

    Raises:
        ValueError: a number of ours was measured in another pipeline's way than the table's.
    """
    figures: dict[tuple[str, str], Figure] = {}
    lacking: dict[str, str] = {}
    for row, sources in bound.rows.items():
        for column, source in sources.items():
            if missing := [name for name in cells_of(source) if not desk.is_done(desk.cells[name])]:
                lacking[row] = why(desk, missing[0])
            else:
                figures[row, column] = measured(desk, source, table.pipeline)
    pictures = {}
    for name, (cell, file) in bound.pictures.items():
        if desk.is_done(desk.cells[cell]) and (found := matches(desk.folder(desk.cells[cell]), file)):
            pictures[name] = found[0]
    return Filled(table, bound, figures, lacking, pictures)


def why(desk: Desk, name: str) -> str:
    """Say why a cell is not done."""
    hindrances = [text for cell in closure(desk.cells, (name,)) if (text := desk.hindrance(cell))]
    return "; ".join(dict.fromkeys(hindrances)) or f"{name} has not been run to its end"


def measured(desk: Desk, source: Source, pipeline: Pipeline) -> Figure:
    """Return a number of ours, in percent, with a 95 % bootstrap interval over videos.

    Args:
        desk: where the results lie.
        source: of the number; its cells are done.
        pipeline: whose protocol it must have been measured under.

    Raises:
        ValueError: it was measured under another one's.
    """
    if isinstance(source, Seconds):
        return _seconds(desk, source)
    if isinstance(source, Stated):
        return _stated(desk, source)
    if isinstance(source, Drop):
        first, second = read(desk, source.of, pipeline), read(desk, source.to, pipeline)
        points = points_of(_differences(first, second), 1)
        trivial = source.of.top >= first.classes
        return Figure(points, len(first.hits), first.about, trivial=trivial)
    one = read(desk, source, pipeline)
    trivial = source.top >= one.classes
    is_chance = not trivial and level(desk, source, pipeline).is_chance
    return Figure(_share(one.values()), len(one.hits), one.about, trivial=trivial, is_chance=is_chance)


def level(desk: Desk, picked: Picked, pipeline: Pipeline) -> Level:
    """Return where a network stands over all classes: of some alone it may be at its worst, and be no worse for it."""
    whole = read(desk, replace(picked, group="all"), pipeline)
    return Level(_share(whole.values()), 100 * whole.constant)


def _share(values: npt.NDArray[np.float64]) -> Interval:
    """A share in percent; Wilson's interval where all or none are right, since a bootstrap would be certain of it."""
    if len(values) and values.min() == values.max():
        found = wilson(int(values.sum()), len(values))
        return Interval(*(100 * part for part in (found.value, found.low, found.high)))
    return bootstrap_mean(100 * values)


def points_of(values: npt.NDArray[np.float64], reach: int) -> Interval:
    """Return the mean of differences in points.

    Args:
        values: a video.
        reach: how far from 0 a value can be; with it, differences that are all equal get an exact bound.
    """
    return bootstrap_mean(100 * values, within=(-100.0 * reach, 100.0 * reach))


def _differences(first: Reading, second: Reading) -> npt.NDArray[np.float64]:
    """What the first has more than the second, a video.

    Raises:
        ValueError: they are of other videos, or were measured otherwise.
    """
    if first.hits.keys() != second.hits.keys():
        raise ValueError("two readings can be compared on the same videos only")
    if first.about != second.about:
        raise ValueError(f"not comparable: {first.about} and {second.about}")
    return first.values() - second.values()


def differences(
    desk: Desk, source: Picked | Drop, pipeline: Pipeline
) -> tuple[list[str], npt.NDArray[np.float64], About]:
    """Return ids, values a video (right or not, or of a drop how much is lost: -1, 0 or 1) and how it was measured."""
    if isinstance(source, Drop):
        first, second = read(desk, source.of, pipeline), read(desk, source.to, pipeline)
        return sorted(first.hits), _differences(first, second), first.about
    one = read(desk, source, pipeline)
    return sorted(one.hits), one.values(), one.about


def read(desk: Desk, picked: Picked, pipeline: Pipeline) -> Reading:
    """Read predictions; videos without a published label are left out.

    Raises:
        ValueError: they were made in another pipeline's way, or are not of this reading.
    """
    cell = desk.cells[picked.cell]
    about = about_of(desk, cell, picked.file)
    mark = SAMPLING.get(pipeline, "")
    others = [text for other, text in SAMPLING.items() if other != pipeline]
    if mark not in about.protocol or any(text in about.protocol for text in others):
        raise ValueError(f"{cell.name} was measured with {about.protocol}, which is not the pipeline of {pipeline}")
    table = pq.read_table(**_file(desk, cell, picked.file, picked))
    if not len(table):
        raise ValueError(f"{cell.name} holds no predictions with inversion {picked.inversion}")
    label_N, scores_NK = table["label"].to_numpy(), np.stack(table[picked.column].to_numpy())
    known_N = label_N != HIDDEN_LABEL
    chosen_N = known_N & _members(desk, cell, picked, label_N)
    ranks = rank_of(scores_NK[chosen_N], label_N[chosen_N])
    ids = np.array(table["id"].to_pylist())[chosen_N]
    hits = dict(zip(ids.tolist(), (ranks < picked.top).tolist(), strict=True))
    constant = np.sort(np.bincount(label_N[chosen_N]))[::-1][: picked.top].sum() / max(1, len(hits))
    return Reading(hits, scores_NK.shape[1], about, float(constant))


def _file(desk: Desk, cell: Cell, file: str, picked: Picked | None = None) -> dict[str, object]:
    """Arguments that open a file of predictions."""
    filesystem, path = storage.resolve(matches(desk.folder(cell), file)[0])
    found: dict[str, object] = {"filesystem": filesystem}
    if picked is None:
        return found | {"where": path}
    if cell.kind != "test-system":
        found["filters"] = [("inversion", "=", picked.inversion)]
    return found | {"source": path, "columns": ["id", "label", picked.column]}


def _members(desk: Desk, cell: Cell, picked: Picked, label_N: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    if picked.group == "all":
        return np.ones(len(label_N), np.bool_)
    edited = storage.read_json(storage.join(desk.folder(cell), "metrics.json"))["edited_classes"]
    within_N: npt.NDArray[np.bool_] = np.isin(label_N, edited)
    return within_N if picked.group == "edited" else ~within_N


def about_of(desk: Desk, cell: Cell, file: str) -> About:
    """Return under what a cell's predictions were made."""
    metadata = pq.read_schema(**_file(desk, cell, file)).metadata
    return About(*(metadata[f"star.{name}".encode()].decode() for name in ("protocol", "passport")))


def _seconds(desk: Desk, source: Seconds) -> Figure:
    """What the stages of a system took, of a resumed one its last attempt, beside whatever else ran."""
    cell = desk.cells[source.cell]
    total = float(sum(_stage_seconds(desk, cell)))
    about = About(
        "wall-clock time of all stages, each of its last attempt, beside another cell", desk.passport(cell.data)
    )
    return Figure(Interval(total, total, total), 0, about, unit="s")


def _stated(desk: Desk, source: Stated) -> Figure:
    """What a test has stated, as it stands."""
    cell = desk.cells[source.cell]
    (pattern,) = (result for result in cell.results if result.endswith("metrics.json"))
    numbers = storage.read_json(matches(desk.folder(cell), pattern)[0])
    found = _down(numbers, source.path)
    value = Interval(*(float(found[part]) for part in ("value", "low", "high")))
    about = About(numbers["protocol"], numbers["passport"])
    return Figure(value, int(_down(numbers, source.counted)), about, unit="of 1")


def _down(numbers: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    for key in path:
        numbers = numbers[key]
    return numbers


def _stage_seconds(desk: Desk, cell: Cell) -> Iterator[float]:
    for uri in matches(desk.folder(cell), "stages/*.json"):
        yield float(storage.read_json(uri)["seconds"])
