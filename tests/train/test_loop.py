"""What a person sees of an error that happens inside a worker."""

import os
from dataclasses import replace

import pytest
import torch.distributed as dist
from mlflow import MlflowClient

from pipeline.core.config import override
from pipeline.core.errors import UserError
from pipeline.data.store.catalog import Passport
from pipeline.train import checkpoint
from pipeline.train.launch import train
from pipeline.train.lock import driving

ON_RAY = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def on_ray(test):
    for mark in ON_RAY:
        test = mark(test)
    return test


@on_ray
def test_a_workers_user_error_ends_the_run_with_its_words(cluster, fit, tmp_path, capfd):
    """Rank 1 alone meets it, in mid-epoch, while rank 0 waits for its gradients; nothing is tried again."""
    opened = tmp_path / "opened"
    opened.mkdir()

    class Unreadable(fit.RandomFeed):
        def train(self, start_step, rank, world):
            (opened / f"{os.getpid()}").touch()
            for batch in super().train(start_step, rank, world):
                if (batch.step, rank) == (3, 1):
                    raise UserError("Video v7 cannot be read.")
                yield batch

    with pytest.raises(UserError, match=r"^Video v7 cannot be read\.$"):
        train(fit.recipe_for(2), root=str(tmp_path), name="r", open_feed=Unreadable)
    assert len(list(opened.iterdir())) == 2
    run = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").search_runs(["1"])[0]
    assert run.info.status == "FAILED"
    assert "star.worker_failures" not in run.data.tags
    assert "Error in training function" not in capfd.readouterr().err


@on_ray
def test_a_second_driver_of_a_run_is_refused(cluster, fit, tmp_path):
    with driving(str(tmp_path), "r"), pytest.raises(UserError, match=f"Run r is being driven already.*{os.getpid()}"):
        train(fit.recipe_for(1), root=str(tmp_path), name="r", open_feed=fit.RandomFeed)
    assert not (tmp_path / "r" / "run.json").exists()


@on_ray
def test_a_worker_that_finds_other_data_stops_the_run_at_once(cluster, fit, tmp_path):
    """Rank 1 alone sees another passport; rank 0 does not wait for it, and nothing is tried again."""
    opened = tmp_path / "opened"
    opened.mkdir()

    class Elsewhere(fit.RandomFeed):
        def __init__(self, recipe):
            super().__init__(recipe)
            if dist.is_initialized():
                (opened / f"{os.getpid()}").touch()
                if dist.get_rank() == 1:
                    self.passport = Passport("p2", {"ids": "2"})

    with pytest.raises(UserError, match=r"that worker 1 finds at .* is not of the data that .*: ids differs"):
        train(fit.recipe_for(2), root=str(tmp_path), name="r", open_feed=Elsewhere)
    assert len(list(opened.iterdir())) == 2


@pytest.mark.slow
@on_ray
def test_a_checkpoint_of_another_plan_is_not_gone_on_from(cluster, fit, tmp_path):
    """The run's record says nothing against it: only the checkpoint knows what it was trained on."""
    half = train(
        override(fit.recipe_for(1), ["train.max_steps=2"]), root=str(tmp_path), name="r", open_feed=fit.RandomFeed
    )
    snapshot = checkpoint.read(half.last_checkpoint)
    changed = replace(snapshot, plan=snapshot.plan | {"samples": 99}, passport="p0", passport_parts={"ids": "0"})
    checkpoint.write(half.last_checkpoint, changed)
    with pytest.raises(UserError, match=r"The checkpoint at step 2 is not of .*: ids differs; plan samples 22 -> 99"):
        train(fit.recipe_for(1), root=str(tmp_path), name="r", open_feed=fit.RandomFeed)
