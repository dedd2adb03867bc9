"""Killed runs go on as if nothing had happened: real processes, SIGKILL in the middle of an epoch."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
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
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray leaves its subprocesses to the interpreter's end
]
PROGRAM = Path(__file__).parent / "programs" / "fit.py"
STEPS = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def short_folder():
    """For another cluster's sockets, whose paths may not be long."""
    with tempfile.TemporaryDirectory(prefix="star-", dir="/tmp", ignore_cleanup_errors=True) as path:
        yield path


@pytest.fixture(scope="module")
def start(cluster, fit, folder):
    """Train in this process's cluster: start(name, workers, *overrides, kill=(rank, step))."""

    def run(name, workers, *assignments, **strike):
        return train(
            override(fit.recipe_for(workers), assignments),
            root=folder,
            name=name,
            open_feed=fit.RandomFeed,
            hooks=(fit.Trace(folder, name, **strike),),
        )

    return run


@pytest.fixture(scope="module")
def undisturbed(start):
    """Two workers, nothing killed; checkpoints at other steps than the disturbed runs have."""
    return start("undisturbed", 2, "train.agree_every=4", "train.keep=9")


def traced(folder, name, rank):
    """Return {step: ids} of a worker; a step that was run again must have seen the same videos."""
    steps = {}
    for row in rows_of(folder, name, rank):
        assert steps.setdefault(row["step"], row["ids"]) == row["ids"]
    return steps


def processes(folder, name, rank):
    """Return {process: its steps} of a worker, in the order of their starts."""
    steps = defaultdict(list)
    for row in rows_of(folder, name, rank):
        steps[row["pid"]].append(row["step"])
    return dict(steps)


def rows_of(folder, name, rank):
    return [json.loads(line) for line in Path(folder, f"{name}.trace", f"{rank}.jsonl").read_text().splitlines()]


def assert_gone_on_from_step_8(folder, name, world):
    """Every worker had two processes, and the second began with the step after the last recorded checkpoint."""
    for rank in range(world):
        before, after = processes(folder, name, rank).values()
        # Rank 0 may have been stopped before it noted its last step.
        assert before in ([*range(9)], [*range(10)])
        assert after == [8, 9, 10, 11]


def assert_same_weights(left, right):
    a, b = checkpoint.read(left.last_checkpoint), checkpoint.read(right.last_checkpoint)
    assert a.step == b.step == STEPS
    assert a.model.keys() == b.model.keys()
    for name, value in a.model.items():
        assert torch.equal(value, b.model[name]), name
    for i, state in a.optimizer["state"].items():
        assert torch.equal(state["momentum_buffer"], b.optimizer["state"][i]["momentum_buffer"])


