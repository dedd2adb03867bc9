"""The feed: batches of clips for training and tests, through Ray Data or in this process, bit for bit the same.

Every training process makes its own feed from (plan, rank, world, start step) and nothing else. There is no shared
state to save or restore: a run that resumes at a step builds the rest of the plan and never opens what was consumed.
"""

import contextlib
import dataclasses
import functools
import logging
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import torch

from pipeline.core.errors import UserError, problem
from pipeline.data.config import AugmentConfig, ClipConfig, DataConfig, ViewConfig
from pipeline.data.feed.clips import views_of
from pipeline.data.feed.flip import flip_map, is_direction_free
from pipeline.data.feed.microbatch import Loader, MicroBatch, MicroPlan, plan_training, plan_views
from pipeline.data.feed.plan import Plan
from pipeline.data.feed.stream import Share, stream
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


def train_batches(
    dataset: PreparedDataset,
    plan: Plan,
    *,
    data: DataConfig,
    clip: ClipConfig,
    augment: AugmentConfig,
    accumulate: int,
    start_step: int,
    rank: int,
    world: int,
    data_cpus: float,
    prefetch: int,
) -> Generator[Batch, None, None]:
    """Yield the micro-batches of `rank` from `start_step` to the end of the run, loaded by Ray Data tasks.

    Ray must be initialised, and `data_cpus` CPUs free beside the training processes. Close the generator to stop the
    tasks before its end.

    Args:
        dataset: the prepared data set.
        plan: order of the run; its `samples` are the readable videos of `data.train_split`, counted by id.
        data: split, fold and whether labels follow a flip.
        clip: frames and size of a clip.
        augment: ranges of the augmentation.
        accumulate: micro-batches that a rank makes of its share of a step.
        start_step: first global step, from 0.
        rank: this training process.
        world: training processes.
        data_cpus: logical CPUs of the tasks of all ranks together.
        prefetch: micro-batches held ready for this rank.

    Raises:
        UserError: the plan is not of this split, a video has no label, a step has too few clips for the workers, or
            a video could not be read.
    """
    plans, loader = _training(dataset, plan, data, clip, augment, accumulate, start_step, rank, world)
    return _copied(stream(plans, loader, Share(data_cpus / world, prefetch, world)))


def local_train_batches(
    dataset: PreparedDataset,
    plan: Plan,
    *,
    data: DataConfig,
    clip: ClipConfig,
    augment: AugmentConfig,
    accumulate: int,
    start_step: int,
    rank: int,
    world: int,
) -> Generator[Batch, None, None]:
    """Yield exactly what `train_batches` yields, loaded in this process and without Ray."""
    plans, loader = _training(dataset, plan, data, clip, augment, accumulate, start_step, rank, world)
    return (_batch(loader.load(micro)) for micro in plans)


def test_batches(
    dataset: PreparedDataset,
    split: str,
    fold: int,
    *,
    clip: ClipConfig,
    views: ViewConfig,
    batch: int,
    rank: int,
    world: int,
    data_cpus: float,
    prefetch: int,
) -> Generator[Batch, None, None]:
    """Yield every view of this rank's share of a split's readable videos, loaded by Ray Data tasks.

    Videos come in listed order, all views of a video next to each other, crops before clips change. Ranks take
    contiguous shares of whole videos, which differ by at most one video; nothing is padded, repeated or dropped.

    Args:
        dataset: the prepared data set.
        split: such as "validation".
        fold: official fold, from 1.
        clip: frames and size of a clip.
        views: clips and crops of a video.
        batch: views of a batch; the last one of a rank may have fewer.
        rank: this process.
        world: processes.
        data_cpus: logical CPUs of the tasks of all ranks together.
        prefetch: batches held ready for this rank.

    Raises:
        UserError: mirrored crops of a data set whose classes name directions, or a video that could not be read.
    """
    plans, loader = _testing(dataset, split, fold, clip, views, batch, rank, world)
    return _copied(stream(plans, loader, Share(data_cpus / world, prefetch, world)))


def local_test_batches(
    dataset: PreparedDataset,
    split: str,
    fold: int,
    *,
    clip: ClipConfig,
    views: ViewConfig,
    batch: int,
    rank: int,
    world: int,
) -> Generator[Batch, None, None]:
    """Yield exactly what `test_batches` yields, loaded in this process and without Ray."""
    plans, loader = _testing(dataset, split, fold, clip, views, batch, rank, world)
    return (_batch(loader.load(micro)) for micro in plans)


def _training(
    dataset: PreparedDataset,
    plan: Plan,
    data: DataConfig,
    clip: ClipConfig,
    augment: AugmentConfig,
    accumulate: int,
    start_step: int,
    rank: int,
    world: int,
) -> tuple[Iterator[MicroPlan], Loader]:
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
    plan.check_pieces(world, accumulate)
    loader = Loader(
        root=dataset.root,
        clip=clip,
        seed=plan.seed,
        augment=augment,
        flip_map=flip_map(dataset.classes, data.flip_pairs),
    )
    plans = plan_training(videos, plan, accumulate=accumulate, start_step=start_step, rank=rank, world=world)
    return plans, loader


def _testing(
    dataset: PreparedDataset,
    split: str,
    fold: int,
    clip: ClipConfig,
    views: ViewConfig,
    batch: int,
    rank: int,
    world: int,
) -> tuple[Iterator[MicroPlan], Loader]:
    if views.crops == 10 and not is_direction_free(dataset.classes):
        raise UserError(
            problem(
                f"Mirrored test crops change the class of some videos of {dataset.name}",
                got="view.crops=10",
                allowed="1 or 3 where class texts name left, right or a sense of turning",
                fix="set view.crops=3",
            )
        )
    _note_enlarging(dataset.root, dataset.manifest.get("short_side", clip.short_side), clip.short_side)
    numbered = views_of(views)
    loader = Loader(root=dataset.root, clip=clip, views=numbered)
    videos = dataset.videos(split, fold)
    return plan_views(videos, len(numbered), batch=batch, rank=rank, world=world), loader


@functools.cache
def _note_enlarging(root: str, stored: int, wanted: int) -> None:
    """Say once a process that test frames are enlarged: scores are right, and lower than the videos allow."""
    if wanted > stored:
        logging.getLogger(__name__).warning(
            "%s was prepared with a short side of %d, so test frames are enlarged to clip.short_side=%d. Lower "
            "clip.short_side, or prepare the videos with --short-side %d.",
            *(root, stored, wanted, wanted),
        )


def _copied(micros: Generator[MicroBatch, None, None]) -> Generator[Batch, None, None]:
    """Turn arrays in the object store into batches that own their memory, and close `micros` when closed.

    A tensor on the store's memory could change a block under another reader's eyes, and would keep the block there
    for as long as it lives. The copy takes about a hundredth of the time that the clip's decoding takes.
    """
    with contextlib.closing(micros):
        for micro in micros:
            arrays = {name: getattr(micro, name).copy() for name in ("x_BTHWC", "label_B", "idx_BT", "valid_BT")}
            yield _batch(dataclasses.replace(micro, **arrays))


def _batch(micro: MicroBatch) -> Batch:
    """Turn arrays into tensors on the same memory."""
    return Batch(
        x_BTHWC=torch.from_numpy(micro.x_BTHWC),
        label_B=torch.from_numpy(micro.label_B),
        idx_BT=torch.from_numpy(micro.idx_BT),
        valid_BT=torch.from_numpy(micro.valid_BT),
        ids=micro.ids,
        step=micro.step,
        epoch=micro.epoch,
        micro=micro.micro,
        samples_in_step=micro.samples_in_step,
    )
