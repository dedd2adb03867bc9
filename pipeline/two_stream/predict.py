"""A system's predictions for a split, as one Ray Data job: CPU tasks decode, actors hold the networks.

A row on the way is a place of a video. It carries pixels and an id, and no label: that joins the video's row in the
driver, when all its places have been answered. The rows are reconciled with the split: each readable video that has
flow exactly once, or it raises.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from models.two_stream import FUSION, fuse
from pipeline.data.records import PreparedVideo
from pipeline.eval.pool import Machines, through
from pipeline.two_stream.answer import Answerer, Variant
from pipeline.two_stream.look import Entry, Eye, load, seen_in
from pipeline.two_stream.pairs import PairedData
from pipeline.two_stream.recipe import sight_of, stream_config
from pipeline.two_stream.samples import STREAMS, Stream
from pipeline.two_stream.system import System
from pipeline.two_stream.views import Place, Viewing

_FLOATS = pa.list_(pa.float32())
_MAPS = pa.list_(_FLOATS)


@dataclass(frozen=True, kw_only=True)
class TestRun(Machines):
    """What to predict, and with which machines; with 0 actors this process does everything, without Ray."""

    __test__ = False  # for pytest, which takes it for a test

    root: str
    """Run storage."""
    name: str
    """Of the system."""
    split: str
    fold: int
    viewing: Viewing
    variants: tuple[Variant, ...]
    fusion: tuple[float, float] = FUSION
    """Weights of the spatial and the temporal stream; not to be tuned on test videos."""
    batch: int = 16
    """Crops of one forward pass."""
    keep_maps: bool = False
    """Rows also hold the maps of the attention nets; needs the variant "with"."""

    @property
    def places_at_once(self) -> int:
        """Places of one forward pass."""
        return max(1, self.batch // self.viewing.crops)


def eye_of(data: PairedData, system: System, viewing: Viewing) -> Eye:
    """Return what loads the places of a data set's videos for a system."""
    spatial, temporal = (sight_of(stream_config(system.recipe, stream)) for stream in STREAMS)
    return Eye(roots=(data.root("spatial"), data.root("temporal")), sights=(spatial, temporal), viewing=viewing)


def predict(data: PairedData, system: System, job: TestRun) -> Iterator[dict[str, Any]]:
    """Predict every video of a split that has frames and flow, in listed order; a bad request raises at once.

    Args:
        data: frames and flow.
        system: trained.
        job: the rest. With actors, Ray must be connected.

    Returns:
        An iterator: one row of `row_schema` a video.

    Raises:
        UserError: mirrored crops of classes that name directions, an empty split, or a job larger than the cluster.
        RuntimeError: the predictions do not reconcile with the split.
    """
    job.viewing.check(data.prepared.classes)
    frames, flows = (data.videos(stream, job.split, job.fold) for stream in STREAMS)
    eye = eye_of(data, system, job.viewing)
    if job.actors:
        job.check_room()
    return _rows(frames, flows, eye, job)


def _rows(
    frames: Sequence[PreparedVideo], flows: Sequence[PreparedVideo], eye: Eye, job: TestRun
) -> Iterator[dict[str, Any]]:
    entries = [
        Entry(video.id, video.frames, video.shard, video.row, flow.shard, flow.row)
        for video, flow in zip(frames, flows, strict=True)
    ]
    merger = Merger({entry.id: eye.places(entry.frames) for entry in entries}, job)
    labels = {video.id: video.label for video in frames}
    for table in _answers(entries, eye, job):
        for place in table.to_pylist():
            for row in merger.add(place):
                # Only now, after everything has been said about the video.
                yield row | {"label": labels[row["id"]]}
    merger.reconcile()


