"""Small networks for the synthetic data set (jobs/make_synth.py --size demo): seconds to minutes on two cores."""

from dataclasses import replace

from models.config import ModelConfig
from pipeline.data.config import AugmentConfig, ClipConfig
from pipeline.train.recipe import ComputeConfig, Expected, OptimConfig, Recipe, TrainConfig


def debug() -> Recipe:
    """Two epochs of a network that learns nothing: does everything work?

    Command: python jobs/train_stabn.py debug --data data/synth_tiny
    Cost: half a minute on two cores, most of it Ray starting.
    Expect: no accuracy.
    """
    return Recipe(
        name="debug",
        clip=ClipConfig(frames=4, sampling="uniform", size=32, short_side=36),
        model=ModelConfig(depth=10, width=4, classes=6, frames=4),
        optim=OptimConfig(lr=0.05, reference_batch=0, schedule="cosine"),
        train=TrainConfig(epochs=2, global_batch=4, log_every=2),
        expected=Expected(source="none", cost="half a minute on two cores"),
    )


def stabn_demo() -> Recipe:
    """ST-ABN on a narrow 3D ResNet-10.

    Command: make demo, or python jobs/train_stabn.py stabn_demo --data runs/demo/prepared
    Cost: two to three minutes on two cores.
    Expect: top-1 above 90 %; chance is 16.7 %, and motion is the only cue.
    """
    return Recipe(
        name="stabn_demo",
        clip=ClipConfig(frames=8, sampling="uniform", size=64, short_side=64),
        # Little colour jitter and nearly whole frames: with more, a network this narrow stays at chance for minutes.
        augment=AugmentConfig(
            area=(0.8, 1.0), ratio=(0.85, 1.18), brightness=0.03, contrast=0.1, saturation=0.1, hue=0.03
        ),
        model=ModelConfig(depth=10, width=16, classes=6, frames=8, dropout=0.0),
        optim=OptimConfig(lr=0.05, reference_batch=0, schedule="cosine", warmup_epochs=1.0),
        train=TrainConfig(epochs=8, global_batch=16, channels_last=True, eval_every=4, log_every=20),
        compute=ComputeConfig(threads=2),
        expected=Expected(source="make demo", top1=90.0, cost="two to three minutes on two cores"),
    )


def baseline_demo() -> Recipe:
    """The same backbone without the attention branch.

    Command: make demo, or python jobs/train_stabn.py baseline_demo --data runs/demo/prepared
    Cost: one to two minutes on two cores.
    Expect: near stabn_demo.
    """
    recipe = stabn_demo()
    return replace(recipe, name="baseline_demo", model=replace(recipe.model, arch="baseline"))


def oneframe_demo() -> Recipe:
    """A control: the same ST-ABN sees the middle frame of the clip eight times, so all motion is gone.

    Command: make demo, or python jobs/train_stabn.py oneframe_demo --data runs/demo/prepared
    Cost: as stabn_demo.
    Expect: near chance, 16.7 %; what is above it leaks from single frames.
    """
    recipe = stabn_demo()
    return replace(
        recipe,
        name="oneframe_demo",
        clip=replace(recipe.clip, repeat_one_frame=True),
        expected=Expected(source="make demo", top1=16.7, cost=recipe.expected.cost),
    )


def swin_demo() -> Recipe:
    """ST-ABN on a narrow Video Swin Transformer (docs/decisions/0018), 1.1 million weights.

    Command: python jobs/train_stabn.py swin_demo --data runs/demo/prepared
    Cost: a CPU minute an epoch, so about half an hour on one core.
    Expect: not measured. tests/models/test_swin3d.py has a network of this width learn left from right on smaller
        clips, from nothing, in 120 steps.
    """
    recipe = stabn_demo()
    return replace(
        recipe,
        name="swin_demo",
        # 56 pixels are 14 tokens, two windows: none is padding.
        clip=replace(recipe.clip, size=56, short_side=56),
        model=ModelConfig(backbone="swin3d", depth=8, width=16, classes=6, frames=8, dropout=0.0, merge="conv_bn"),
        optim=OptimConfig(
            name="adamw", lr=3e-3, reference_batch=0, weight_decay=0.01, schedule="cosine", warmup_epochs=1.0
        ),
        train=replace(recipe.train, epochs=30),
        expected=Expected(source="not measured", cost="half an hour on one core"),
    )
