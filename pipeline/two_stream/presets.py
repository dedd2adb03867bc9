"""The thesis's system, its Algorithm 1 and its two baselines, for any data set: what the sources state, and the rest.

What S3 does not state is TSN's or the simplest thing; docs/decisions/0007 and 0014 give the reasons.
"""

from dataclasses import replace

from pipeline.data.config import DataConfig
from pipeline.train.recipe import ComputeConfig, OptimConfig, TrainConfig
from pipeline.two_stream.recipe import (
    AttentionConfig,
    NetworkConfig,
    Round,
    StreamInit,
    StreamPart,
    SystemExpected,
    TwoStreamRecipe,
)

RGB_SCALES, FLOW_SCALES = (1.0, 0.875, 0.75, 0.66), (1.0, 0.875, 0.75)
"""Shares of the short side that a training crop may have (TSN)."""
RGB_CLIP, FLOW_CLIP = 40.0, 20.0
"""Largest gradient norm (TSN)."""


def cross_attention(name: str, classes: int, expected: SystemExpected) -> TwoStreamRecipe:
    """Return the system as the thesis trains it: a round with 0.1 everywhere, then one with maps.

    Args:
        name: of the recipe.
        classes: K.
        expected: from the thesis's tables.
    """
    return TwoStreamRecipe(
        name=name,
        data=DataConfig(test_split="test"),
        network=NetworkConfig(classes=classes),
        spatial=_part(RGB_SCALES, RGB_CLIP, 0.5),
        temporal=_part(FLOW_SCALES, FLOW_CLIP, 0.5),
        rounds=(Round(epochs=300), Round(epochs=150)),
        attention=AttentionConfig(epochs=30),
        train=TrainConfig(global_batch=64, precision="bf16", channels_last=True, eval_every=10),
        compute=ComputeConfig(workers=4, gpu=True, cpus_per_worker=2.0, data_cpus=48.0),
        expected=expected,
    )


def alternating(name: str, classes: int, expected: SystemExpected) -> TwoStreamRecipe:
    """Return Algorithm 1: rounds of one epoch, each stream on the maps that the other has just made.

    Its 300 rounds make 600 sets of maps, so a map every tenth frame; the attention nets learn from the last networks,
    shown 0.1 everywhere.
    """
    recipe = cross_attention(name, classes, expected)
    return in_turns(replace(recipe, maps=replace(recipe.maps, stride=10)), name, rounds=300, epochs=1)


def plain_two_stream(name: str, classes: int, expected: SystemExpected) -> TwoStreamRecipe:
    """Return the baseline Two-Stream (Simonyan and Zisserman 2014): no maps, on the same Inception-V3."""
    recipe = cross_attention(name, classes, expected)
    network = replace(recipe.network, attention_channel=False)
    return replace(recipe, network=network, rounds=(Round(epochs=300),))


def tsn(name: str, classes: int, expected: SystemExpected) -> TwoStreamRecipe:
    """Return the baseline TSN (Wang et al. 2016): three segments, their mean, partial batch norm, stacks of five.

    On the same Inception-V3, and with the schedule of its RGB network (80 epochs, steps at 30 and 60) for both streams.
    """
    recipe = cross_attention(name, classes, expected)
    milestones = (30.0, 60.0)
    return replace(
        recipe,
        network=replace(recipe.network, attention_channel=False, segments=3, flow_stack=5, partial_bn=True),
        spatial=_part(RGB_SCALES, RGB_CLIP, 0.8, milestones),
        temporal=_part(FLOW_SCALES, FLOW_CLIP, 0.7, milestones),
        rounds=(Round(epochs=80),),
    )


def in_turns(
    recipe: TwoStreamRecipe, name: str, *, rounds: int, epochs: int, milestones: tuple[float, ...] = ()
) -> TwoStreamRecipe:
    """Return a system that Algorithm 1 trains: short rounds that share one schedule, attention nets from the last.

    Args:
        recipe: of a system in two phases.
        name: of the new recipe.
        rounds: how often the streams make new maps for each other.
        epochs: of a round.
        milestones: epochs, over all rounds, after which the learning rate falls; the recipe's own if there are none.
    """

    def stepwise(part: StreamPart) -> StreamPart:
        optim = replace(part.optim, schedule="multistep", milestones=milestones) if milestones else part.optim
        return replace(part, optim=optim)

    return replace(
        recipe,
        name=name,
        order="alternating",
        spatial=stepwise(recipe.spatial),
        temporal=stepwise(recipe.temporal),
        rounds=tuple(Round(epochs=epochs, schedule="continue") for _ in range(rounds)),
        attention=replace(recipe.attention, source="last"),
    )


def _part(
    scales: tuple[float, ...], clip_norm: float, dropout: float, milestones: tuple[float, ...] = (30.0, 250.0)
) -> StreamPart:
    part = StreamPart(dropout=dropout, init=StreamInit(source="imagenet"))
    optim = OptimConfig(lr=1e-3, reference_batch=0, nesterov=False, milestones=milestones, clip_norm=clip_norm)
    return replace(part, optim=optim, augment=replace(part.augment, scales=scales))