def _answers(entries: Sequence[Entry], eye: Eye, job: TestRun) -> Iterator[pa.Table]:
    """Yield tables of answered places, in listed order."""
    together = max(1, job.places_at_once // job.viewing.places)
    parts = [entries[i : i + together] for i in range(0, len(entries), together)]
    if not job.actors:
        answer = _Actor(job)
        yield from (answer(table) for part in parts for table in load(part, eye, job.places_at_once))
        return
    yield from through(
        [pa.Table.from_pylist([asdict(entry) for entry in part]) for part in parts],
        job,
        _load_block,
        _Actor,
        loaded_with={"eye": eye, "at_once": job.places_at_once},
        made_with=(job,),
    )


def _load_block(block: pa.Table, eye: Eye, at_once: int) -> Iterator[pa.Table]:
    yield from load([Entry(**row) for row in block.to_pylist()], eye, at_once)


class _Actor:
    """Holds the networks."""

    def __init__(self, job: TestRun) -> None:
        self._job = job
        self._answerer = Answerer(
            System.open(job.root, job.name),
            job.variants,
            job.viewing.crops,
            gpu=job.gpu,
            precision=job.precision,
            threads=job.threads if job.actors else None,
            at_once=job.batch,
        )

    def __call__(self, places: pa.Table) -> pa.Table:
        """Answer a table's places, some at a time."""
        tables = [
            self._answer(places.slice(start, self._job.places_at_once))
            for start in range(0, len(places), self._job.places_at_once)
        ]
        return pa.concat_tables(tables)

    def _answer(self, places: pa.Table) -> pa.Table:
        answer = self._answerer.answer(seen_in(places))
        found = {
            column(variant, stream): pa.array(list(x_PK), _FLOATS)
            for (variant, stream), x_PK in answer.probabilities.items()
        }
        if self._job.keep_maps:
            found |= {map_column(s): pa.array(map_Phw.tolist(), _MAPS) for s, map_Phw in answer.maps.items()}
        return pa.table({"id": places["id"], "at": places["at"], **found})


def column(variant: Variant, stream: Stream | str) -> str:
    """Return the name of a column of probabilities: with_spatial, without_fused."""
    return f"{variant}_{stream}"


def map_column(stream: Stream) -> str:
    """Return the name under which a row holds a stream's maps, P,h,w of its distinct places."""
    return f"{stream}_maps"


def columns_of(variants: Sequence[Variant]) -> list[str]:
    """Return the columns of probabilities of a video's row."""
    return [column(variant, stream) for variant in variants for stream in (*STREAMS, "fused")]


def row_schema(variants: Sequence[Variant]) -> pa.Schema:
    """Return the schema of predictions: a row a video; probabilities are means over places and crops."""
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("label", pa.int32(), nullable=False),
            pa.field("places", pa.list_(pa.int32()), nullable=False),
            *(pa.field(name, _FLOATS, nullable=False) for name in columns_of(variants)),
        ]
    )


class Merger:
    """Joins the places of each video and checks that nothing is missing, double or strange."""

    def __init__(self, places: dict[str, tuple[Place, ...]], job: TestRun) -> None:
        self._places = places
        self._variants, self._fusion, self._keep_maps = job.variants, job.fusion, job.keep_maps
        self._open: dict[str, dict[int, dict[str, Any]]] = {}
        self._done: set[str] = set()

    def add(self, answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Take the answer for one place; yields the video's row when it was the last one missing."""
        video_id, at = answer["id"], answer["at"]
        seen = self._open.setdefault(video_id, {})
        expected = {place.at for place in self._places.get(video_id, ())}
        if at not in expected or at in seen or video_id in self._done:
            raise RuntimeError(f"predictions do not reconcile: place {at} of video {video_id} is not expected")
        seen[at] = answer
        if len(seen) == len(expected):
            self._done.add(video_id)
            yield self._row(video_id, self._open.pop(video_id))

    def _row(self, video_id: str, seen: dict[int, dict[str, Any]]) -> dict[str, Any]:
        places = self._places[video_id]
        times_P = np.array([place.times for place in places])
        row: dict[str, Any] = {"id": video_id, "places": np.repeat([place.at for place in places], times_P).tolist()}
        for variant in self._variants:
            means = []
            for stream in STREAMS:
                x_PK = np.array([seen[place.at][column(variant, stream)] for place in places], np.float64)
                means.append(torch.from_numpy(np.average(x_PK, axis=0, weights=times_P)))
            fused_K = fuse(means[0], means[1], self._fusion)
            for name, x_K in zip((*STREAMS, "fused"), (*means, fused_K), strict=True):
                row[column(variant, name)] = x_K.numpy().astype(np.float32)
        if self._keep_maps:
            for stream in STREAMS:
                name = map_column(stream)
                row[name] = np.array([seen[place.at][name] for place in places], np.float32)
        return row

    def reconcile(self) -> None:
        """Raise RuntimeError unless every video was predicted."""
        if missing := [video_id for video_id in self._places if video_id not in self._done]:
            raise RuntimeError(
                f"predictions do not reconcile: {len(self._done)} of {len(self._places)} videos were predicted; "
                f"missing: {', '.join(missing[:5])}"
            )
