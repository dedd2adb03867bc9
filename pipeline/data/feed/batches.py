"""The feed: batches of clips for training and tests, through Ray Data or in this process, bit for bit the same.

Every training process makes its own feed from (plan, rank, world, start step) and nothing else. There is no shared
state to save or restore: a run that resumes at a step builds the rest of the plan and never opens what was consumed.
"""

import contextlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import torch

from pipeline.core.errors import UserError, problem
from pipeline.data.config import AugmentConfig, ClipConfig, DataConfig, ViewConfig
from pipeline.data.feed.clips import views_of
from pipeline.data.feed.flip import flip_map
from pipeline.data.feed.microbatch import ClipLoader, MicroBatch, MicroPlan, plan_training, plan_views
from pipeline.data.feed.plan import Plan
from pipeline.data.feed.stream import Share, owned, stream
from pipeline.data.feed.views import check_mirroring, note_enlarging
from pipeline.data.records import HIDDEN_LABEL
from pipeline.data.store.prepared import PreparedDataset


@dataclass(frozen=True)
class Batch:
    """One micro-batch of a training step, or one batch of test views. The tensors are the receiver's own."""

    x_BTHWC: torch.Tensor
    """uint8 RGB; normalisation happens on the device."""
    label_B: torch.Tensor
    """int64; swapped with a flip where the class's text says so."""
    idx_BT: torch.Tensor
    """int32, video frame behind each clip frame."""
    valid_BT: torch.Tensor
    """bool, False where a short video was padded with its last frame."""
    ids: tuple[str, ...]
    step: int
    """Global step of the run; in tests the number of this rank's batch."""
    epoch: int
    micro: int
    """Number of the micro-batch in its step and rank."""
    samples_in_step: int
    """Samples of the whole step, over all ranks and micro-batches; in tests those of this batch."""


@dataclass(frozen=True, kw_only=True)
class TrainingRequest:
    """Which training batches: of which videos, as what clips, for which worker, from where on."""

    data: DataConfig
    """Split, fold and whether labels follow a flip."""
    clip: ClipConfig
    augment: AugmentConfig
    accumulate: int = 1
    """Micro-batches that a rank makes of its share of a step."""
    start_step: int = 0
    """First global step."""
    rank: int = 0
    """This training process."""
    world: int = 1
    """Training processes."""


@dataclass(frozen=True, kw_only=True)
class ViewsRequest:
    """Which test batches: of which videos, as what views, for which process."""

    split: str
    fold: int = 1
    """Official fold, from 1."""
    clip: ClipConfig
    views: ViewConfig
    batch: int
    """Views of a batch; the last one of a rank may have fewer."""
    rank: int = 0
    """This process."""
    world: int = 1
    """Processes."""


def train_batches(
    dataset: PreparedDataset, plan: Plan, request: TrainingRequest, *, data_cpus: float, prefetch: int
) -> Generator[Batch, None, None]:
    """Yield the micro-batches of a rank from a step to the end of the run, loaded by Ray Data tasks.

    Ray must be initialised, and `data_cpus` CPUs free beside the training processes. Close the generator to stop the
    tasks before its end.

    Args:
        dataset: the prepared data set.
        plan: order of the run; its `samples` are the readable videos of the split, counted by id.
        request: which batches.
        data_cpus: logical CPUs of the tasks of all ranks together.
        prefetch: micro-batches held ready for this rank.

    Raises:
        UserError: the plan is not of this split, a video has no label, a step has too few clips for the workers, or
            a video could not be read.
    """
    plans, loader = _training(dataset, plan, request)
    return _through_ray(plans, loader, Share(data_cpus / request.world, prefetch, request.world))


def local_train_batches(dataset: PreparedDataset, plan: Plan, request: TrainingRequest) -> Generator[Batch, None, None]:
    """Yield exactly what `train_batches` yields, loaded in this process and without Ray."""
    plans, loader = _training(dataset, plan, request)
    return (_batch(loader.load(micro)) for micro in plans)


