"""Which cells are done, which are left, and where each of them lies.

A cell's key is a digest over its recipe, its data's passport, its protocol, the revision of its kind and the keys of
the cells that it reads. Its folder carries the key, so another recipe or other data never finds what belongs to these.
"""

from __future__ import annotations

import contextlib
import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from pipeline.core import storage
from pipeline.data.store.published import MANIFEST
from pipeline.flow.dataset import FLOW
from pipeline.reproduce.cells import Cell, Kind, closure
from pipeline.reproduce.world import World

State = Literal["done", "to run", "waits", "blocked"]
"""waits: its key is known only when its data are prepared and their flow is there. blocked: no command of ours can make
what it needs."""

ASIDE = ("compute", "tracking", "expected", "flow_root")
"""Parts of a recipe that say where and how conveniently it runs, or what others expect, and not what it computes."""
ASIDE_WITHIN = {"data": ("root",), "train": ("checkpoint_minutes", "agree_every", "keep", "log_every")}
REVISIONS: Mapping[Kind, int] = MappingProxyType({})
"""How often what the jobs of a kind of cell compute has changed; kinds that are not here, never.

A key knows recipes, arguments and data, and no code. So whoever changes what comes out of the same arguments - of a
network, a loss, an evaluation, make_synth - raises the number of the kinds that it comes out of; what is made from them
follows. Data and flow of people are known by their passports instead.
"""
SHORT = 8
"""Letters of a key in a name."""


