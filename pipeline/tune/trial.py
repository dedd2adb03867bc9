"""One trial: an ordinary run of `pipeline.train` inside a Ray Tune trial, which hears of every validation.

Tune's process of a trial is a driver of Ray Train and holds next to nothing (DRIVER_CPUS); the training processes and
the feed ask for theirs. What the ledger knows of a trial is told to Tune first, so that a scheduler sees the whole
trial whenever the sweep's driver was started anew; one that is done then ends at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback

from pipeline.core.errors import UserError
from pipeline.train import checkpoint
from pipeline.train.feeding import OpenFeed
from pipeline.train.launch import Part, train
from pipeline.train.recipe import RunRecipe
from pipeline.train.task import OpenTask
from pipeline.tune.choose import Score, rank_of, score_of
from pipeline.tune.ledger import Ledger, Rung, Trial, with_rungs

DRIVER_CPUS = 0.01
"""Logical CPUs of a trial's own process; Tune refuses 0."""
PATIENCE_S = 60.0
"""How long a trial waits for the process of the sweep's last attempt, which ends with its driver."""
NUMBER, EPOCH, RANK, RUNG, ENDED, FAILED = "trial", "epoch", "rank", "rung", "ended", "failed"
"""Keys of Tune's config and results."""
WORST = -1e9
"""Rank of a trial that failed."""
VALIDATED = "val/"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is the same for all trials; travels to their processes."""

    root: str
    """Run storage."""
    name: str
    """Of the sweep."""
    run_of: Callable[[int, Mapping[str, Any]], RunRecipe]
    """From a trial's number and values to the recipe of its run."""
    open_feed: OpenFeed
    open_task: OpenTask
    videos: int
    """Of the validation split."""
    margin: float
    """Percent points that the other classes may lose against the control."""
    parent: str = ""
    """MLflow run of the sweep; empty where it could not be made."""
    control: Mapping[float, Score] = field(default_factory=dict)
    """The control's score by epoch, where it has been trained."""

    def recipe_of(self, trial: Trial) -> RunRecipe:
        """Return the recipe of a trial's run."""
        return self.run_of(trial.number, trial.values)

    def result(self, rung: Rung) -> dict[str, Any]:
        """Return what Tune is told of a validation."""
        rank = rank_of(score_of(rung, self.videos), self.control.get(rung.epoch), self.margin)
        return {EPOCH: rung.epoch, RANK: rank, RUNG: {**asdict(rung)}}


class TellTune(TuneReportCallback):  # type: ignore[misc]  # Ray is untyped
    """Tells the trial's process of every validation that a report carries. Made there; lives in the controller.

    Args:
        setting: of the sweep.
        steps_per_epoch: of the trial.
        after: step of the last validation that Tune knows.
    """

    def __init__(self, setting: Setting, steps_per_epoch: int, after: int) -> None:
        super().__init__()
        self._setting = setting
        self._steps_per_epoch = steps_per_epoch
        self._after = after

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """Pass on the validations among the points."""
        for rung in rungs_of(metrics[0].get("points", ()), self._steps_per_epoch, self._after):
            self._after = rung.step
            super().after_report(run_context, [self._setting.result(rung)], None)


def rungs_of(points: Sequence[Mapping[str, Any]], steps_per_epoch: int, after: int) -> list[Rung]:
    """Return the validations among points of a training curve that come after a step, in order."""
    found = []
    for point in points:
        values = {k.removeprefix(VALIDATED): v for k, v in point["metrics"].items() if k.startswith(VALIDATED)}
        if values and point["step"] > after:
            found.append(Rung(step=point["step"], epoch=point["step"] / steps_per_epoch, metrics=values))
    return found


def run_trial(config: Mapping[str, Any], setting: Setting) -> None:
    """Train a trial to its end, or as far as it is wanted now; Tune calls this in a process of its own.

    Args:
        config: {"trial": its number}.
        setting: of the sweep.
    """
    trial = Ledger(setting.root, setting.name).known(config[NUMBER])
    for rung in trial.rungs:
        tune.report(setting.result(rung))
    if not trial.is_done:
        try:
            tune.report(_train(trial, setting))
        except UserError as error:  # a rate at which nothing learns, say: of this trial alone, the others go on
            tune.report({EPOCH: 0.0, RANK: WORST, FAILED: str(error)})


def _train(trial: Trial, setting: Setting) -> dict[str, Any]:
    """Train, and return what Tune is told at the end."""
    recipe = setting.recipe_of(trial)
    per_epoch = setting.open_feed(recipe).plan.steps_per_epoch
    if trial.until:
        recipe = replace(recipe, train=replace(recipe.train, max_steps=round(trial.until * per_epoch)))
    known = trial.rungs[-1].step if trial.rungs else 0
    parent = {"mlflow.parentRunId": setting.parent} if setting.parent else {}
    trained = train(
        recipe,
        root=setting.root,
        name=trial.run,
        open_feed=setting.open_feed,
        open_task=setting.open_task,
        part=Part(
            start=trial.start,
            callbacks=(TellTune(setting, per_epoch, known),),
            tags={**parent, "star.sweep": setting.name, "star.trial": str(trial.number)},
            patience_s=PATIENCE_S,
        ),
    )
    # A driver may have died between the last checkpoint and its record of it; the checkpoint knows the validation too.
    last = rungs_of(checkpoint.read(trained.last_checkpoint).points, per_epoch, known)
    rungs = with_rungs(trial.rungs, last)
    ended = {"rungs": [asdict(rung) for rung in rungs], "checkpoint": trained.last_checkpoint}
    return {**setting.result(rungs[-1]), ENDED: {**ended, "mlflow_run_id": trained.mlflow_run_id}}
