"""The maps of a trained stream for every training video: Grad-CAM of the true class at every place.

A map is made from a label, so there is none of a test video: a split that shares a video with the test split is
refused. The network sees whole frames, so that a map covers what any training crop may show, and beside them what it
was trained with: 0.1 everywhere, or the other stream's maps at the same places.

A shard of maps follows one shard of pictures. Its sidecar is published second and makes it count, so whatever is
killed, the next run finds whole shards or none; the manifest comes last.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from models import StreamNet
from models.config import StreamConfig
from models.grad_cam import feature_cam
from models.inception import LAST
from pipeline.core import storage
from pipeline.core.config import to_dict
from pipeline.core.errors import UserError, problem
from pipeline.data.feed.microbatch import MicroPlan
from pipeline.data.records import PreparedVideo
from pipeline.data.store.sidecars import (
    finished_sidecars,
    is_current,
    number_of,
    prune,
    publish_shard,
    read_sidecars,
    sidecar_of,
    sizes_of,
    spool,
    sweep,
)
from pipeline.train.device import autocast, configure_torch
from pipeline.train.recipe import ComputeConfig
from pipeline.train.task import StepSettings
from pipeline.two_stream.feed import load_batches, loader_of, with_maps
from pipeline.two_stream.loader import StreamLoader
from pipeline.two_stream.maps import FORMAT, MapRow, VideoMaps, publish, row_values, write_shard
from pipeline.two_stream.networks import digest_of, load_stream
from pipeline.two_stream.pairs import PairedData, open_maps, training_videos
from pipeline.two_stream.recipe import StreamRecipe
from pipeline.two_stream.samples import OTHER, places
from pipeline.two_stream.tasks import stream_input


@dataclass(frozen=True, kw_only=True)
class MapJob:
    """Whose maps of what."""

    root: str
    """Where they go, path or URI."""
    recipe: StreamRecipe
    """Of the run: data, network, what stands in its attention channel, and what the cluster may use."""
    checkpoint: str
    """Folder of the run's checkpoint."""
    stride: int
    """Distance between the places that get a map."""
    batch: int
    """Images that go through the network together."""


@dataclass(frozen=True)
class MapTask:
    """One unit of work: the videos of one shard of pictures into one shard of maps."""

    number: int
    root: str
    videos: tuple[PreparedVideo, ...]
    loader: StreamLoader
    model: StreamConfig
    checkpoint: str
    checkpoint_sha256: str
    stride: int
    batch: int
    precision: Any
    channels_last: bool
    compute: ComputeConfig
    facts: str
    """Digest of how all maps of the job are made."""

    @property
    def key(self) -> str:
        """Digest of what determines the shard."""
        videos = [[video.id, video.label, video.frames, video.shard, video.row] for video in self.videos]
        return storage.sha256_json([FORMAT, self.facts, videos])

    @property
    def sidecar(self) -> str:
        """URI of the shard's sidecar."""
        return sidecar_of(self.root, self.number)

    def places_of(self, video: PreparedVideo) -> range:
        """Return the places of a video that get a map."""
        return range(0, places(video.frames - 1, self.loader.sight.flow_stack), self.stride)

    @property
    def maps(self) -> int:
        """Maps of the shard."""
        return sum(len(self.places_of(video)) for video in self.videos)


Tell = Callable[[int, int], None]
"""Called after every shard with (maps made, maps to make)."""
Engine = Callable[[Sequence[MapTask], Tell], None]
"""Does all tasks by `make_shard`, anywhere, in any order."""


@dataclass(frozen=True)
class Report:
    """What an extraction did."""

    root: str
    passport: str
    videos: int
    maps: int
    shards_done: int
    shards_kept: int


