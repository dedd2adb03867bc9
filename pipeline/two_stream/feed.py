"""What the training loop asks of its data, answered for a stream and for an attention net.

Order, workers and transport are the spine's (`Plan`, `plan_training`, `stream`); only the loader is our own. Every
batch is a pure function of the recipe, the data and the position.
"""

import contextlib
import functools
import hashlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from pipeline.core.errors import UserError, problem
from pipeline.data.feed.microbatch import MicroBatch, MicroPlan, plan_training, plan_views
from pipeline.data.feed.plan import Plan
from pipeline.data.feed.stream import Share, owned, stream
from pipeline.data.records import PreparedVideo
from pipeline.train.feeding import Batches, micro_batch
from pipeline.train.recipe import ComputeConfig, RunRecipe
from pipeline.two_stream.loader import BesideLoader, StreamLoader
from pipeline.two_stream.maps import MapDataset
from pipeline.two_stream.pairs import PairedData, open_maps, training_videos
from pipeline.two_stream.recipe import AttentionRecipe, JointRecipe, StreamRecipe, sight_of
from pipeline.two_stream.samples import OTHER

Loader = StreamLoader | BesideLoader


@dataclass(frozen=True)
class StreamBatch:
    """One micro-batch of a stream. The tensors are the receiver's own."""

    x_BGHWC: torch.Tensor
    """uint8: RGB, or 2m channels of flow."""
    map_BGhw: torch.Tensor | None
    """float16, of the whole frame: the other stream's, or for an attention net the one to learn. None: no maps."""
    box_BG4: torch.Tensor
    """float32, what of the frame the pixels show: x0, y0, x1, y1 in shares; x0 > x1: mirrored."""
    index_BG: torch.Tensor
    """int32, the place of each segment."""
    label_B: torch.Tensor
    """int64; swapped with a flip where the class's text says so."""
    ids: tuple[str, ...]
    step: int
    epoch: int
    micro: int
    samples_in_step: int
    whole_BGHWC: torch.Tensor | None = None
    """uint8, whole pictures of the other stream at the same places; None but for a joint training."""


class StreamFeed:
    """The feed of a stream's run.

    Training draws places, crops and flips; validation shows the centre crop of every test video, at the middle of each
    segment, with no map: nothing may be made of a test video's label.

    Args:
        recipe: names data, flow, maps and the batch.

    Raises:
        UserError: something of it is not there or does not fit.
    """

    def __init__(self, recipe: StreamRecipe) -> None:
        data = PairedData.open(recipe.data.root, recipe.flow_root)
        videos = training_videos(data, recipe)
        tests = data.videos(recipe.model.stream, recipe.data.test_split, recipe.data.fold)
        other = OTHER[recipe.model.stream]
        maps = open_maps(recipe.maps_root, other, data, recipe, videos) if recipe.maps_root else None
        loader = loader_of(data, recipe, [*videos, *tests])
        drawn = replace(loader, crop="augment", time="drawn", augment=recipe.augment, flip_map=data.flips(recipe))
        self._recipe, self._videos, self._tests = recipe, videos, tests
        self._training: Loader = with_maps(drawn, maps) if maps else drawn
        self._testing: Loader = replace(loader, crop="centre", time="middle", short_side=recipe.short_side)
        self.plan = Plan(recipe.train.seed, len(videos), recipe.train.global_batch, recipe.train.epochs)
        self.classes = data.prepared.classes
        self.rows = data.prepared.rows
        self.passport = data.identity([maps] if maps else [])
        self.validation_videos = len(tests)
        self.sample_bytes = self._training.sample_bytes

    def train(self, start_step: int, rank: int, world: int) -> Batches:
        """Yield this worker's micro-batches of all steps from `start_step` on."""
        return _train(self._recipe, self._videos, self.plan, self._training, start_step, rank, world)

    def validation(self, rank: int, world: int) -> Batches:
        """Yield this worker's share of the test split: one sample a video, no padding."""
        return _views(self._recipe, self._tests, self._testing, rank, world)


class JointFeed(StreamFeed):
    """The feed of a joint run: that of the stream, and whole pictures of the other one beside every sample.

    Validation has them too: what a test's maps are made from is known of test videos, their labels are not needed.

    Args:
        recipe: names data, flow, both streams and the batch.

    Raises:
        UserError: something of it is not there or does not fit.
    """

    def __init__(self, recipe: JointRecipe) -> None:
        super().__init__(recipe)
        data, other = PairedData.open(recipe.data.root, recipe.flow_root), OTHER[recipe.model.stream]
        splits = (recipe.data.train_split, recipe.data.test_split)
        videos = [video for split in splits for video in data.videos(other, split, recipe.data.fold)]
        beside = functools.partial(
            BesideLoader,
            root=data.root(other),
            sight=sight_of(recipe.other),
            at={video.id: (video.shard, video.row) for video in videos},
        )
        assert isinstance(self._training, StreamLoader), "as the feed of a stream makes them"
        assert isinstance(self._testing, StreamLoader), "likewise"
        self._training, self._testing = beside(loader=self._training), beside(loader=self._testing)
        self.sample_bytes = self._training.sample_bytes


