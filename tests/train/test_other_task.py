"""The loop trains what is no clip classifier: soft targets, a frozen half, Adam, a loss of some samples alone."""

from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from pipeline.core.config import override
from pipeline.core.errors import UserError
from pipeline.train import checkpoint
from pipeline.train.launch import train

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
ADAM = ["optim.name=adam", "optim.lr=0.05", "optim.weight_decay=0"]


@pytest.fixture(scope="module")
def start(cluster, fit, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("other"))

    def run(name, *assignments, **strike):
        recipe = override(fit.recipe_for(2), [*ADAM, "train.keep=9", *assignments])
        hooks = (fit.Trace(folder, name, **strike),)
        return train(recipe, root=folder, name=name, open_feed=fit.RandomFeed, open_task=fit.HalfTask, hooks=hooks)

    return run


@pytest.fixture(scope="module")
def undisturbed(start):
    return start("undisturbed")


def test_only_the_head_moves_and_frozen_statistics_stay_to_the_bit(undisturbed, fit):
    first, last = (
        checkpoint.read(str(path)) for path in sorted(Path(undisturbed.last_checkpoint).parent.glob("step-*"))[::5]
    )
    torch.manual_seed(0)
    fresh = fit.Half().state_dict()
    for name, value in last.model.items():
        frozen = name.startswith("extractor.")
        assert torch.equal(value, first.model[name]) == frozen, name
        assert torch.equal(value, fresh[name]) == frozen, name
    assert set(last.optimizer["state"]) == {0, 1}
    assert set(last.optimizer["state"][0]) == {"step", "exp_avg", "exp_avg_sq"}


def test_its_losses_and_metrics_are_logged_under_their_names(undisturbed):
    run = MlflowClient(undisturbed.tracking_uri).get_run(undisturbed.mlflow_run_id)
    values = run.data.metrics
    assert set(values) >= {"train/loss", "train/loss_soft", "train/loss_chosen", "val/bce"}
    assert not any("top1" in name for name in values)
    assert values["train/loss"] == pytest.approx(values["train/loss_soft"] + 0.5 * values["train/loss_chosen"])
    assert 0 < values["train/loss_chosen"] < values["train/loss_soft"]


def test_the_best_checkpoint_has_the_highest_score(undisturbed):
    assert undisturbed.best_top1 is None
    assert undisturbed.best_score < 0
    assert checkpoint.read(undisturbed.best_checkpoint).score == undisturbed.best_score
    assert checkpoint.read(undisturbed.last_checkpoint).best_score == undisturbed.best_score


def test_a_killed_worker_changes_nothing_of_adam_either(undisturbed, start):
    killed = start("killed", kill=(1, 9))
    a, b = (checkpoint.read(run.last_checkpoint) for run in (undisturbed, killed))
    assert a.step == b.step == 12
    assert all(torch.equal(value, b.model[name]) for name, value in a.model.items())
    for i, state in a.optimizer["state"].items():
        for name, value in state.items():
            assert torch.equal(value, b.optimizer["state"][i][name]), name
    assert a.optimizer["state"][0]["step"] == 12
    assert (a.best_score, b.best_score) == (undisturbed.best_score, killed.best_score)


def test_the_same_run_as_another_task_is_refused(undisturbed, start):
    with pytest.raises(UserError, match=r"optim\.name 'adam' -> 'sgd'"):
        start("undisturbed", "optim.name=sgd")
