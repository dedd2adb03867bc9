"""What a row needs that is not there yet: files, weights, published checkpoints, GPU hours, disk; all without running.

Counts are official ones, costs the recipes' own, sizes measured in docs/decisions/0003 and 0013.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.data.listing import hmdb51, ssv1, ssv2, ucf101
from pipeline.reproduce.cells import Cell, closure
from pipeline.reproduce.plan import Desk
from pipeline.reproduce.world import DATA

GB = 1e9


@dataclass(frozen=True, kw_only=True)
class Official:
    """An official data set."""

    metadata: tuple[str, ...]
    """Its official files."""
    beside: str
    """Folder below the videos' root where those may lie too."""
    videos: str
    """Folder of the videos, and what they are."""
    splits: str
    """Counts."""
    frames_gb: float | None
    """Prepared frames; None: not measured."""
    flow_gb: float | None = None


OFFICIAL: Mapping[str, Official] = {
    "ssv2": Official(
        metadata=tuple(f"{ssv2.PREFIX}{part}.json" for part in ("labels", "train", "validation", "test")),
        beside=ssv2.METADATA_FOLDERS[0],
        videos=f"{ssv2.VIDEO_FOLDERS[0]}/ID.webm",
        splits="220,847 videos: train 168,913, validation 24,777, test 27,157 without labels",
        frames_gb=290,
    ),
    "ssv1": Official(
        metadata=tuple(f"{ssv1.PREFIX}{part}.csv" for part in ("labels", "train", "validation", "test")),
        beside=ssv1.METADATA_FOLDERS[0],
        videos=f"{ssv1.FRAME_FOLDERS[0]}/ID/00001.jpg and on",
        splits="train 86,017, validation 11,522, and the test part without labels",
        frames_gb=None,
    ),
    "ucf101": Official(
        metadata=("classInd.txt", *(f"{part}list{fold:02d}.txt" for part in ("train", "test") for fold in (1, 2, 3))),
        beside=ucf101.METADATA_FOLDERS[0],
        videos=f"{ucf101.VIDEO_FOLDERS[0]}/Class/v_Class_g01_c01.avi",
        splits="13,320 videos: train 9,537, test 3,783 in fold 1 (9,586, 3,734 in fold 2; 9,624, 3,696 in fold 3)",
        frames_gb=67,
        flow_gb=17,
    ),
    "hmdb51": Official(
        metadata=("CLASS_test_split1.txt, 2 and 3 for each of 51 classes",),
        beside=hmdb51.METADATA_FOLDERS[0],
        videos=f"{hmdb51.VIDEO_FOLDERS[0]}/class/NAME.avi",
        splits="6,766 videos: train 3,570, test 1,530, unused 1,666 in every fold",
        frames_gb=17,
        flow_gb=4,
    ),
}
"""Sizes: 10.1 million frames of V2, 2.5 million of UCF-101, .63 million of HMDB-51; 27 kB each, 7 kB a pair of flow."""
INITIAL = {"imagenet2d": "torchvision's resnet{depth} of ImageNet (IMAGENET1K_V1)", "random": ""}
STREAM_INITIAL = {"imagenet": "torchvision's inception_v3 of ImageNet (IMAGENET1K_V1)", "random": ""}
AUTHORS = {
    "s0-stabn-r50": "checkpoint-*.pt of abn_resnet50",
    "s0-stabn-r101": "checkpoint-*.pt of abn_resnet101",
}
"""What the authors' second implementation writes; the papers' own checkpoints of other rows are not known to exist."""
PARAMETERS = {
    ("st_abn", 50): 55_665_928,
    ("st_abn", 101): 83_570_952,
    ("baseline", 50): 31_991_022,
    ("baseline", 101): 59_896_046,
    ("stream", 0): 21_997_701,
}
"""Counted in tests/models; of a stream with 101 classes."""
BYTES = 8
"""A weight and its momentum."""
PEOPLE = "about 2,400 training clips edited by people (2,396 by 74 in S0): mine, serve, seal; then --batches URI"


def needs_of(desk: Desk, cells: tuple[str, ...], tflops: float) -> list[str]:
    """Return what a row still needs, one line each; empty when all of it is done.

    Args:
        desk: where it works.
        cells: names of the cells that the row's numbers come from.
        tflops: TFLOP/s that a GPU keeps up.
    """
    left = [cell for cell in closure(desk.cells, cells) if not desk.is_done(cell)]
    if desk.world.is_synth:
        return [f"{cell.name}: {cell.title} ({_state(desk, cell)})" for cell in left]
    return [line for cell in left for line in _lines(desk, cell, tflops)]