def test_batches(
    dataset: PreparedDataset, request: ViewsRequest, *, data_cpus: float, prefetch: int
) -> Generator[Batch, None, None]:
    """Yield every view of a rank's share of a split's readable videos, loaded by Ray Data tasks.

    Videos come in listed order, all views of a video next to each other, crops before clips change. Ranks take
    contiguous shares of whole videos, which differ by at most one video; nothing is padded, repeated or dropped.

    Args:
        dataset: the prepared data set.
        request: which batches.
        data_cpus: logical CPUs of the tasks of all ranks together.
        prefetch: batches held ready for this rank.

    Raises:
        UserError: mirrored crops of a data set whose classes name directions, or a video that could not be read.
    """
    plans, loader = _testing(dataset, request)
    return _through_ray(plans, loader, Share(data_cpus / request.world, prefetch, request.world))


def local_test_batches(dataset: PreparedDataset, request: ViewsRequest) -> Generator[Batch, None, None]:
    """Yield exactly what `test_batches` yields, loaded in this process and without Ray."""
    plans, loader = _testing(dataset, request)
    return (_batch(loader.load(micro)) for micro in plans)


def _training(dataset: PreparedDataset, plan: Plan, request: TrainingRequest) -> tuple[Iterator[MicroPlan], ClipLoader]:
    data = request.data
    videos = dataset.videos(data.train_split, data.fold)
    if plan.samples != len(videos):
        raise UserError(
            problem(
                f"The plan is not of split {data.train_split}, fold {data.fold}, of {dataset.name}",
                got=f"a plan of {plan.samples} samples",
                allowed=f"{len(videos)}, the readable videos of the split",
                fix="plan with len(dataset.videos(split, fold)), and resume a run on the data it started with",
            )
        )
    hidden = [video.id for video in videos if video.label == HIDDEN_LABEL]
    if hidden:
        raise UserError(
            problem(
                "Videos without a published label cannot be trained on",
                got=f"{len(hidden)} of split {data.train_split}, the first of them {hidden[0]}",
                allowed="a split whose classes the official files give",
                fix="set data.train_split",
            )
        )
    plan.check_pieces(request.world, request.accumulate)
    loader = ClipLoader(
        root=dataset.root,
        clip=request.clip,
        seed=plan.seed,
        augment=request.augment,
        flip_map=flip_map(dataset.classes, data.flip_pairs),
    )
    plans = plan_training(
        videos,
        plan,
        accumulate=request.accumulate,
        start_step=request.start_step,
        rank=request.rank,
        world=request.world,
    )
    return plans, loader


def _testing(dataset: PreparedDataset, request: ViewsRequest) -> tuple[Iterator[MicroPlan], ClipLoader]:
    check_mirroring(request.views, dataset.classes)
    note_enlarging(dataset, request.clip)
    views = views_of(request.views)
    loader = ClipLoader(root=dataset.root, clip=request.clip, views=views)
    videos = dataset.videos(request.split, request.fold)
    plans = plan_views(videos, len(views), batch=request.batch, rank=request.rank, world=request.world)
    return plans, loader


def _through_ray(plans: Iterator[MicroPlan], loader: ClipLoader, share: Share) -> Generator[Batch, None, None]:
    """Stream the micro-batches; closing the generator stops the tasks."""
    with contextlib.closing(owned(stream(plans, loader, share))) as micros:
        for micro in micros:
            yield _batch(micro)


def _batch(micro: MicroBatch) -> Batch:
    """Turn arrays into tensors on the same memory."""
    return Batch(
        **{name: torch.from_numpy(array) for name, array in micro.arrays.items()},
        ids=micro.ids,
        step=micro.step,
        epoch=micro.epoch,
        micro=micro.micro,
        samples_in_step=micro.samples_in_step,
    )
