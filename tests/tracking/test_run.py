"""One MLflow run in a real store, whoever logs to it and however often; an absent server stops nothing."""

import os
import pickle
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from mlflow import MlflowClient

from pipeline.core.errors import UserError
from pipeline.tracking import run as tracking
from pipeline.tracking.run import TrackedRun, flatten, read_documents

# MLflow's own mapping of its tables uses what SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")


def point(step, **metrics):
    return {"step": step, "time_ms": 1_000_000 + step, "metrics": {k.replace("_", "/"): v for k, v in metrics.items()}}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture
def tracked(store, request):
    uri = f"sqlite:///{store}/mlflow.db"
    return TrackedRun(uri, "test", request.node.name, request.node.name, artifact_root=f"{store}/artifacts")


def history(tracked, run_id, metric):
    return [(m.step, m.value) for m in MlflowClient(tracked.uri).get_metric_history(run_id, metric)]


def test_a_run_has_parameters_artifacts_and_a_final_status(tracked):
    documents = {"recipe.json": {"name": "r", "optim": {"lr": 0.1}}}
    run_id = tracked.begin({"optim.lr": 0.1, "name": "r"}, documents, {"star.run": "/runs/r"})
    client = MlflowClient(tracked.uri)
    assert client.get_run(run_id).info.status == "RUNNING"
    tracked.end("FINISHED")
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"optim.lr": "0.1", "name": "r"}
    assert run.data.tags["star.run"] == "/runs/r"
    assert read_documents(tracked.uri, run_id, ["recipe.json"]) == documents


def test_the_restarted_driver_takes_up_the_same_run(tracked):
    first = tracked.begin({"a": 1}, {}, {})
    again = TrackedRun(tracked.uri, tracked.experiment, "another name", tracked.key)
    assert again.begin({"a": 2, "b": 3}, {}, {}) == first  # parameters stay as first logged, and no run fails on them
    client = MlflowClient(tracked.uri)
    assert client.get_run(first).data.params == {"a": "1", "b": "3"}
    experiment = client.get_experiment_by_name("test")
    keys = [r.data.tags[tracking.KEY_TAG] for r in client.search_runs([experiment.experiment_id])]
    assert keys.count(tracked.key) == 1


def test_replayed_points_are_logged_once_also_by_another_process(tracked):
    run_id = tracked.begin({}, {}, {})
    tracked.log([point(10, train_loss=1.0), point(20, train_loss=0.5), point(20, val_top1=50.0)])
    restarted = pickle.loads(pickle.dumps(TrackedRun(tracked.uri, "test", "n", tracked.key)))
    restarted.log([point(10, train_loss=1.0), point(20, train_loss=0.5), point(20, val_top1=50.0)])
    restarted.log([point(25, train_loss=0.4), point(30, val_top1=60.0)])
    assert history(tracked, run_id, "train/loss") == [(10, 1.0), (20, 0.5), (25, 0.4)]
    assert history(tracked, run_id, "val/top1") == [(20, 50.0), (30, 60.0)]


def test_an_absent_server_is_said_loudly_and_raises_nothing(capsys):
    tracked = TrackedRun(f"http://127.0.0.1:{free_port()}", "test", "n", "k")
    assert tracked.begin({}, {}, {}) is None
    tracked.tag("a", "b")
    tracked.log([point(1, a=1.0)])
    tracked.tag("a", "c")  # within the pause after a failure: not even tried
    tracked.end("FINISHED")
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 4
    assert all(
        line.startswith("WARNING MLflow at http://127.0.0.1:") and "Training goes on" in line for line in warnings
    )


def test_points_wait_for_the_store_and_arrive_in_order(tracked, capsys):
    run_id = tracked.begin({}, {}, {})
    good = tracked.uri
    tracked.uri = f"http://127.0.0.1:{free_port()}"
    tracked.log([point(1, a=1.0)])
    tracked.uri = good
    tracked.log([point(2, a=2.0)])  # within the pause after a failure: nothing is tried
    assert history(tracked, run_id, "a") == []
    tracked.log([point(3, a=3.0)], now=True)
    assert history(tracked, run_id, "a") == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert capsys.readouterr().err.count("WARNING") == 1


def test_an_unknown_run_is_the_users_error(tracked):
    with pytest.raises(UserError, match="run 0123 at sqlite"):
        read_documents(tracked.uri, "0123", ["recipe.json"])


def test_flatten():
    assert flatten({"a": 1, "b": {"c": [2], "d": {"e": None}}}) == {"a": 1, "b.c": [2], "b.d.e": None}


@pytest.mark.slow
def test_a_real_server_that_comes_up_late_gets_everything_once(tmp_path, capsys):
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    tracked = TrackedRun(uri, "late", "n", "k")
    tracked.log([point(1, a=1.0)])
    assert "WARNING" in capsys.readouterr().err
    stores = [f"--backend-store-uri=sqlite:///{tmp_path}/s.db", f"--artifacts-destination={tmp_path}/artifacts"]
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--host=127.0.0.1", f"--port={port}", "--workers=1", *stores],
        env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 120
        while not _healthy(uri):
            assert time.monotonic() < deadline
            assert server.poll() is None
            time.sleep(0.5)
        run_id = tracked.begin({"p": 1}, {"recipe.json": {"x": 1}}, {})
        tracked.log([point(2, a=2.0)], now=True)
        tracked.log([point(2, a=2.0), point(3, a=3.0)])
        tracked.end("FINISHED")
        assert history(tracked, run_id, "a") == [(1, 1.0), (2, 2.0), (3, 3.0)]
        assert read_documents(uri, run_id, ["recipe.json"]) == {"recipe.json": {"x": 1}}
        assert MlflowClient(uri).get_run(run_id).info.status == "FINISHED"
    finally:
        server.terminate()
        server.wait(timeout=30)


def _healthy(uri):
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def test_tables_are_made_whole_and_used_by_the_first_run(tmp_path):
    file = tmp_path / "new" / "mlflow.db"
    tracking.make_database(file)
    made = file.read_bytes()
    tracking.make_database(file)
    assert file.read_bytes() == made
    assert [path.name for path in file.parent.iterdir()] == ["mlflow.db"]
    tracked = TrackedRun(f"sqlite:///{file}", "test", "first", "key", artifact_root=str(tmp_path / "artifacts"))
    run_id = tracked.begin({"a": 1}, {}, {})
    assert MlflowClient(tracked.uri).get_run(run_id).data.params == {"a": "1"}


def test_a_process_killed_while_making_tables_leaves_no_file_that_cannot_be_used(tmp_path):
    """MLflow's own way leaves half of the tables, and every later run fails on them."""
    file = tmp_path / "mlflow.db"
    program = (
        "import os, pathlib, signal, sys; from pipeline.tracking import run\n"
        "def killed(uri):\n"
        "    pathlib.Path(uri.removeprefix('sqlite:///')).write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "run.client_of = killed\n"
        "run.make_database(pathlib.Path(sys.argv[1]))\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(file)], check=False).returncode == -9
    assert not file.exists()
    tracking.make_database(file)
    assert file.exists()
