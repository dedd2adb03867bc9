"""The scheduled job: what it says, by words and by exit status, and a whole night that is killed wherever it can be."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from jobs.cli import guarded
from jobs.retrain import FAILED, LEASED, ON_HOLD, main
from pipeline.annotate.batches import BatchRow, write_batch
from pipeline.registry.tags import CHECKPOINT_TAG
from pipeline.retrain.champions import Champions
from pipeline.retrain.ledger import Ledger
from pipeline.retrain.night import STEPS
from pipeline.tracking.run import TrackedRun, client_of

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).parent / "programs" / "retrain_killed.py"
MODEL = "star-tiny"
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*noload:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # MLflow leaves connections to the interpreter's end
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]


def seal(folder):
    """A batch about both training videos; one is held out."""
    shared = {"dataset": "folder", "fps": 12.0, "init": "blank", "annotators": ("p",), "n_annotators": 1}
    shared |= {"kappa": None, "decision": "single", "model_version_shown": "m", "editor_version": "1"}
    videos = (("train-0", 0, 12, "train"), ("train-1", 1, 9, "heldout_edit"))
    rows = [
        BatchRow(
            **shared,
            video_id=video,
            label=label,
            num_frames=n,
            scores=(0.0,) * (n - 4) + (1.0,) * 4,
            source=(0,) * n,
            split=split,
            submitted_at=1.0,
            seconds_spent=1.0,
        )
        for video, label, n, split in videos
    ]
    return write_batch(str(folder), rows, {})["batch"]


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """An empty MLflow database; making its tables takes seconds."""
    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    client_of(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def place(tmp_path, monkeypatch, make_checkpoint, database):
    """A folder with a trained run; returns it and the arguments that name what lies in it."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    runs = tmp_path / "night" / "runs"
    runs.mkdir(parents=True)
    shutil.copy(database, runs / "mlflow.db")
    tracked = TrackedRun(f"sqlite:///{runs}/mlflow.db", "star", "base", "base", str(runs / "mlflow-artifacts"))
    shutil.copytree(make_checkpoint(mlflow_run_id=tracked.begin({}, {}, {})), runs / "base")
    batches = tmp_path / "night" / "batches"
    batches.mkdir()
    return tmp_path / "night", ["--model", MODEL, "--storage", str(runs), "--batches", str(batches)]


def test_an_idle_night_ends_before_torch_and_ray_are_loaded(place):
    folder, arguments = place
    uri = f"sqlite:///{folder}/runs/mlflow.db"
    client = MlflowClient(uri)
    client.create_registered_model(MODEL)
    client.create_model_version(MODEL, "runs:/0/model", tags={CHECKPOINT_TAG: str(folder / "runs" / "base")})
    client.set_registered_model_alias(MODEL, "champion", "1")
    program = (
        "import sys\nfrom jobs.retrain import main\nstatus = main(sys.argv[1:])\n"
        "print(status, sorted({'torch', 'ray', 'cv2'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "nothing to do: no batch is new to version 1\n0 []\n"


def test_a_first_champion_a_dry_run_a_hold_and_another_holder(place, capsys):
    folder, arguments = place
    assert guarded(main, [*arguments, "--bootstrap", str(folder / "runs" / "base")]) == 0
    assert guarded(main, [*arguments, "--bootstrap", str(folder / "runs" / "base")]) == 0
    assert capsys.readouterr().out == f"{MODEL}: version 1 is champion\n" * 2
    batch = seal(folder / "batches")

    assert guarded(main, [*arguments, "--dry-run", "train.epochs=2"]) == 0
    printed = capsys.readouterr().out
    for line in (
        f"{MODEL}: 1 new batches for version 1",
        f"  batch {batch}: new",
        "  recipe.train.epochs = 2",
        "not scored yet",
    ):
        assert line in printed.splitlines()
    assert re.search(r"^policy standard-1@[0-9a-f]{12}$", printed, re.M)

    assert guarded(main, [*arguments, "--hold", "audit"]) == 2
    assert "needs a name and a reason" in capsys.readouterr().err
    assert guarded(main, [*arguments, "--hold", "audit", "--by", "Ada"]) == 0
    assert guarded(main, arguments) == ON_HOLD
    assert "audit, says Ada" in capsys.readouterr().out
    assert guarded(main, [*arguments, "--release", "done", "--by", "Ada"]) == 0

    ledger = Ledger(str(folder / "runs" / "retrain.db"))
    lease = ledger.lease(MODEL, "process 7 of ada on elsewhere", 60.0)
    assert guarded(main, arguments) == LEASED
    assert re.search(r"process 7 of ada on elsewhere, since \d{4}-\d\d-\d\dT", capsys.readouterr().err)
    assert ledger.rows() == []
    ledger.release(lease)
    ledger.close()


def test_a_damaged_batch_is_a_failure_that_names_the_file(place, capsys):
    folder, arguments = place
    assert guarded(main, [*arguments, "--bootstrap", str(folder / "runs" / "base")]) == 0
    part = folder / "batches" / seal(folder / "batches") / "part-00000.parquet"
    whole = part.read_bytes()
    part.write_bytes(whole[:100] + bytes([whole[100] ^ 4]) + whole[101:])
    assert guarded(main, arguments) == FAILED
    assert f"damaged: {part}" in capsys.readouterr().err
    assert Champions(MODEL, f"sqlite:///{folder}/runs/mlflow.db").champion().number == 1


def test_without_a_champion_there_is_nothing_to_compare_with(place, capsys):
    _, arguments = place
    assert guarded(main, arguments) == FAILED
    assert "has no champion to start from" in capsys.readouterr().err


def test_every_exit_status_is_explained(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    told = capsys.readouterr().out
    for words in (
        "0 promoted",
        "10 refused",
        "11 superseded",
        "12 on hold",
        "13 another job",
        "14 the work",
        "2 a wrong",
    ):
        assert words in " ".join(told.split())


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_real_training_killed_at_every_step_ends_as_if_undisturbed(place, tmp_path):
    """One real night, and one more for every step, killed there and started again: the same weights, aliases, pages."""
    folder, arguments = place
    assert main([*arguments, "--bootstrap", str(folder / "runs" / "base")]) == 0
    seal(folder / "batches")
    folder.rename(tmp_path / "template")

    def night(boundary):
        command = [sys.executable, str(PROGRAM), str(folder), boundary]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)

    environment = os.environ | {"OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled", "RAY_TMPDIR": "/tmp"}
    left = {}
    for boundary in ("none", *STEPS):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tmp_path / "template", folder)
        first = night(boundary)
        if first.returncode == -signal.SIGKILL:
            first = night("none")
        assert first.returncode == 0, first.stdout[-3000:] + first.stderr[-3000:]
        left[boundary] = json.loads(first.stdout.splitlines()[-1])
    assert left["none"]["rows"][0]["outcome"] in ("promoted", "refused")
    for boundary in STEPS:
        assert left[boundary] == left["none"], boundary
