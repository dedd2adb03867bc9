"""The sweeping job from its command line to its results, and what a SIGKILL in the middle leaves of it."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from jobs.cli import guarded
from jobs.tune_stabn import main, parse
from pipeline.annotate.batches import BatchRow, write_batch
from pipeline.core import storage
from pipeline.tune.ledger import Ledger

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
ROOT = Path(__file__).parents[2]
SMALL = ("train.epochs=3", "compute.data_cpus=0", "compute.cpus_per_worker=0.5", "optim.lr=0.01")
SEARCH = ("--search", "edits.gamma_t=log(0.1,100)", "optim.schedule=choice(multistep,cosine)")


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """A sealed batch: train-0 to learn from, train-1 held out."""
    shared = {"dataset": "folder", "fps": 12.0, "init": "blank", "annotators": ("p",), "n_annotators": 1, "kappa": None}
    shared |= {"decision": "single", "model_version_shown": "m", "editor_version": "1", "seconds_spent": 1.0}
    rows = [
        BatchRow(
            **shared,
            video_id=video,
            label=label,
            num_frames=frames,
            scores=tuple(float(t >= frames // 2) for t in range(frames)),
            source=(0,) * frames,
            submitted_at=1.0,
            split=split,
        )
        for video, label, frames, split in (("train-0", 0, 12, "train"), ("train-1", 1, 9, "heldout_edit"))
    ]
    root = str(tmp_path_factory.mktemp("batches"))
    return storage.join(root, write_batch(root, rows, {})["batch"])


@pytest.fixture
def arguments(tiny_checkpoint, batch, tmp_path):
    """Of a sweep of the tiny network's fine-tuning, two trials."""
    where = ("--run", tiny_checkpoint, "--batches", batch, "--storage", str(tmp_path / "runs"), "--name", "sweep")
    return [*SMALL, *where, *SEARCH, "--trials", "2", "--out", str(tmp_path / "out")]


def test_the_recipe_and_its_space_are_described_without_a_cluster(arguments, capsys, tmp_path):
    assert guarded(main, [*arguments, "--describe"]) == 0
    printed = capsys.readouterr().out
    for line in ("edits.gamma_t=log(0.1,100)", "optim.schedule=choice(multistep,cosine)", "train.epochs = 3"):
        assert line in printed.splitlines()
    assert not (tmp_path / "runs").exists()


def test_a_training_is_described_too(capsys):
    search = ["--search", "optim.lr=log(1e-5,1e-2)", "optim.milestones=choice([2,4],[3])"]
    assert guarded(main, ["stabn_demo", "train.epochs=4", "--data", "/d", *search, "--describe"]) == 0
    printed = capsys.readouterr().out
    assert "optim.milestones=choice([2,4],[3])" in printed
    assert "train.epochs = 4" in printed


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("--search", "optim.schedule=choice(step,cosine)"), "'multistep', 'cosine'"),
        (("--search", "edits.gamma=log(1,2)"), "did you mean edits.gamma_t?"),
        (("--run", "/nowhere"), "/nowhere"),
        (("--name", "a/b", "--describe"), ""),
    ],
)
def test_mistakes_are_told_in_a_line(arguments, change, words, capsys):
    asked = [*arguments, *change]
    if not words:  # a name is used by the sweep alone
        assert guarded(main, asked) == 0
        return
    assert guarded(main, asked) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said


@pytest.mark.parametrize("given", [[], ["--run", "r"], ["--batches", "b"]])
def test_a_sweep_is_of_a_recipe_or_of_a_run_with_batches(given, capsys):
    with pytest.raises(SystemExit):
        parse([*given, "--search", "optim.lr=choice(1)"])
    assert "give a recipe, or --run with --batches" in capsys.readouterr().err


def facts(root):
    """What every trial of a sweep came to, by its number."""
    ledger = Ledger(str(root), "sweep")
    return {t.number: (t.key, dict(t.values), t.state, [dict(r.metrics) for r in t.rungs]) for t in ledger.trials()}


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_driver_that_is_killed_ends_with_the_same_trials(arguments, tmp_path):
    """SIGKILL once a trial has ended and the next one trains; the same command does the rest, and nothing twice."""
    with tempfile.TemporaryDirectory(prefix="star-", dir="/tmp", ignore_cleanup_errors=True) as short:
        environment = os.environ | {"RAY_TMPDIR": short, "RAY_AUTH_MODE": "disabled"}
        for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI"):
            environment.pop(name, None)
        command = [sys.executable, "jobs/tune_stabn.py", *arguments]
        run = {"cwd": ROOT, "env": environment, "check": True, "timeout": 800}
        whole = str(tmp_path / "undisturbed")
        subprocess.run([*command, "--storage", whole, "--out", str(tmp_path / "whole")], **run)

        runs = tmp_path / "runs"
        driver = subprocess.Popen(command, cwd=ROOT, env=environment)
        deadline = time.monotonic() + 800
        while not _is_in_the_middle(runs):
            assert time.monotonic() < deadline
            assert driver.poll() is None
            time.sleep(0.1)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        before = facts(runs)
        touched = {path: path.stat().st_mtime_ns for path in runs.glob(f"{Ledger(str(runs), 'sweep').known(0).run}/*")}
        subprocess.run(command, **run)

    assert before[0][2] == "finished"
    assert "planned" in {state for _, _, state, _ in before.values()}
    after = facts(runs)
    assert after == facts(whole)
    assert {state for _, _, state, _ in after.values()} == {"finished"}
    assert len(after) == 3
    control = {path: path.stat().st_mtime_ns for path in touched}
    assert control == touched  # its run was not entered again

    results = [json.loads((tmp_path / out / "results.json").read_text()) for out in ("whole", "out")]
    assert results[0]["winner"] == results[1]["winner"]
    client = MlflowClient(f"sqlite:///{runs / 'mlflow.db'}")
    found = client.search_runs([client.get_experiment_by_name("star").experiment_id])
    parents = [one for one in found if "mlflow.parentRunId" not in one.data.tags]
    assert len(found) == 4
    assert [one.info.run_name for one in parents] == ["sweep"]
    assert {one.data.tags["star.trial"] for one in found if one not in parents} == {"0", "1", "2"}
    assert {one.info.status for one in found} == {"FINISHED"}


def _is_in_the_middle(runs):
    """True when trial 1 has begun to train."""
    try:
        trial = Ledger(str(runs), "sweep").read(1)
    except ValueError:  # read while it is written elsewhere
        return False
    return trial is not None and (runs / trial.run / "run.json").exists()