def _state(desk: Desk, cell: Cell) -> str:
    told = {"waits": "after its data", "to run": "to run"}
    return told.get(desk.state(cell), "needs people")


def _lines(desk: Desk, cell: Cell, tflops: float) -> Iterator[str]:
    if cell.kind == "data":
        yield f"data {cell.name}: {DATA[cell.name]}, {OFFICIAL[cell.name].splits}"
    elif cell.kind == "flow":
        gb = OFFICIAL[cell.data].flow_gb
        yield f"flow: jobs/extract_flow.py {' '.join(cell.options)} on the prepared {DATA[cell.data]}, about {gb:g} GB"
    elif cell.kind in ("train", "system"):
        yield from _training_lines(cell.recipe, desk.recipe_of(cell), tflops)
        yield _published(cell)
    elif cell.kind == "annotate":
        yield f"edits: {PEOPLE}"
    elif cell.kind == "finetune":
        base = next(desk.cells[name] for name in cell.needs if desk.cells[name].kind == "train")
        hours = 2 * hours_of(desk.recipe_of(base), tflops)
        yield f"fine-tuning and its control: at most as long as training, each; {hours:,.1f} GPU hours for both"


def _published(cell: Cell) -> str:
    if cell.kind == "system":
        return "  published checkpoint: none; the thesis came without code"
    found = AUTHORS.get(cell.name)
    told = f"the authors' {found}, with --checkpoints FOLDER" if found else "none is known of this row"
    return f"  published checkpoint: {told}"


def data_lines(name: str) -> list[str]:
    """Return where the files of a data set belong, and how it is prepared."""
    official = OFFICIAL[name]
    size = "not measured" if official.frames_gb is None else f"about {official.frames_gb:g} GB"
    return [
        f"{name}: {DATA[name]}, {official.splits}",
        f"  official files: {', '.join(official.metadata)}",
        f"    beside the videos, in {official.beside}/ there, or in the folder given with --metadata",
        f"  videos: {official.videos}",
        f"  then jobs/prepare_data.py --name {name} --source VIDEOS --out ROOT, and --data {name}=ROOT here",
        f"  disk for prepared frames: {size}",
    ]


def _training_lines(name: str, recipe: Mapping[str, Any], tflops: float) -> Iterator[str]:
    compute = recipe["compute"]
    cpus = compute["data_cpus"] + compute["workers"] * compute["cpus_per_worker"]
    hours = hours_of(recipe, tflops)
    yield f"training {name}: {recipe['expected']['cost']}, {hours:,.1f} GPU hours where one keeps up {tflops:g} TFLOP/s"
    yield f"  machines: {compute['workers']} GPUs and {cpus:g} CPUs, as the recipe asks"
    if "clip" in recipe:
        first = INITIAL[recipe["init"]["source"]].format(depth=recipe["model"]["depth"])
    else:
        first = STREAM_INITIAL[recipe["spatial"]["init"]["source"]]
    yield f"  first weights: {first or 'none'}, downloaded, or its file in --checkpoints FOLDER"
    yield f"  disk for checkpoints: {disk_gb(recipe):.1f} GB"


def disk_gb(recipe: Mapping[str, Any]) -> float:
    """Return what the checkpoints of a training take: weights and momentum, the kept ones and the latest."""
    kept = int(recipe["train"]["keep"]) + 1
    if "clip" in recipe:
        return kept * BYTES * PARAMETERS[recipe["model"]["arch"], recipe["model"]["depth"]] / GB
    return kept * BYTES * 2 * len(recipe["rounds"]) * PARAMETERS["stream", 0] / GB


def hours_of(recipe: Mapping[str, Any], tflops: float) -> float:
    """Return GPU hours from the FLOP that a recipe states as its cost.

    Raises:
        ValueError: the recipe states no FLOP.
    """
    found = re.match(r"([\d.]+e\d+) FLOP", recipe["expected"]["cost"])
    if found is None:
        raise ValueError(f"{recipe['name']} states no FLOP: {recipe['expected']['cost']}")
    return float(found[1]) / (tflops * 1e12) / 3600
