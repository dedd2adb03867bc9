#!/usr/bin/env python3
"""What edits of the temporal attention change, over many seeds, and what perfect attention would be worth.

    python benchmarks/edits.py --run stabn_loop_demo --storage runs/demo-loop/runs \
        --batches runs/demo-loop/batches/* --truth runs/demo-loop/videos/truth.parquet

Fine-tuning never touches the extractor, so its features of a few augmented clips of every training video are computed
once, and the branches are trained on them in seconds, again and again: with gamma 0 (the control), with each --gamma,
and "given": with the levels of the truth in the place of the network's attention, in training and in testing. What
"given" adds to the control is what attention can be worth at all. Differences to the control are paired by seed. Needs
no Ray. SGD, whatever the base was trained with; the rate falls along a cosine.
"""

import argparse
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own idiom)
from torch import Tensor

from models import StAbn, build_model
from models.st_abn import attend
from pipeline.annotate.simulate import levels_of
from pipeline.data.feed.clips import load_clip
from pipeline.data.feed.flip import flip_map
from pipeline.data.feed.plan import Plan
from pipeline.data.records import Clip
from pipeline.data.store.prepared import PreparedDataset
from pipeline.data.store.shards import read_video
from pipeline.eval.load import Recogniser, load
from pipeline.eval.truth import BoolArray, auc, read_truth
from pipeline.finetune.edits import Edits, read_edits, targets
from pipeline.finetune.task import masked_mse_sum
from pipeline.registry.locate import find_checkpoint
from pipeline.train.device import to_model_input
from pipeline.train.optim import Schedule, build_optimizer
from pipeline.train.recipe import OptimConfig

GIVEN = "given"
WEIGHT_DECAY = 5e-4
CHUNK = 32
"""Clips of a forward pass where no gradient is needed."""


