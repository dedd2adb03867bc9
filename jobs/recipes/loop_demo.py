"""A small network that looks at the wrong time, for people to correct: the base of the annotation loop's demo."""

from dataclasses import replace

from jobs.recipes.demo import stabn_demo
from pipeline.train.recipe import Expected, OptimConfig, Recipe, TrainConfig


def stabn_loop_demo() -> Recipe:
    """ST-ABN on videos where a second movement follows the one that counts, stopped while it still mixes them up.

    Command: make demo-loop, or python jobs/train_stabn.py stabn_loop_demo --data runs/demo-loop/prepared
    Cost: a minute or two on two cores.
    Expect: top-1 near 55 %, and the four classes far apart; chance is 25 %.
    """
    recipe = stabn_demo()
    return replace(
        recipe,
        name="stabn_loop_demo",
        model=replace(recipe.model, classes=4),
        optim=OptimConfig(
            name="adam", lr=2e-3, reference_batch=0, weight_decay=0.0, schedule="cosine", warmup_epochs=1.0
        ),
        train=TrainConfig(epochs=3, global_batch=16, channels_last=True, eval_every=3, log_every=20),
        expected=Expected(source="make demo-loop", top1=55.0, cost="a minute or two on two cores"),
    )
