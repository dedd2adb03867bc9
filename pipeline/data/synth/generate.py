"""Makes a synthetic data set: every video in a process of a pool, the official files, the truth, and a marker last.

Each video depends on the data set's config and seed and on its own number alone, so that the files are the same bytes
whatever the number of processes.
"""

import functools
import json
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import storage
from pipeline.core.config import from_dict, to_dict
from pipeline.core.errors import UserError, problem
from pipeline.data.synth.config import SynthConfig
from pipeline.data.synth.encode import write_frames, write_video
from pipeline.data.synth.faults import Fault, choose_faults, plant_fault, write_fault_list
from pipeline.data.synth.layouts import Layout, Planned, class_names, official_files, plan
from pipeline.data.synth.render import object_boxes, render_frame
from pipeline.data.synth.scene import Scene, draw_scene

MARKER = "synth.json"
"""Written last; holds the arguments."""
UNFINISHED = "synth.unfinished.json"
"""Holds the arguments while the videos are being made; the same call starts over, another one is refused."""
TRUTH = "truth.parquet"
TRUTH_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("path", pa.string()),
        ("label", pa.int32()),
        ("class_name", pa.string()),
        ("split", pa.list_(pa.string())),
        ("number", pa.int64()),
        ("frames", pa.int32()),
        ("fps", pa.int32()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("active", pa.list_(pa.bool_())),
        ("x", pa.list_(pa.float32())),
        ("y", pa.list_(pa.float32())),
        ("boxes", pa.list_(pa.list_(pa.list_(pa.float32(), 4)))),
        ("fault", pa.string()),
    ]
)
"""One row a listed video. `active`, `x`, `y` (centre of the object, pixels) and `boxes` (of all that is seen of it, see
`render.object_boxes`) have an entry a frame; `label` is true even where the metadata hides it; `fault` is empty or the
kind of fault that was planted afterwards."""


@dataclass(frozen=True)
class SynthRequest:
    """What a synthetic data set is made from."""

    layout: Layout
    config: SynthConfig
    seed: int = 0
    faults: int = 0
    """Broken files of every kind."""


def make(out: Path, request: SynthRequest, workers: int = 1) -> bool:
    """Make the data set below `out`, or return False when it is already there, made by the same request.

    Raises:
        UserError: `out` holds something else, or there are fewer training videos than faults to plant.
    """
    arguments = to_dict(request)
    if _read(out / MARKER) == arguments:
        return False
    _refuse_others(out, arguments)
    planned = plan(request.config, request.layout, request.seed)
    faults = choose_faults(planned, request.layout, request.faults)

    out.mkdir(parents=True, exist_ok=True)
    storage.write_json(str(out / UNFINISHED), arguments)
    for folder in {(out / video.path).parent for video in planned}:
        folder.mkdir(parents=True, exist_ok=True)
    scenes = [draw_scene(request.config, video.subject, (request.seed, video.number)) for video in planned]
    _make_videos(out, request, planned, workers)
    for fault in faults:
        plant_fault(out, fault, request.seed)
    for name, text in official_files(request.layout, request.config, planned, [_noun(s) for s in scenes]).items():
        (out / name).write_bytes(text.encode())
    _write_truth(out / TRUTH, request, planned, scenes, faults)
    if faults:
        write_fault_list(out, faults)
    (out / UNFINISHED).rename(out / MARKER)
    return True


def read_request(out: Path) -> SynthRequest:
    """The request that a finished data set was made from.

    Raises:
        UserError: there is no finished data set.
    """
    arguments = _read(out / MARKER)
    if arguments is None:
        raise UserError(
            problem(
                "No finished synthetic data set was found",
                got=str(out),
                allowed=f"a folder with {MARKER}",
                fix="make it with jobs/make_synth.py",
            )
        )
    return from_dict(SynthRequest, arguments)


def scene_of(request: SynthRequest, planned: Planned) -> Scene:
    """The scene of one video: what `render_frame` and `optical_flow` need."""
    return draw_scene(request.config, planned.subject, (request.seed, planned.number))


def make_video(out: Path, request: SynthRequest, video: Planned) -> None:
    """Draw and encode one video."""
    scene = scene_of(request, video)
    frames = (render_frame(scene, frame) for frame in range(scene.frames))
    if request.layout == "ssv1":
        write_frames(out / video.path, frames)
    else:
        write_video(out / video.path, frames, scene.fps)


def _make_videos(out: Path, request: SynthRequest, planned: Sequence[Planned], workers: int) -> None:
    job = functools.partial(make_video, out, request)
    if workers <= 1:
        for video in planned:
            job(video)
        return
    # Spawned, not forked: decoders and threads of the parent would not survive a fork.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for _ in pool.map(job, planned, chunksize=8):
            pass


def _noun(scene: Scene) -> str:
    main = scene.things[-1]
    return f"{main.colour} {main.shape}"


def _write_truth(
    path: Path, request: SynthRequest, planned: Sequence[Planned], scenes: Sequence[Scene], faults: Sequence[Fault]
) -> None:
    kinds = {fault.video.number: fault.kind for fault in faults}
    names = class_names(request.config, request.layout)
    rows = []
    for video, scene in zip(planned, scenes, strict=True):
        centre_V2 = scene.wrapped(scene.things[-1])
        rows.append(
            {
                "id": video.id,
                "path": video.path,
                "label": video.label,
                "class_name": names[video.label],
                "split": list(video.split),
                "number": video.number,
                "frames": scene.frames,
                "fps": scene.fps,
                "height": scene.height,
                "width": scene.width,
                "active": scene.active_V.tolist(),
                "x": centre_V2[:, 0].tolist(),
                "y": centre_V2[:, 1].tolist(),
                "boxes": [object_boxes(scene, frame).tolist() for frame in range(scene.frames)],
                "fault": kinds.get(video.number, ""),
            }
        )
    pq.write_table(pa.Table.from_pylist(rows, schema=TRUTH_SCHEMA), path)


def _read(path: Path) -> dict[str, Any] | None:
    """Return the arguments that a file holds; a dial that was added since has the value that changes nothing."""
    return to_dict(from_dict(SynthRequest, json.loads(path.read_text()))) if path.exists() else None


def _refuse_others(out: Path, arguments: dict[str, Any]) -> None:
    """A folder is fit when it is absent, empty, or was left unfinished by the same request."""
    if not out.exists() or (out.is_dir() and (not os.listdir(out) or _read(out / UNFINISHED) == arguments)):
        return
    raise UserError(
        problem(
            "The folder for the synthetic data set holds something else",
            got=str(out),
            allowed="a new or empty folder, or one made with the same arguments",
            fix="choose another folder, or remove this one",
        )
    )
