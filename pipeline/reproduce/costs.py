"""What a cell costs: GPU hours, CPU core hours, disk, from official counts and from what was counted or measured.

A training costs the FLOP that its recipe states; a test the forward passes that it takes. Hours are these divided by
what a GPU keeps up, so decoding has to keep up too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pipeline.reproduce.cells import Cell
from pipeline.reproduce.official import OFFICIAL
from pipeline.reproduce.plan import Desk

GB = 1e9
CLIP_GFLOP = {("baseline", 50): 334, ("st_abn", 50): 618, ("baseline", 101): 683, ("st_abn", 101): 968}
"""A forward pass of one clip of 32 frames of 224 x 224, by network and depth (torch's FLOP counter)."""
STREAM_GFLOP = 11.4
"""A forward pass of one 299 x 299 image through a stream (docs/decisions/0014)."""
PAIRS_A_SECOND = (50.9, 17.6)
"""Pairs of flow of 340 x 256 that one CPU core solves a second, where little moves and where much does
(docs/decisions/0006: denseflow's loop, which costs a CPU what the preset `cuda` does)."""
PARAMETERS = {
    ("st_abn", 50): 55_665_928,
    ("st_abn", 101): 83_570_952,
    ("baseline", 50): 31_991_022,
    ("baseline", 101): 59_896_046,
    ("stream", 0): 21_997_701,
    ("attention", 0): 9_442_817,
}
"""Counted in tests/models and tests/reproduce; of a stream with 101 classes."""
BYTES = 8
"""A weight and its momentum."""
STREAMS, READINGS = 2, 4
"""Streams of a system; passes a stream and place with attention: for the map, with it, without it, blind (0015)."""
INVERSIONS = 4
"""Attention as trained, and spatial, temporal or both inverted: a forward pass each."""
NETWORKS = 3
"""Tested after a fine-tuning: the base, the fine-tuned one, the control."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What cells cost together."""

    training: float = 0.0
    """GPU hours of training, without fine-tuning."""
    finetuning: float = 0.0
    """GPU hours."""
    testing: float = 0.0
    """GPU hours of tests and mining."""
    flow_least: float = 0.0
    """CPU core hours, if little moves."""
    flow_most: float = 0.0
    """CPU core hours, if much moves."""
    frames_gb: float = 0.0
    flow_gb: float = 0.0
    checkpoints_gb: float = 0.0

    @property
    def gpu_hours(self) -> float:
        """All GPU hours."""
        return self.training + self.finetuning + self.testing

    def __add__(self, other: Cost) -> Cost:
        return Cost(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(Cost)})


@dataclass(frozen=True)
class Passes:
    """Forward passes of a test or of mining."""

    videos: int
    words: str
    """What is done with each video."""
    each: int
    """Passes a video."""
    gflop: float
    """A pass; 0 where the network is not known before it is read."""

    @property
    def flop(self) -> float:
        """Of all of them."""
        return self.videos * self.each * self.gflop * 1e9


def cost_of(desk: Desk, cell: Cell, tflops: float) -> Cost:
    """Return what a cell costs where one GPU keeps up `tflops`; people's time is not in it."""
    if cell.kind == "data":
        return Cost(frames_gb=OFFICIAL[cell.name].frames_gb)
    if cell.kind == "flow":
        official = OFFICIAL[cell.data]
        least, most = (official.pairs / rate / 3600 for rate in PAIRS_A_SECOND)
        return Cost(flow_least=least, flow_most=most, flow_gb=official.flow_gb)
    if cell.kind in ("train", "system"):
        recipe = desk.recipe_of(cell)
        return Cost(training=hours_of(recipe, tflops), checkpoints_gb=disk_gb(recipe))
    testing = sum(hours(passes.flop, tflops) for passes in passes_of(desk, cell))
    if cell.kind == "finetune":
        recipe = desk.recipe_of(base_of(desk, cell))
        return Cost(finetuning=2 * hours_of(recipe, tflops), testing=testing, checkpoints_gb=2 * disk_gb(recipe))
    return Cost(testing=testing)


def base_of(desk: Desk, cell: Cell) -> Cell:
    """Return the training that a cell starts from or asks."""
    return next(desk.cells[name] for name in cell.needs if desk.cells[name].kind in ("train", "system"))


def passes_of(desk: Desk, cell: Cell) -> tuple[Passes, ...]:
    """Return the forward passes of a cell outside training; of other cells none."""
    if cell.kind not in ("test", "test-system", "mine", "finetune"):
        return ()
    official = OFFICIAL[cell.data]
    imported = desk.cells[cell.needs[0]].kind == "import"
    gflop = 0.0 if imported else forward_gflop(desk.recipe_of(base_of(desk, cell)))
    inverted = "attention as trained, 3 inversions"
    if cell.kind == "mine":
        return tuple(Passes(videos, "1 clip", 1, gflop) for videos in (official.trained, official.tested))
    if cell.kind == "finetune":
        words = f"{NETWORKS} networks x {INVERSIONS} ({inverted})"
        return (Passes(official.tested, words, NETWORKS * INVERSIONS, gflop),)
    if cell.kind == "test-system":
        recipe, places = desk.recipe_of(base_of(desk, cell)), int(_option(cell, "--places"))
        each = STREAMS * (READINGS if recipe["network"]["attention_channel"] and len(recipe["rounds"]) > 1 else 1)
        return (Passes(official.tested, f"{places} places x {each} passes", places * each, gflop),)
    clips = int(_option(cell, "--protocol").partition("x")[2] or 1)
    ways = INVERSIONS if "--invert" in cell.options else 1
    words = f"{clips} clip{'s' if clips > 1 else ''}" + (f" x {ways} ({inverted})" if ways > 1 else "")
    return (Passes(official.tested, words, clips * ways, gflop),)


def _option(cell: Cell, name: str) -> str:
    return cell.options[cell.options.index(name) + 1]


def forward_gflop(recipe: Mapping[str, Any]) -> float:
    """Return GFLOP of one clip, or of one image of a stream."""
    if "clip" not in recipe:
        return STREAM_GFLOP
    return CLIP_GFLOP[recipe["model"]["arch"], recipe["model"]["depth"]]


def disk_gb(recipe: Mapping[str, Any]) -> float:
    """Return what the checkpoints of a training take: weights and momentum, the kept ones and the latest.

    A system trains both streams in every round, each round in a run of its own, and has attention nets at the end; a
    round of one epoch leaves one checkpoint.
    """
    kept = int(recipe["train"]["keep"]) + 1
    if "clip" in recipe:
        return kept * BYTES * PARAMETERS[recipe["model"]["arch"], recipe["model"]["depth"]] / GB
    weights = PARAMETERS["stream", 0] * sum(min(kept, int(part["epochs"])) for part in recipe["rounds"])
    if recipe["network"]["attention_channel"]:
        weights += PARAMETERS["attention", 0] * min(kept, int(recipe["attention"]["epochs"]))
    return STREAMS * BYTES * weights / GB


def hours_of(recipe: Mapping[str, Any], tflops: float) -> float:
    """Return GPU hours from the FLOP that a recipe states as its cost.

    Raises:
        ValueError: the recipe states no FLOP.
    """
    found = re.match(r"([\d.]+e\d+) FLOP", recipe["expected"]["cost"])
    if found is None:
        raise ValueError(f"{recipe['name']} states no FLOP: {recipe['expected']['cost']}")
    return hours(float(found[1]), tflops)


def hours(flop: float, tflops: float) -> float:
    """Return the hours that a GPU takes which keeps up so many TFLOP/s."""
    return flop / (tflops * 1e12) / 3600