def extract_maps(job: MapJob, engine: Engine, tell: Tell = lambda done, left: None) -> Report:
    """Bring the maps at `job.root` up to date; does nothing where nothing changed.

    Args:
        job: whose maps of what.
        engine: `in_process`, or `extract_ray.on_ray`.
        tell: told how far it is.

    Raises:
        UserError: data, checkpoint or maps that are not there or do not fit, or test videos among the training ones.
    """
    sweep(job.root)
    tasks, facts = plan_maps(job)
    sizes = sizes_of(job.root)
    before = read_sidecars(job.root, sizes)
    new = [task for task in tasks if not is_current(before.get(task.number), task.key, sizes)]
    if new:
        engine(new, tell)
    names = list(sizes_of(job.root))
    sidecars = finished_sidecars(job.root, names, [task.number for task in tasks])
    assert [s["key"] for s in sidecars.values()] == [task.key for task in tasks], "every task made what was planned"
    rows = [MapRow(**values) for sidecar in sidecars.values() for values in sidecar["rows"]]
    expected = {video.id: len(task.places_of(video)) for task in tasks for video in task.videos}
    assert {row.id: row.maps for row in rows} == expected, "every place of every training video has a map"
    passport = publish(job.root, rows, facts | {"shape": sidecars[tasks[0].number]["shape"]})
    prune(job.root, names, sidecars)
    return Report(job.root, passport, len(rows), sum(expected.values()), len(new), len(tasks) - len(new))


def plan_maps(job: MapJob) -> tuple[list[MapTask], dict[str, Any]]:
    """Return the tasks of a job, by number, and the facts that the manifest states.

    Raises:
        UserError: as `extract_maps`.
    """
    recipe, model = job.recipe, job.recipe.model
    data = PairedData.open(recipe.data.root, recipe.flow_root)
    videos = training_videos(data, recipe)
    refuse_test_videos(data, recipe, videos)
    loader = loader_of(data, recipe, videos)
    beside = open_maps(recipe.maps_root, OTHER[model.stream], data, recipe, videos) if recipe.maps_root else None
    if beside and beside.manifest["stride"] != job.stride:
        got, fix = f"maps.stride={job.stride}, the other stream's {beside.manifest['stride']}", "set one stride"
        raise UserError(problem("Two streams have maps at other places", got=got, allowed="the same", fix=fix))
    digest = digest_of(job.checkpoint)
    facts: dict[str, Any] = {
        "stream": model.stream,
        "run": recipe.name,
        "round": recipe.round,
        "checkpoint": digest,
        "network": to_dict(model),
        "precision": recipe.train.precision,
        "layer": LAST,
        "class": "the true one",
        "view": "the whole frame",
        "beside": beside.passport if beside else "0.1 everywhere",
        "split": recipe.data.train_split,
        "fold": recipe.data.fold,
        "flow_stack": model.flow_stack,
        "stride": job.stride,
        "frames": data.prepared.passport,
        "flow": data.flow.passport,
    }
    by_shard: dict[str, list[PreparedVideo]] = {}
    for video in videos:
        by_shard.setdefault(video.shard, []).append(video)
    tasks = [
        MapTask(
            number=number_of(shard),
            root=job.root,
            videos=tuple(sorted(members, key=lambda video: video.row)),
            loader=with_maps(loader, beside) if beside else loader,
            model=model,
            checkpoint=job.checkpoint,
            checkpoint_sha256=digest,
            stride=job.stride,
            batch=job.batch,
            precision=recipe.train.precision,
            channels_last=recipe.train.channels_last,
            compute=recipe.compute,
            facts=storage.sha256_json(facts),
        )
        for shard, members in by_shard.items()
    ]
    return sorted(tasks, key=lambda task: task.number), facts


def refuse_test_videos(data: PairedData, recipe: StreamRecipe, videos: Sequence[PreparedVideo]) -> None:
    """Refuse to make maps from the labels of test videos.

    Raises:
        UserError: a video is in the test split too.
    """
    tested = {video.id for video in data.prepared.videos(recipe.data.test_split, recipe.data.fold)}
    if shared := [video.id for video in videos if video.id in tested]:
        raise UserError(
            problem(
                "Maps are made from labels, and these are of test videos",
                got=f"{len(shared)} videos of split {recipe.data.test_split}, such as {shared[0]}",
                allowed="the maps of training videos; at test time maps come from the attention nets",
                fix="set data.train_split and data.test_split apart",
            )
        )


