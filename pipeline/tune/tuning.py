"""Trials through Ray Tune, each a driver of Ray Train."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from ray import tune
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from pipeline.core import storage
from pipeline.tune.keep import Keeper
from pipeline.tune.ledger import Trial
from pipeline.tune.trial import DRIVER_CPUS, NUMBER, RANK, Setting, run_trial

ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # ledger and MLflow have it all
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints tables even when it is told to be silent
}
"""Environment that Ray Tune reads in the driver, set unless the user has set it."""

Draw = Callable[[int], Trial]


class InTurn(Searcher):  # type: ignore[misc]  # Ray is untyped
    """Hands Tune the trials of a list by number, each drawn when its turn has come: it may depend on those before.

    Args:
        numbers: of the trials.
        draw: puts a trial into the ledger.
    """

    def __init__(self, numbers: Sequence[int], draw: Draw) -> None:
        super().__init__(metric=RANK, mode="max")
        self._left = list(numbers)
        self._draw = draw

    def set_search_properties(self, metric: str | None, mode: str | None, config: Any, **spec: Any) -> bool:
        """Take what Tune says of the metric, which is known."""
        return True

    def suggest(self, trial_id: str) -> dict[str, int] | str:
        """Return the number of the next trial, or that there is none."""
        if not self._left:
            return str(Searcher.FINISHED)
        number = self._draw(self._left.pop(0)).number
        return {NUMBER: number}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: results are in the ledger."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a new driver starts from the ledger."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""


def run_on_tune(
    numbers: Sequence[int],
    draw: Draw,
    setting: Setting,
    keeper: Keeper,
    scheduler: TrialScheduler,
    at_once: int,
) -> None:
    """Train trials as far as they are wanted now; Ray must be connected.

    Args:
        numbers: of the trials, in order.
        draw: puts a trial into the ledger.
        setting: of the sweep.
        keeper: takes up what they report.
        scheduler: decides who stops early.
        at_once: trials that train at the same time.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # It misses the files of the loggers that are off.
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
    filesystem, path = storage.resolve(storage.join(setting.root, setting.name, "tune"))
    trainable = tune.with_resources(tune.with_parameters(run_trial, setting=setting), {"CPU": DRIVER_CPUS})
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            metric=RANK,
            mode="max",
            search_alg=InTurn(numbers, draw),
            scheduler=scheduler,
            num_samples=len(numbers),
            max_concurrent_trials=at_once,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}",  # of this attempt alone: nothing is ever restored from it
            storage_path=path,
            storage_filesystem=filesystem,
            callbacks=[keeper],
            verbose=0,
        ),
    )
    tuner.fit()
