"""Something-Something V2 in the pipeline of S1, whose clips are the middles of 32 segments (`clip.sampling="uniform"`).

S0 reports other numbers for the same names, from 32 consecutive frames (jobs/recipes/something_v2.py); the two must not
be mixed. All else is as there.
"""

from dataclasses import replace

from jobs.recipes.something_v2 import baseline_r50_ssv2, stabn_r50_ssv2
from pipeline.train.recipe import Recipe


def stabn_r50_ssv2_uniform() -> Recipe:
    """ST-ABN on 3D ResNet-50.

    Command: as stabn_r50_ssv2.
    Cost: 4.7e19 FLOP: 150 epochs x 168,913 clips x 3 x 618 GFLOP.
    Expect: top-1 56.6, top-5 82.0 with 32 frames; 64.1, 89.6 with 32x2 (S1 table 1, V2).
    """
    return _uniform(stabn_r50_ssv2(), (56.6, 82.0))


def baseline_r50_ssv2_uniform() -> Recipe:
    """3D ResNet-50 without the attention branch.

    Command: as stabn_r50_ssv2.
    Cost: 2.5e19 FLOP: 150 epochs x 168,913 clips x 3 x 334 GFLOP.
    Expect: top-1 55.6, top-5 81.6 with 32 frames; 63.8, 89.2 with 32x2 (S1 table 1, V2).
    """
    return _uniform(baseline_r50_ssv2(), (55.6, 81.6))


def _uniform(recipe: Recipe, accuracy: tuple[float, float]) -> Recipe:
    return replace(
        recipe,
        name=f"{recipe.name}_uniform",
        clip=replace(recipe.clip, sampling="uniform"),
        expected=replace(recipe.expected, source="S1 table 1, V2, 32 frames", top1=accuracy[0], top5=accuracy[1]),
    )
