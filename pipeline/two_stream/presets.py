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
    return replace(
        recipe,
        order="alternating",
        rounds=tuple(Round(epochs=1, schedule="continue") for _ in range(300)),
        maps=replace(recipe.maps, stride=10),
        attention=replace(recipe.attention, source="last"),
    )


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


def _part(
    scales: tuple[float, ...], clip_norm: float, dropout: float, milestones: tuple[float, ...] = (30.0, 250.0)
) -> StreamPart:
    part = StreamPart(dropout=dropout, init=StreamInit(source="imagenet"))
    optim = OptimConfig(lr=1e-3, reference_batch=0, nesterov=False, milestones=milestones, clip_norm=clip_norm)
    return replace(part, optim=optim, augment=replace(part.augment, scales=scales))
