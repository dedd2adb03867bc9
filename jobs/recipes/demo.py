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
        model=ModelConfig(depth=10, width=4, classes=8, frames=4),
        optim=OptimConfig(lr=0.05, reference_batch=0, schedule="cosine"),
        train=TrainConfig(epochs=2, global_batch=4, log_every=2),
        expected=Expected(source="none", cost="half a minute on two cores"),
    )


def stabn_demo() -> Recipe:
    """ST-ABN on a narrow 3D ResNet-10.

    Command: python jobs/train_stabn.py stabn_demo --data data/demo
    Cost: minutes on two cores.
    Expect: far above baseline_demo's oneframe control; motion is the only cue.
    """
    return Recipe(
        name="stabn_demo",
        clip=ClipConfig(frames=8, sampling="uniform", size=48, short_side=52),
        augment=AugmentConfig(area=(0.6, 1.0)),
        model=ModelConfig(depth=10, width=16, classes=8, frames=8),
        optim=OptimConfig(lr=0.1, reference_batch=0, schedule="cosine", warmup_epochs=2.0),
        train=TrainConfig(epochs=15, global_batch=24),
        compute=ComputeConfig(threads=2, data_cpus=2.0),
        expected=Expected(source="python jobs/train_stabn.py stabn_demo", cost="minutes on two cores"),
    )


def baseline_demo() -> Recipe:
    """The same backbone without the attention branch.

    Command: python jobs/train_stabn.py baseline_demo --data data/demo
    Cost: minutes on two cores.
    Expect: near stabn_demo.
    """
    recipe = stabn_demo()
    return replace(recipe, name="baseline_demo", model=replace(recipe.model, arch="baseline"))


def oneframe_demo() -> Recipe:
    """A control: the baseline sees the middle frame of the clip eight times, so all motion is gone.

    Command: python jobs/train_stabn.py oneframe_demo --data data/demo
    Cost: minutes on two cores.
    Expect: near chance, 12.5 % for eight classes; what is above it leaks from single frames.
    """
    recipe = baseline_demo()
    return replace(recipe, name="oneframe_demo", clip=replace(recipe.clip, repeat_one_frame=True))
