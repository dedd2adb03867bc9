"""A run's name, folder and MLflow id all lead to its best or last checkpoint, as Ray Train recorded them."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from pipeline.core.config import to_dict
from pipeline.core.errors import UserError
from pipeline.eval.load import load, recipe_of
from pipeline.finetune.recipe import derive
from pipeline.registry.locate import find_checkpoint, mlflow_uri, storage_of
from pipeline.registry.registered import register_model
from pipeline.train import checkpoint

# MLflow uses an option that SQLAlchemy 2.1 has deprecated; Ray Train warns about itself.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SCORES = (10.0, 30.0, 20.0)


def loop():
    from ray import train

    for step, score in enumerate(SCORES, start=1):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "state.pt").write_text(str(step))
            metrics = {"score": score, "step": step}
            train.report(metrics, checkpoint=train.Checkpoint.from_directory(folder))


@pytest.fixture(scope="module")
def run(ray_cluster, tmp_path_factory):
    """A run of Ray Train with three checkpoints of which two are kept; the second is the best. Returns its folder."""
    from ray.train import CheckpointConfig, RunConfig, ScalingConfig
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    root = tmp_path_factory.mktemp("runs")
    keep = CheckpointConfig(num_to_keep=2, checkpoint_score_attribute="score")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.1")
        DataParallelTrainer(
            loop,
            scaling_config=ScalingConfig(num_workers=1),
            run_config=RunConfig(name="r", storage_path=str(root), checkpoint_config=keep),
        ).fit()
    (root / "r" / "run.json").write_text(json.dumps({"name": "r"}))
    return root / "r"


@pytest.mark.ray
def test_every_name_of_a_run_leads_to_its_checkpoint(run, monkeypatch, tmp_path):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root = str(run.parent)
    client = MlflowClient(tracking_uri=f"sqlite:///{root}/mlflow.db")
    run_id = client.create_run(client.create_experiment("e", artifact_location=str(tmp_path))).info.run_id
    client.set_tag(run_id, "star.run", str(run))
    for reference in ("r", str(run), run_id):
        best, last = (find_checkpoint(reference, root, which) for which in ("best", "last"))
        assert (Path(best) / "state.pt").read_text() == "2"
        assert (Path(last) / "state.pt").read_text() == "3"
        assert storage_of(best) == root
    assert find_checkpoint(best, "/elsewhere") == best


def test_what_is_no_training_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(UserError, match="no such training"):
        find_checkpoint("absent", str(tmp_path))
    assert list(tmp_path.iterdir()) == []  # looking creates no data base
    assert mlflow_uri(str(tmp_path)) == ""
    MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db").search_experiments()
    with pytest.raises(UserError, match="no such training"):
        find_checkpoint("absent", str(tmp_path))


def test_a_run_without_a_checkpoint_is_named(tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "run.json").write_text("{}")
    with pytest.raises(UserError, match="no checkpoint"):
        find_checkpoint("r", str(tmp_path))


def answers(folder):
    x_BTHWC = np.random.default_rng(0).integers(0, 256, (1, 8, 32, 32, 3), np.uint8)
    return load(folder).answer(x_BTHWC).logits_BK


@pytest.fixture
def registry(monkeypatch, tmp_path):
    """A run storage with MLflow's file in it and a run that models can belong to; returns (root, client, run id)."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.create_experiment("e", artifact_location=str(tmp_path / "artifacts"))
    return str(tmp_path), client, client.create_run(experiment).info.run_id


def test_a_registered_model_is_a_checkpoint_by_alias_and_by_version(registry, tiny_checkpoint, make_checkpoint):
    root, client, run_id = registry
    other = make_checkpoint(step=7)
    for name, folder in (("tiny", tiny_checkpoint), ("tiny", make_checkpoint("baseline")), ("later", other)):
        register_model(run_id, folder, name, tracking_uri=mlflow_uri(root))
    client.set_registered_model_alias("tiny", "champion", "1")
    champion = find_checkpoint("models:/tiny@champion", root)
    assert champion == find_checkpoint("models:/tiny/1", root)
    assert champion.startswith(root)
    np.testing.assert_array_equal(answers(champion), answers(tiny_checkpoint))
    assert load(find_checkpoint("models:/tiny/2", root)).recipe.model.arch == "baseline"
    assert load(find_checkpoint("models:/later/1", root)).step == 7
    client.set_registered_model_alias("tiny", "champion", "2")
    assert find_checkpoint("models:/tiny@champion", root) == find_checkpoint("models:/tiny/2", root)


def test_a_fine_tuned_network_is_registered_like_any_other(registry, tiny_checkpoint, make_checkpoint):
    root, _, run_id = registry
    base = recipe_of(checkpoint.read(tiny_checkpoint))
    tuned = make_checkpoint(recipe=to_dict(derive(base, tiny_checkpoint, ["/batches/a"])), step=11)
    version = register_model(run_id, tuned, "star", tracking_uri=mlflow_uri(root))
    found = find_checkpoint(f"models:/star/{version}", root)
    assert checkpoint.read(found).recipe["edits"]["batches"] == ["/batches/a"]
    assert load(found).step == 11
    np.testing.assert_array_equal(answers(found), answers(tuned))


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("models:/tiny@absent", "alias absent"),
        ("models:/tiny/9", "version=9"),
        ("models:/nobody/1", "nobody"),
        ("models:/tiny", "write it like that"),
        ("models:/tiny/Production", "write it like that"),
    ],
)
def test_what_is_no_registered_model_is_named(registry, reference, said):
    root, client, _ = registry
    client.create_registered_model("tiny")
    with pytest.raises(UserError, match=rf"no such registered model[\s\S]*{said}"):
        find_checkpoint(reference, root)


def test_registered_models_need_to_know_where_mlflow_is(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(UserError, match="set MLFLOW_TRACKING_URI"):
        find_checkpoint("models:/tiny/1", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_model_that_a_server_hands_out_is_copied_to_the_run_storage(tmp_path, tiny_checkpoint, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    uri, root = f"http://127.0.0.1:{port}", str(tmp_path / "runs")
    stores = [f"--backend-store-uri=sqlite:///{tmp_path}/s.db", f"--artifacts-destination={tmp_path}/artifacts"]
    command = [sys.executable, "-m", "mlflow", "server", "--host=127.0.0.1", f"--port={port}", "--workers=1", *stores]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(240):
                try:
                    urllib.request.urlopen(f"{uri}/health", timeout=2).close()
                    break
                except OSError:
                    assert server.poll() is None
                    time.sleep(0.5)
            client = MlflowClient(tracking_uri=uri)
            run_id = client.create_run(client.create_experiment("e")).info.run_id
            register_model(run_id, tiny_checkpoint, "tiny", tracking_uri=uri)
            found = find_checkpoint("models:/tiny/1", root)
        finally:
            server.terminate()
    assert found.startswith(root)
    np.testing.assert_array_equal(answers(found), answers(tiny_checkpoint))
    assert sorted(os.listdir(found)) == sorted(["state.pt", "recipe.json", "classes.json", "passport.json"])