class AttentionFeed:
    """The feed of an attention net's run: whole frames, as maps cover them, and the maps to learn, at the same places.

    Of the training split's videos a share trains and the others validate, each at a drawn place and at the middle one.
    No test video is read.

    Args:
        recipe: names data, flow, maps and the batch.

    Raises:
        UserError: something of it is not there or does not fit.
    """

    def __init__(self, recipe: AttentionRecipe) -> None:
        data = PairedData.open(recipe.data.root, recipe.flow_root)
        videos = training_videos(data, recipe)
        maps = open_maps(recipe.maps_root, recipe.model.stream, data, recipe, videos)
        loader = with_maps(loader_of(data, recipe, videos), maps)
        self._recipe = recipe
        self._learn, self._check = split_videos(videos, recipe.share)
        self._training, self._testing = replace(loader, time="drawn"), replace(loader, time="middle")
        self.plan = Plan(recipe.train.seed, len(self._learn), recipe.train.global_batch, recipe.train.epochs)
        self.classes = data.prepared.classes
        self.rows = data.prepared.rows
        self.passport = data.identity([maps])
        self.validation_videos = len(self._check)
        self.sample_bytes = loader.sample_bytes

    def train(self, start_step: int, rank: int, world: int) -> Batches:
        """Yield this worker's micro-batches of all steps from `start_step` on."""
        return _train(self._recipe, self._learn, self.plan, self._training, start_step, rank, world)

    def validation(self, rank: int, world: int) -> Batches:
        """Yield this worker's share of the videos kept apart: one place a video, no padding."""
        return _views(self._recipe, self._check, self._testing, rank, world)


def split_videos(
    videos: Sequence[PreparedVideo], share: float
) -> tuple[tuple[PreparedVideo, ...], tuple[PreparedVideo, ...]]:
    """Split videos by a digest of their ids: the same on every machine, no video in both parts.

    Raises:
        UserError: fewer than two videos.
    """
    if len(videos) < 2:
        fix = "train on more videos"
        raise UserError(problem("A video cannot be split in two", got=len(videos), allowed="two or more", fix=fix))
    ordered = sorted(videos, key=lambda video: hashlib.sha256(video.id.encode()).digest())
    count = min(max(round(share * len(ordered)), 1), len(ordered) - 1)
    return tuple(ordered[:count]), tuple(ordered[count:])


def loader_of(
    data: PairedData, recipe: StreamRecipe | AttentionRecipe, videos: Sequence[PreparedVideo]
) -> StreamLoader:
    """Return the loader of whole frames of some videos, at planned places, without maps."""
    return StreamLoader(
        root=data.root(recipe.model.stream),
        sight=sight_of(recipe.model),
        labels={video.id: video.label for video in videos},
        pairs={video.id: video.frames - 1 for video in videos},
        crop="whole",
        time="planned",
        seed=recipe.train.seed,
    )


def with_maps(loader: StreamLoader, maps: MapDataset) -> StreamLoader:
    """Return a loader whose samples come with maps, at places that have one."""
    return replace(loader, maps_root=maps.root, maps_passport=maps.passport, maps_shape=maps.shape)


def load_batches(
    plans: Iterator[MicroPlan], loader: Loader, compute: ComputeConfig, consumers: int
) -> Generator[StreamBatch, None, None]:
    """Yield the batches of plans, by Ray Data tasks, or in this process where `compute.data_cpus` is 0.

    Args:
        plans: of this consumer.
        loader: loads them.
        compute: what the tasks may use.
        consumers: processes that share `compute.data_cpus`.
    """
    if not compute.data_cpus:
        yield from (_batch(loader.load(plan)) for plan in plans)
        return
    share = Share(compute.data_cpus / consumers, compute.prefetch, consumers)
    with contextlib.closing(owned(stream(plans, loader, share))) as micros:
        for micro in micros:
            yield _batch(micro)


def _train(
    recipe: RunRecipe,
    videos: Sequence[PreparedVideo],
    plan: Plan,
    loader: Loader,
    start_step: int,
    rank: int,
    world: int,
) -> Batches:
    plan.check_pieces(world, recipe.train.accumulate)
    accumulate = recipe.train.accumulate
    plans = plan_training(videos, plan, accumulate=accumulate, start_step=start_step, rank=rank, world=world)
    return load_batches(plans, loader, recipe.compute, world)


def _views(recipe: RunRecipe, videos: Sequence[PreparedVideo], loader: Loader, rank: int, world: int) -> Batches:
    return load_batches(
        plan_views(videos, 1, batch=micro_batch(recipe), rank=rank, world=world), loader, recipe.compute, world
    )


def _batch(micro: MicroBatch) -> StreamBatch:
    """Turn arrays into tensors on the same memory."""
    tensors = {name: torch.from_numpy(array) for name, array in micro.arrays.items()}
    return StreamBatch(
        x_BGHWC=tensors["x_BGHWC"],
        map_BGhw=tensors.get("map_BGhw"),
        box_BG4=tensors["box_BG4"],
        index_BG=tensors["index_BG"],
        label_B=tensors["label_B"],
        ids=micro.ids,
        step=micro.step,
        epoch=micro.epoch,
        micro=micro.micro,
        samples_in_step=micro.samples_in_step,
        whole_BGHWC=tensors.get("whole_BGHWC"),
    )
