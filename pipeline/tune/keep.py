"""Writes into the ledger what Tune's trials report, in the sweep's driver, and says a line when one ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ray import tune

from pipeline.tune.choose import Score, last_score
from pipeline.tune.ledger import Ledger, Rung, Trial, with_rungs
from pipeline.tune.space import shown
from pipeline.tune.trial import ENDED, FAILED, NUMBER, RUNG, Setting

Say = Callable[[str], None]


class Keeper(tune.Callback):  # type: ignore[misc]  # Ray is untyped
    """Keeps the ledger.

    Args:
        ledger: of the sweep.
        setting: likewise.
        total: trials in all, for the line.
        stopper: what stops trials early, for the record.
        say: told a line a trial.
    """

    def __init__(self, ledger: Ledger, setting: Setting, total: int, stopper: str, say: Say) -> None:
        self._ledger = ledger
        self._setting = setting
        self._total = total
        self._stopper = stopper
        self._say = say
        self.errors: dict[int, str] = {}
        """Of trials whose process was lost, by number."""

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Mapping[str, Any], **_: Any) -> None:
        """Take up a validation, or the end; one that the ledger has already changes nothing."""
        known = self._ledger.known(trial.config[NUMBER])
        if known.is_done:
            return
        seconds = float(result.get("time_total_s", 0.0))
        if why := result.get(FAILED):
            self._end(replace(known, state="failed", why=why, seconds=seconds))
        elif ended := result.get(ENDED):
            rungs = with_rungs(known.rungs, [Rung(**rung) for rung in ended["rungs"]])
            facts = {"checkpoint": ended["checkpoint"], "mlflow_run_id": ended["mlflow_run_id"], "why": ""}
            changed = replace(known, rungs=rungs, seconds=known.seconds + seconds, **facts)
            last = self._setting.recipe_of(known).train.epochs
            if known.until and known.until < last:  # to be continued, by this process or the next
                self._ledger.write(changed)
            else:
                self._end(replace(changed, state="finished"))
        elif (rung := Rung(**result[RUNG])).step not in {old.step for old in known.rungs}:
            self._ledger.write(replace(known, rungs=with_rungs(known.rungs, [rung])))

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
        """Note a trial that its scheduler has stopped: it is over, and nothing has said so."""
        known = self._ledger.known(trial.config[NUMBER])
        result = trial.last_result or {}
        if not known.is_done and known.rungs and not {ENDED, FAILED} & result.keys():
            why = f"stopped by {self._stopper} after epoch {known.rungs[-1].epoch:g}"
            self._end(replace(known, state="stopped", why=why, seconds=float(result.get("time_total_s", 0.0))))

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
        """Note a trial whose process was lost; it is not over."""
        lines = str(trial.get_error() or "its process ended").strip().splitlines()
        self.errors[trial.config[NUMBER]] = lines[-1][:300]

    def _end(self, trial: Trial) -> None:
        self._ledger.write(trial)
        done = sum(one.is_done for one in self._ledger.trials())
        score = last_score(trial, self._setting.videos)
        what = trial.why if trial.state == "failed" or score is None else score_words(score)
        words = f"{trial.name} ({done} of {self._total}): {shown(trial.values)}  {what}  {trial.seconds:.0f} s"
        self._say(words + (f"  {trial.why}" if trial.state == "stopped" else ""))


def score_words(score: Score) -> str:
    """Say a score in a line."""
    parts = [f"{group} {share.percent()}" for group, share in score.shares.items()]
    if score.heldout is not None:
        parts.append(f"held-out edits {score.heldout.value:.4f}")
    return "  ".join(parts)