def assert_every_sample_once_an_epoch(fit, folder, name, world):
    seen = defaultdict(list)
    for rank in range(world):
        for step, ids in traced(folder, name, rank).items():
            seen[step // 6] += ids
    assert {epoch: sorted(ids) for epoch, ids in seen.items()} == dict.fromkeys(
        (0, 1), sorted(f"v{i}" for i in range(fit.SAMPLES))
    )


def curve(trained, metric):
    points = MlflowClient(trained.tracking_uri).get_metric_history(trained.mlflow_run_id, metric)
    return [(p.step, p.value) for p in points]


def test_checkpoints_lie_where_the_agreements_and_epochs_are(undisturbed, folder):
    taken = sorted(path.name for path in Path(folder, "undisturbed").glob("step-*"))
    assert taken == [f"step-{step:08d}" for step in (4, 6, 8, 12)]
    reasons = {step: checkpoint.read(f"{folder}/undisturbed/step-{step:08d}").reason for step in (4, 6, 8, 12)}
    assert reasons == {4: "clock", 6: "epoch", 8: "clock", 12: "epoch"}


def test_a_killed_worker_changes_nothing(undisturbed, start, fit, folder):
    """Rank 1 dies after step 9 of 12, in the second epoch; all go on from the checkpoint at step 8."""
    killed = start("worker-killed", 2, kill=(1, 9))
    assert_same_weights(undisturbed, killed)
    assert_every_sample_once_an_epoch(fit, folder, "worker-killed", 2)
    assert_gone_on_from_step_8(folder, "worker-killed", 2)
    for rank in range(2):
        assert traced(folder, "worker-killed", rank) == traced(folder, "undisturbed", rank)
    # The curve has every point once, and the same values.
    assert [step for step, _ in curve(killed, "train/loss")] == [2, 4, 6, 8, 10, 12]
    assert curve(killed, "train/loss") == curve(undisturbed, "train/loss")
    assert curve(killed, "val/top1") == curve(undisturbed, "val/top1")
    run = MlflowClient(killed.tracking_uri).get_run(killed.mlflow_run_id)
    assert run.info.status == "FINISHED"
    assert int(run.data.tags["star.worker_failures"]) >= 1


def test_one_worker_sees_the_same_global_batches_as_two(undisturbed, start, fit, folder):
    start("alone", 1)
    alone = traced(folder, "alone", 0)
    shares = [traced(folder, "undisturbed", rank) for rank in range(2)]
    plan = fit.RandomFeed(fit.recipe_for(1)).plan
    for step in range(STEPS):
        assert alone[step] == shares[0][step] + shares[1][step] == [f"v{i}" for i in plan.step(step).samples]


@pytest.mark.slow
def test_a_finished_run_has_nothing_left_to_do(undisturbed, start, folder):
    before = sorted(path.name for path in Path(folder, "undisturbed").glob("step-*"))
    again = start("undisturbed", 2, "train.agree_every=4", "train.keep=9")
    assert again.last_checkpoint == undisturbed.last_checkpoint
    assert again.mlflow_run_id == undisturbed.mlflow_run_id
    assert (again.steps, again.best_top1) == (STEPS, undisturbed.best_top1)
    assert sorted(path.name for path in Path(folder, "undisturbed").glob("step-*")) == before


def test_another_recipe_under_the_same_name_is_refused(undisturbed, start):
    with pytest.raises(UserError, match=r"optim\.lr 0\.02 -> 0\.5"):
        start("undisturbed", 2, "optim.lr=0.5")


def test_too_many_non_finite_steps_stop_the_run_with_their_videos(start, fit):
    with pytest.raises(UserError) as error:
        start("diverging", 1, "optim.lr=1e38", "train.nonfinite_limit=2")
    plan = fit.RandomFeed(fit.recipe_for(1)).plan
    assert "3 steps were not finite" in str(error.value)
    last = int(str(error.value).split("the last: step ")[1].split(" ")[0])
    assert ", ".join(f"v{i}" for i in plan.step(last).samples) in str(error.value)


@pytest.mark.slow
def test_a_killed_driver_changes_nothing(undisturbed, fit, folder, short_folder):
    """The whole driver dies in the second epoch, and its cluster with it; the same command finishes the run."""
    command = [sys.executable, str(PROGRAM), folder, "driver-killed", "2"]
    environment = os.environ | {"RAY_TMPDIR": short_folder, "PAUSE": "9"}
    environment.pop("RAY_ADDRESS", None)
    driver = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _wait(lambda: all(Path(folder, f"driver-killed.waiting{rank}").exists() for rank in range(2)))
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    workers = [pid for rank in range(2) for pid in processes(folder, "driver-killed", rank)]
    _wait(lambda: not any(Path("/proc", str(pid)).exists() for pid in workers))

    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=True)
    result = json.loads(finished.stdout.split("RESULT ")[1])
    resumed = type("Resumed", (), result)
    assert_same_weights(undisturbed, resumed)
    assert_gone_on_from_step_8(folder, "driver-killed", 2)
    assert_every_sample_once_an_epoch(fit, folder, "driver-killed", 2)
    assert curve(resumed, "train/loss") == curve(undisturbed, "train/loss")
    assert MlflowClient(resumed.tracking_uri).get_run(resumed.mlflow_run_id).info.status == "FINISHED"


@pytest.mark.slow
def test_a_killed_worker_changes_nothing_with_the_real_feed(cluster, fit, folder, tiny_root):
    """Prepared videos through Ray Data, two workers; rank 1 dies after step 9 of 12."""
    recipe = override(
        fit.recipe_for(2),
        [f"data.root={tiny_root}", "data.train_split=validation", "train.epochs=6", "compute.data_cpus=2"],
    )
    whole, killed = (
        train(recipe, root=folder, name=name, hooks=(fit.Trace(folder, name, **strike),))
        for name, strike in (("real", {}), ("real-killed", {"kill": (1, 9)}))
    )
    assert_same_weights(whole, killed)
    for rank in range(2):
        assert traced(folder, "real-killed", rank) == traced(folder, "real", rank)
    assert_gone_on_from_step_8(folder, "real-killed", 2)


def _wait(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)
