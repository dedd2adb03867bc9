"""What a trial tells Ray Tune, and what the sweep's driver makes of it."""

from types import SimpleNamespace

import pytest

from pipeline.core.config import override
from pipeline.finetune.recipe import FinetuneRecipe
from pipeline.finetune.table import Share
from pipeline.tune.choose import OUTRANKED, Score
from pipeline.tune.keep import Keeper
from pipeline.tune.ledger import Ledger, Rung
from pipeline.tune.trial import ENDED, EPOCH, FAILED, NUMBER, RANK, RUNG, WORST, Setting, rungs_of
from pipeline.tune.tuning import InTurn

RECIPE = override(FinetuneRecipe(name="r"), ["train.epochs=2"])


def plain(number, values):
    """The recipe of a trial, whatever its values."""
    return RECIPE


@pytest.fixture
def setting(tmp_path):
    return Setting(root=str(tmp_path), name="s", run_of=plain, open_feed=None, open_task=None, videos=10, margin=1.0)


@pytest.fixture
def told(setting, tmp_path):
    """A ledger with trial 0, its keeper, a function that tells the keeper something, and the lines it said."""
    ledger, said = Ledger(str(tmp_path), "s"), []
    ledger.plan(0, {}, RECIPE)
    keeper, trial = Keeper(ledger, setting, 3, "asha", said.append), SimpleNamespace(config={NUMBER: 0}, last_result={})

    def tell(**result):
        trial.last_result = {"time_total_s": 7.0, **result}
        keeper.on_trial_result(1, [], trial, trial.last_result)

    return ledger, keeper, trial, tell, said


def rung(epoch, top1):
    return {"step": int(4 * epoch), "epoch": epoch, "metrics": {"top1": top1}}


def test_validations_are_the_points_that_carry_one_and_each_once():
    points = [
        {"step": 2, "metrics": {"train/loss": 1.0, "epoch": 0.5}},
        {"step": 4, "metrics": {"val/top1": 50.0, "val/loss": 2.0}},
        {"step": 8, "metrics": {"val/top1": 60.0}},
    ]
    found = rungs_of(points, steps_per_epoch=4, after=0)
    assert found == [
        Rung(step=4, epoch=1.0, metrics={"top1": 50.0, "loss": 2.0}),
        Rung(step=8, epoch=2.0, metrics={"top1": 60.0}),
    ]
    assert rungs_of(points, 4, after=4) == found[1:]


def test_a_rung_is_ranked_against_the_control_at_the_same_epoch(setting):
    counts = {"edited_hits": 3, "edited_videos": 4, "other_hits": 2, "other_videos": 4}
    one = Rung(step=4, epoch=1.0, metrics=counts)
    assert setting.result(one)[RANK] == 75.0
    held = {e: Score({"edited": Share(0, 4), "other": Share(other, 4)}) for e, other in ((1.0, 3), (2.0, 2))}
    against = Setting(**{**vars(setting), "control": held})
    assert against.result(one)[RANK] == 75.0 - OUTRANKED
    assert against.result(Rung(step=8, epoch=2.0, metrics=counts))[RANK] == 75.0


def test_a_trial_that_ends_is_finished_with_all_its_validations(told):
    ledger, keeper, trial, tell, said = told
    tell(**{EPOCH: 1.0, RANK: 1.0, RUNG: rung(1.0, 50.0)})
    tell(**{EPOCH: 1.0, RANK: 1.0, RUNG: rung(1.0, 99.0)})  # told again by a run that was resumed
    ended = {"rungs": [rung(1.0, 99.0), rung(2.0, 60.0)], "checkpoint": "/c", "mlflow_run_id": "m"}
    tell(**{EPOCH: 2.0, RANK: 1.0, RUNG: rung(2.0, 60.0), ENDED: ended})
    keeper.on_trial_complete(2, [], trial)
    found = ledger.known(0)
    assert [one.metrics["top1"] for one in found.rungs] == [50.0, 60.0]
    assert (found.state, found.checkpoint, found.mlflow_run_id, found.seconds) == ("finished", "/c", "m", 7.0)
    assert said == ["control (1 of 3):   all 60.00 (6/10)  7 s"]
    tell(**{EPOCH: 1.0, RANK: 1.0, RUNG: rung(3.0, 1.0)})  # replayed later: what is done stays as it is
    assert ledger.known(0) == found


def test_a_trial_that_says_nothing_of_its_end_was_stopped(told):
    ledger, keeper, trial, tell, said = told
    tell(**{EPOCH: 1.0, RANK: 1.0, RUNG: rung(1.0, 50.0)})
    keeper.on_trial_complete(2, [], trial)
    assert (ledger.known(0).state, ledger.known(0).why) == ("stopped", "stopped by asha after epoch 1")
    assert "stopped by asha after epoch 1" in said[0]


def test_a_trial_that_failed_is_not_done_and_neither_is_one_that_was_lost(told):
    ledger, keeper, trial, tell, said = told
    trial.get_error = lambda: "Traceback\nActorDiedError: killed"
    keeper.on_trial_error(1, [], trial)
    assert keeper.errors == {0: "ActorDiedError: killed"}
    assert ledger.known(0).state == "planned"
    tell(**{EPOCH: 0.0, RANK: WORST, FAILED: "too many steps were not finite"})
    keeper.on_trial_complete(2, [], trial)
    found = ledger.known(0)
    assert (found.state, found.why, found.is_done) == ("failed", "too many steps were not finite", False)
    assert "not finite" in said[0]


def test_trials_are_drawn_when_their_turn_comes(told):
    ledger, *_ = told
    asked = []

    def draw(number):
        asked.append(number)
        return ledger.known(0)

    turn = InTurn([0, 5], draw)
    assert turn.suggest("a") == {NUMBER: 0}
    assert asked == [0]
    turn.suggest("b")
    assert asked == [0, 5]
    assert turn.suggest("c") == InTurn.FINISHED