@dataclass(frozen=True, kw_only=True)
class Desk:
    """What a reproduction is asked for, and where it works."""

    world: World
    cells: Mapping[str, Cell]
    out: str
    """Folder or URI of all that is made, absolute."""
    recipe_of: Callable[[Cell], Mapping[str, Any]]
    """The recipe of a cell, its overrides applied, as nested dictionaries."""
    given: Mapping[str, str]
    """Prepared data sets that people bring, by name."""
    batches: tuple[str, ...] = ()
    """Sealed batches that people bring."""
    weights: Mapping[str, str] = field(default_factory=dict)
    """Files or URLs of first weights by torchvision's name of the network."""
    _known: dict[str, str] = field(default_factory=dict, repr=False, compare=False)
    """Passports and keys that have been found: data sets are not exchanged while a desk works."""

    def storage(self, cell: Cell) -> str:
        """Return the run storage of a cell's lane."""
        return storage.join(self.out, "runs", cell.lane)

    def data_root(self, name: str) -> str:
        """Return where a prepared data set lies or will lie; empty when nobody has said."""
        if not self.world.is_synth:
            return self.given.get(name, "")
        return storage.join(self.out, "data", f"{name}-{self.key(self.cells[name])[:SHORT]}", "prepared")

    def passport(self, name: str) -> str:
        """Return the passport of a prepared data set; empty when it is not prepared."""
        root = self.data_root(name)
        if root and root not in self._known:
            with contextlib.suppress(FileNotFoundError):
                self._known[root] = str(storage.read_json(storage.join(root, MANIFEST))["passport"])
        return self._known.get(root, "")

    def key(self, cell: Cell) -> str:
        """Return the digest of what a cell is; empty while its data are not prepared, or their flow is not there."""
        if cell.kind == "data" and self.world.is_synth:
            return storage.sha256_json([cell.kind, cell.options, *self._revision(cell)])
        passport = self.passport(cell.data)
        if not passport or cell.name in self._known:
            return self._known.get(cell.name, "")
        before = [self.key(self.cells[name]) for name in cell.needs]
        flow = self._flow(cell)
        if "" in (*before, *flow):
            return ""
        recipe = identity(self.recipe_of(cell)) if cell.recipe else {}
        given = self.batches if cell.kind == "annotate" else ()
        parts = [cell.kind, recipe, cell.overrides, cell.options, given, passport, before, *flow]
        parts += self._revision(cell)
        return self._known.setdefault(cell.name, storage.sha256_json(parts))

    def _revision(self, cell: Cell) -> list[str]:
        """The number of its kind; nothing of a kind that has never changed, whose keys stay what they were."""
        by_passport = not self.world.is_synth and cell.kind in ("data", "flow")
        return [f"revision {REVISIONS[cell.kind]}"] if cell.kind in REVISIONS and not by_passport else []

    def _flow(self, cell: Cell) -> list[str]:
        """The passport of a flow set, empty while there is none: whoever made it, it is the same in every process.

        The synth bench makes its own from frames and options that are in the key already.
        """
        if cell.kind != "flow" or self.world.is_synth:
            return []
        sets = self.flow_sets(cell)
        return [str(storage.read_json(sets[0])["passport"]) if len(sets) == 1 else ""]

    def flow_sets(self, cell: Cell) -> list[str]:
        """Return the manifests of the flow beside the frames; a training takes the only one."""
        return matches(self.folder(cell), f"*/{MANIFEST}") if self.passport(cell.data) else []

    def files_of(self, cell: Cell) -> list[str]:
        """Return the files or URLs that a training's first weights are read from."""
        recipe = self.recipe_of(cell) if cell.recipe else {}
        name = ""
        if cell.kind == "train" and recipe["init"]["source"] == "imagenet2d":
            name = f"resnet{recipe['model']['depth']}"
        elif cell.kind == "system" and recipe["spatial"]["init"]["source"] == "imagenet":
            name = "inception_v3"
        return [self.weights[name]] if name in self.weights else []

    def run(self, cell: Cell) -> str:
        """Return the name of the run or system that a cell trains."""
        return f"{cell.name}-{self.key(cell)[:SHORT]}"

    def folder(self, cell: Cell) -> str:
        """Return the folder that a cell's results lie in."""
        if cell.kind == "data":
            return self.data_root(cell.name)
        if cell.kind == "flow":
            return storage.join(self.data_root(cell.data), FLOW)
        if cell.kind in ("train", "system"):
            return storage.join(self.storage(cell), self.run(cell))
        return storage.join(self.out, "cells", self.run(cell))

    def record_uri(self, cell: Cell) -> str:
        """Return the file that says that a cell is done, and what it cost."""
        return storage.join(self.out, "cells", f"{self.run(cell)}.json")

    def record(self, cell: Cell) -> dict[str, Any]:
        """Return what was recorded of a cell; empty when nothing was."""
        try:
            found: dict[str, Any] = storage.read_json(self.record_uri(cell))
        except FileNotFoundError:
            return {}
        return found

    def is_done(self, cell: Cell) -> bool:
        """True when a cell's results are there."""
        if cell.kind == "data":
            return bool(self.passport(cell.name))
        if cell.kind == "flow" and not self.world.is_synth:
            return len(self.flow_sets(cell)) == 1
        if cell.kind == "annotate" and self.batches:
            return True
        return bool(self.key(cell) and self.record(cell)) and not self.lacking(cell)

    def lacking(self, cell: Cell) -> list[str]:
        """Return the results of a cell that are not there."""
        return [pattern for pattern in cell.results if not matches(self.folder(cell), pattern)]

    def hindrance(self, cell: Cell) -> str:
        """Say what only people can bring; empty when commands can make the cell once those before it are done."""
        if self.is_done(cell):
            return ""
        if cell.kind == "data" and not self.world.is_synth:
            return f"its data are not given: --data {cell.name}=ROOT"
        if cell.kind == "flow" and not self.world.is_synth and (several := self.flow_sets(cell)):
            folders = ", ".join(storage.parent(one) for one in several)
            return f"a training takes the only flow set beside its frames: leave one of {folders}"
        if cell.kind == "annotate" and not self.world.is_synth:
            return "people annotate what was mined (jobs/serve_annotation.py); then --batches URI"
        return ""

    def hindrances(self, cell: Cell) -> list[str]:
        """Return what only people can bring for a cell and all that it needs, each thing once."""
        found = [self.hindrance(one) for one in closure(self.cells, (cell.name,))]
        return list(dict.fromkeys(filter(None, found)))

    def state(self, cell: Cell) -> State:
        """Return how a cell stands."""
        if self.is_done(cell):
            return "done"
        if self.hindrances(cell):
            return "blocked"
        return "to run" if self.key(cell) else "waits"

    def is_ready(self, cell: Cell) -> bool:
        """True when all that a cell needs is done, and it is not."""
        return not self.is_done(cell) and all(self.is_done(self.cells[name]) for name in cell.needs)

    def batch_folders(self, annotated: Cell) -> tuple[str, ...]:
        """Return the sealed batches that a fine-tuning learns from."""
        if self.batches:
            return self.batches
        return tuple(storage.parent(found) for found in matches(self.folder(annotated), "batches/*/manifest.json"))


def identity(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a recipe decides its result."""
    kept = {key: value for key, value in recipe.items() if key not in ASIDE}
    for section, fields in ASIDE_WITHIN.items():
        if section in kept:
            kept[section] = {key: value for key, value in kept[section].items() if key not in fields}
    return kept


def matches(root: str, pattern: str) -> list[str]:
    """Return the files below a folder whose path fits, * standing for any one name; in the order of their names."""
    first, _, rest = pattern.partition("/")
    if "*" not in first:
        found = [storage.join(root, first)] if storage.exists(storage.join(root, first)) else []
    else:
        names = sorted(str(entry.base_name) for entry in storage.entries(root))
        found = [storage.join(root, name) for name in names if fnmatch.fnmatchcase(name, first)]
    return found if not rest else [inner for folder in found for inner in matches(folder, rest)]


def left(desk: Desk, wanted: Sequence[str]) -> tuple[Cell, ...]:
    """Return the cells to run for the wanted ones, each after what it needs; those that are blocked are not in it."""
    return tuple(cell for cell in closure(desk.cells, tuple(wanted)) if desk.state(cell) in ("to run", "waits"))