@dataclass(frozen=True)
class Features:
    """N clips as the extractor sees them."""

    f_NCTHW: Tensor
    label_N: Tensor
    target_NT: Tensor
    """What people said; 0 where they said nothing."""
    mask_NT: Tensor
    """Where they did."""
    true_NT: Tensor
    """Levels of the truth."""
    active_NT: npt.NDArray[np.bool_]

    def of(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> "Features":
        """Return some of the clips."""
        n = np.array(rows)  # a copy: torch refuses what the plan keeps
        return Features(
            self.f_NCTHW[n], self.label_N[n], self.target_NT[n], self.mask_NT[n], self.true_NT[n], self.active_NT[n]
        )


@dataclass(frozen=True)
class Outcome:
    """What a network says of the test split."""

    hit_N: npt.NDArray[np.bool_]
    auc: float
    """Of its attention against the active frames, mean over clips that have both kinds."""


@torch.no_grad()
def features(network: Recogniser, clips: Iterable[Clip], edits: Edits, active: Mapping[str, BoolArray]) -> Features:
    """Run clips through the extractor."""
    found: list[Tensor] = []
    clips = list(clips)
    for start in range(0, len(clips), CHUNK):
        x_BTHWC = torch.from_numpy(np.stack([clip.x_THWC for clip in clips[start : start + CHUNK]]))
        x_BCTHW = to_model_input(x_BTHWC, network.device, "fp32", network.recipe.train.channels_last)
        found.append(stabn(network).extractor(x_BCTHW))
    idx_NT = np.stack([clip.idx_T for clip in clips])
    valid_NT = np.stack([clip.valid_T for clip in clips])
    target_NT, mask_NT = targets(edits.train, [clip.id for clip in clips], idx_NT, valid_NT)
    return Features(
        torch.cat(found),
        torch.tensor([clip.label for clip in clips]),
        torch.from_numpy(target_NT),
        torch.from_numpy(mask_NT),
        torch.from_numpy(np.stack([levels_of(active[clip.id])[clip.idx_T] for clip in clips])),
        np.stack([active[clip.id][clip.idx_T] for clip in clips]),
    )


def stabn(network: Recogniser) -> StAbn:
    """Return the network itself, which has attention."""
    assert isinstance(network.model, StAbn), "give the run of an st_abn network"
    return network.model


def forward(model: StAbn, f_BCTHW: Tensor, given_BT: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits of both branches and the temporal attention, as `StAbn.forward` does behind the extractor."""
    att_logits_BK, spatial_B1THW, temporal_B1T11 = model.attention(f_BCTHW, given_BT, None)
    attended_BCTHW = model.merge(attend(f_BCTHW, spatial_B1THW, temporal_B1T11))
    return model.perception(attended_BCTHW), att_logits_BK, temporal_B1T11.flatten(1)


def train(
    network: Recogniser,
    epochs: Sequence[Features],
    optim: OptimConfig,
    seed: int,
    *,
    gamma: float,
    given: bool,
    batch: int,
    count: int,
) -> StAbn:
    """Return a copy of the network whose branches were trained; epoch e sees clips e mod the number kept.

    Args:
        network: that training starts from.
        epochs: clips of every training video, as often as they were drawn.
        optim: rate, momentum and so on.
        seed: of the order.
        gamma: weight of the temporal term.
        given: the truth takes the place of the attention.
        batch: clips of a step.
        count: epochs.
    """
    model = build_model(network.recipe.model)
    assert isinstance(model, StAbn), "a network with attention"
    model.load_state_dict(stabn(network).state_dict())
    parts = (model.attention, model.merge, model.perception)
    parameters = [parameter for part in parts for parameter in part.parameters()]
    optimizer = build_optimizer(parameters, optim)
    plan = Plan(seed, len(epochs[0].label_N), batch, count)
    schedule = Schedule(optim, batch, plan.steps_per_epoch, count)
    model.train()
    for g in range(plan.total_steps):
        step = plan.step(g)
        clips = epochs[(step.epoch + seed) % len(epochs)].of(step.samples)
        logits_BK, att_logits_BK, temporal_BT = forward(model, clips.f_NCTHW, clips.true_NT if given else None)
        loss = F.cross_entropy(logits_BK, clips.label_N) + F.cross_entropy(att_logits_BK, clips.label_N)
        if gamma:
            loss = loss + gamma * masked_mse_sum(temporal_BT, clips.target_NT, clips.mask_NT) / len(clips.label_N)
        for group in optimizer.param_groups:
            group["lr"] = schedule.lr(g)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, optim.clip_norm)
        optimizer.step()
    return model.eval()


@torch.inference_mode()
def test(model: StAbn, clips: Features, *, given: bool) -> Outcome:
    """Answer the test split."""
    hits, seen = [], []
    for start in range(0, len(clips.label_N), CHUNK):
        part = clips.of(range(start, min(start + CHUNK, len(clips.label_N))))
        logits_BK, _, temporal_BT = forward(model, part.f_NCTHW, part.true_NT if given else None)
        hits.append((logits_BK.argmax(1) == part.label_N).numpy())
        seen.append(temporal_BT.double().numpy())
    pairs = [(a_T, t_T) for a_T, t_T in zip(np.concatenate(seen), clips.active_NT, strict=True) if 0 < t_T.mean() < 1]
    return Outcome(np.concatenate(hits), float(np.mean([auc(a_T, t_T) for a_T, t_T in pairs])))


def row(name: str, outcomes: Sequence[Outcome], control: Sequence[Outcome], edited_N: npt.NDArray[np.bool_]) -> str:
    """Return a line: top-1 of edited, other, all, and the paired difference of the edited to the control."""
    shares = [[100 * o.hit_N[mask].mean() for o in outcomes] for mask in (edited_N, ~edited_N, np.ones_like(edited_N))]
    text = f"{name:16s}" + "".join(f"{np.mean(share):8.1f}" for share in shares)
    text += f"{np.mean([o.auc for o in outcomes]):8.3f}"
    for mask in (edited_N, np.ones_like(edited_N)):
        pairs = zip(outcomes, control, strict=True)
        gain = [100 * (o.hit_N[mask].mean() - c.hit_N[mask].mean()) for o, c in pairs]
        text += f"   {np.mean(gain):+5.1f}"
        text += f" +- {np.std(gain, ddof=1) / math.sqrt(len(gain)):.1f}" if len(gain) > 1 else " " * 7
    return text


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, metavar="NAME|ID|URI", help="the base")
    parser.add_argument("--storage", default="runs", metavar="URI", help="run storage (runs)")
    parser.add_argument("--batches", required=True, nargs="+", metavar="URI", help="folders of sealed batches")
    parser.add_argument("--truth", required=True, metavar="FILE", help="truth.parquet of make_synth")
    parser.add_argument("--gamma", type=float, nargs="+", default=[10.0], help="weights of the temporal term (10)")
    parser.add_argument("--lr", type=float, nargs="+", default=[0.02], help="rates (0.02)")
    parser.add_argument("--epochs", type=int, default=4, help="epochs of a fine-tuning (4)")
    parser.add_argument("--seeds", type=int, default=5, help="fine-tunings of each kind (5)")
    parser.add_argument("--draws", type=int, default=4, help="augmented clips kept of each video (4)")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (1)")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    args = parse()
    torch.set_num_threads(args.threads)
    network = load(find_checkpoint(args.run, args.storage))
    recipe, edits, active = network.recipe, read_edits(args.batches), read_truth(args.truth)
    dataset = PreparedDataset.open(recipe.data.root)
    flips = flip_map(dataset.classes, recipe.data.flip_pairs)
    train_split = sorted(dataset.videos(recipe.data.train_split, recipe.data.fold), key=lambda video: video.id)
    known = [read_video(dataset.root, video.shard, video.row) for video in train_split]
    drawn = [
        features(
            network,
            (load_clip(v, recipe.clip, epoch=e, augment=recipe.augment, flip_map=flips) for v in known),
            edits,
            active,
        )
        for e in range(args.draws)
    ]
    asked = dataset.videos(recipe.data.test_split, recipe.data.fold)
    tested = (load_clip(read_video(dataset.root, video.shard, video.row), recipe.clip) for video in asked)
    unseen = features(network, tested, edits, active)
    edited_N = np.isin(unseen.label_N.numpy(), edits.classes)
    print(f"{edits.sentence()}\n{len(edited_N)} test videos, {edited_N.sum()} of edited classes\n")
    print("top-1 %           edited   other     all     AUC   edited - control   all - control (mean, standard error)")
    base = [test(stabn(network), unseen, given=False)]
    print(row("before", base, base, edited_N))
    print(row("before, given", [test(stabn(network), unseen, given=True)], base, edited_N))
    for lr in args.lr:
        optim = replace(
            recipe.optim, name="sgd", lr=lr, weight_decay=WEIGHT_DECAY, reference_batch=0, schedule="cosine"
        )
        print(f"lr {lr:g}, {args.epochs} epochs, {args.seeds} seeds")
        control: list[Outcome] = []
        for name, gamma in [("control", 0.0), *((f"gamma {g:g}", g) for g in args.gamma), (GIVEN, 0.0)]:
            given, outcomes = name == GIVEN, []
            for seed in range(args.seeds):
                shared = {"gamma": gamma, "given": given}
                size = recipe.train.global_batch
                model = train(network, drawn, optim, seed, **shared, batch=size, count=args.epochs)
                outcomes.append(test(model, unseen, given=given))
            control = control or outcomes
            print(row(name, outcomes, control, edited_N), flush=True)


if __name__ == "__main__":
    main()
