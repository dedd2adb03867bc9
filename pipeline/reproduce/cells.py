"""Cells: the smallest things that a reproduction runs, each once, whichever tables need it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "data",
    "flow",
    "train",
    "test",
    "mine",
    "annotate",
    "finetune",
    "system",
    "test-system",
    "curves",
    "layers",
    "import",
]

Group = Literal["all", "edited", "other"]
"""Videos of all classes, of those that people edited, or of the others."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One thing to run: a few commands of jobs, and the files that they leave."""

    name: str
    kind: Kind
    title: str
    lane: str
    """Cells of a lane share a run storage, and run one after another."""
    data: str
    """The data set that it is about: ssv2, ssv1, ucf101, hmdb51."""
    needs: tuple[str, ...] = ()
    """Cells before it, by name; of a kind that reads from another one, that one is the first."""
    recipe: str = ""
    """Name of the recipe that it trains."""
    overrides: tuple[str, ...] = ()
    """Fields of the recipe that are changed."""
    options: tuple[str, ...] = ()
    """What else decides its result, as arguments of its job."""
    results: tuple[str, ...] = ()
    """Files below its folder without which it is not done; * stands for any name."""


@dataclass(frozen=True)
class Picked:
    """Whether each video of a test was right, in one reading of a cell's predictions."""

    cell: str
    file: str = "predictions.parquet"
    column: str = "scores"
    inversion: str = "none"
    """Of attention; of files that have inversions."""
    top: int = 1
    group: Group = "all"


@dataclass(frozen=True)
class Drop:
    """How much of one reading another one loses, on the same videos."""

    of: Picked
    to: Picked


@dataclass(frozen=True)
class Seconds:
    """How long the stages of a two-stream system took."""

    cell: str


@dataclass(frozen=True)
class Stated:
    """A number with its interval as a test has stated it, in metrics.json."""

    cell: str
    path: tuple[str, ...]
    """Keys down to value, low and high."""
    counted: tuple[str, ...]
    """Keys down to how many clips it is of."""


Source = Picked | Drop | Seconds | Stated
"""Where a number of ours comes from."""


@dataclass(frozen=True, kw_only=True)
class Bound:
    """What stands for a table: a source for each of its numbers, and the cells of its pictures."""

    key: str
    rows: Mapping[str, Mapping[str, Source]]
    """By row and column."""
    standing: Mapping[str, str]
    """What stands for each row, in words."""
    pictures: Mapping[str, tuple[str, str]]
    """Cell and file, by the picture's name."""
    notes: tuple[str, ...] = ()
    """What has to be known of ours."""

    def cells(self) -> tuple[str, ...]:
        """Names of the cells that its numbers and pictures come from."""
        found = [name for row in self.rows.values() for source in row.values() for name in cells_of(source)]
        return tuple(dict.fromkeys([*found, *(cell for cell, _ in self.pictures.values())]))


def cells_of(source: Source) -> tuple[str, ...]:
    """Names of the cells that a number comes from."""
    if isinstance(source, Drop):
        return (source.of.cell, source.to.cell)
    return (source.cell,)


def closure(cells: Mapping[str, Cell], wanted: tuple[str, ...]) -> tuple[Cell, ...]:
    """Return the wanted cells and all that they need, each after what it needs."""
    found: dict[str, Cell] = {}

    def visit(name: str) -> None:
        if name not in found:
            for before in cells[name].needs:
                visit(before)
            found[name] = cells[name]

    for name in wanted:
        visit(name)
    return tuple(found.values())