class Explainer:
    """A trained stream on this process's device, that says where it looked."""

    def __init__(self, task: MapTask) -> None:
        """Load the network of a task; other tasks of the same job use it too.

        Raises:
            UserError: the checkpoint is not the one that the driver saw.
        """
        if digest_of(task.checkpoint) != task.checkpoint_sha256:
            fix = "let no other training write there, and start again"
            got, allowed = task.checkpoint, f"the checkpoint with digest {task.checkpoint_sha256[:12]}"
            raise UserError(problem("The checkpoint has changed", got=got, allowed=allowed, fix=fix))
        device = configure_torch(task.compute.threads, gpu=task.compute.gpu)
        self._settings = StepSettings(device, task.precision, task.channels_last, 1, 0.0, 0, 0, 1)
        self._net: StreamNet = load_stream(task.checkpoint, task.model).to(device)
        if task.channels_last:
            self._net.to(memory_format=torch.channels_last)

    def maps(self, batch: Any) -> np.ndarray[Any, np.dtype[np.float16]]:
        """Return map_Nhw of a batch of single segments, for the labels in it."""
        with torch.no_grad(), autocast(self._settings.device, self._settings.precision):
            x_NCHW = stream_input(batch, self._net.config, self._settings).flatten(0, 1)
            features_NChw = self._net.features(x_NCHW)
            map_Nhw = feature_cam(self._net, features_NChw, batch.label_B.to(self._settings.device))
        found: np.ndarray[Any, np.dtype[np.float16]] = map_Nhw.to(torch.float16).cpu().numpy()
        return found


def make_shard(task: MapTask, explainer: Explainer) -> None:
    """Do one task: the maps of every video, the shard, then its sidecar."""
    videos = list(_explained(task, explainer))
    with spool() as file:
        rows = write_shard(file, videos)
        shard = publish_shard(task.root, task.number, file)
    value = {
        "key": task.key,
        "shape": list(videos[0].map_Phw.shape[1:]),
        "shard": shard,
        "rows": row_values(rows, shard["path"]),
    }
    storage.write_json(task.sidecar, value)


def _explained(task: MapTask, explainer: Explainer) -> Iterator[VideoMaps]:
    """Yield the maps of the task's videos in order, whole videos however the batches are cut."""
    found: list[np.ndarray[Any, np.dtype[np.float16]]] = []
    with contextlib.closing(load_batches(_plans(task), task.loader, task.compute, task.compute.workers)) as batches:
        for video in task.videos:
            wanted = task.places_of(video)
            while sum(map(len, found)) < len(wanted):
                found.append(explainer.maps(next(batches)))
            map_Nhw = np.concatenate(found)
            yield VideoMaps(video.id, tuple(wanted), map_Nhw[: len(wanted)])
            found = [map_Nhw[len(wanted) :]]
        assert next(batches, None) is None
        assert not len(found[0]), "every map was some place's"


def _plans(task: MapTask) -> Iterator[MicroPlan]:
    entries = [(video, place) for video in task.videos for place in task.places_of(video)]
    for step, start in enumerate(range(0, len(entries), task.batch)):
        some = entries[start : start + task.batch]
        yield MicroPlan(
            step=step,
            epoch=0,
            micro=0,
            samples_in_step=len(some),
            ids=tuple(video.id for video, _ in some),
            shards=tuple(video.shard for video, _ in some),
            rows=tuple(video.row for video, _ in some),
            views=tuple(place for _, place in some),
        )


def in_process(tasks: Sequence[MapTask], tell: Tell) -> None:
    """The engine without Ray: one task after the other, decoding included."""
    explainer = Explainer(tasks[0])
    done, total = 0, sum(task.maps for task in tasks)
    for task in tasks:
        make_shard(replace(task, compute=replace(task.compute, data_cpus=0)), explainer)
        done += task.maps
        tell(done, total)
