"""A registered model answers in a process that knows nothing of the project, as the network itself does."""

import json
import os
import pickletools
import subprocess
import sys
import zipfile

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from models import ModelConfig
from pipeline.core.config import to_dict
from pipeline.core.errors import UserError
from pipeline.data.config import ClipConfig, ViewConfig
from pipeline.data.feed.clips import View, load_original
from pipeline.eval.load import load
from pipeline.registry.registered import (
    VideoModel,
    _load_pyfunc,
    register_model,
    save_model,
    weights_digest,
)
from pipeline.registry.tags import CHECKPOINT_TAG, DIGEST_TAG
from pipeline.train.checkpoint import read
from pipeline.train.recipe import Recipe

# MLflow's model registry uses an option that SQLAlchemy 2.1 has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*noload:DeprecationWarning")

FRESH = """
import json, sys
import mlflow
model = mlflow.pyfunc.load_model(sys.argv[1])
import pipeline
answer = model.predict(json.loads(sys.argv[2]))
print(json.dumps({"code": pipeline.__file__, "ray": "ray" in sys.modules, "rows": answer.to_dict("records")}))
"""


@pytest.fixture(scope="module")
def tracking(tmp_path_factory):
    """A SQLite tracking server with one run; returns (uri, run id)."""
    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder}/mlflow.db"
    client = MlflowClient(tracking_uri=uri)
    experiment = client.create_experiment("star", artifact_location=str(folder / "artifacts"))
    return uri, client.create_run(experiment).info.run_id


@pytest.fixture(scope="module")
def registered(tracking, tiny_checkpoint):
    uri, run_id = tracking
    return register_model(run_id, tiny_checkpoint, "star-tiny", tracking_uri=uri)


def by_hand(checkpoint, path):
    """Scores and attention of one file, straight from the network."""
    network = load(checkpoint)
    (clip,) = load_original(path, network.recipe.clip, (View(),))
    answer = network.answer(clip.x_THWC[None])
    powers = np.exp(answer.logits_BK[0] - answer.logits_BK[0].max())
    return powers / powers.sum(), answer.temporal_BT[0], answer.spatial_BTHW[0], clip.idx_T


def test_a_fresh_process_loads_it_by_name_and_answers(tracking, registered, tiny_checkpoint, tiny_videos, tmp_path):
    paths = [str(tiny_videos / "validation-4.mp4"), str(tiny_videos / "validation-3.mp4")]
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error::ResourceWarning",
            "-c",
            FRESH,
            f"models:/star-tiny/{registered}",
            json.dumps(paths),
        ],
        cwd=tmp_path,  # not the checkout
        env=os.environ | {"MLFLOW_TRACKING_URI": tracking[0], "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    answer = json.loads(done.stdout.splitlines()[-1])
    assert "/code/pipeline/" in answer["code"]  # the model's own copy of the source
    assert not answer["ray"]  # requirements.txt does not ask for it
    for path, row in zip(paths, answer["rows"], strict=True):
        scores, temporal, spatial, idx = by_hand(tiny_checkpoint, path)
        np.testing.assert_allclose(row["scores"], scores, rtol=1e-5)
        np.testing.assert_allclose(row["temporal"], temporal, atol=1e-6)
        np.testing.assert_allclose(row["spatial"], spatial, atol=1e-6)
        assert row["frames"] == idx.tolist()
        assert row["label_index"] == int(np.argmax(scores))
        assert row["score"] == max(row["scores"])


def test_registering_again_returns_the_same_version(tracking, registered, tiny_checkpoint, make_checkpoint):
    uri, run_id = tracking
    assert register_model(run_id, tiny_checkpoint, "star-tiny", tracking_uri=uri) == registered
    other = register_model(run_id, make_checkpoint("baseline"), "star-tiny", tracking_uri=uri)
    assert other == registered + 1
    versions = MlflowClient(tracking_uri=uri).search_model_versions("name = 'star-tiny'")
    assert {int(v.version): v.run_id for v in versions} == {registered: run_id, other: run_id}
    assert len({v.tags[DIGEST_TAG] for v in versions}) == 2


def test_registering_again_adds_the_tags_that_are_missing(tracking, registered, tiny_checkpoint):
    uri, run_id = tracking
    client = MlflowClient(tracking_uri=uri)
    assert client.get_model_version("star-tiny", registered).tags[CHECKPOINT_TAG] == tiny_checkpoint
    client.delete_model_version_tag("star-tiny", registered, CHECKPOINT_TAG)
    client.set_model_version_tag("star-tiny", registered, "star.note", "first")
    tags = {"star.plan_key": "k", "star.note": "second"}
    assert register_model(run_id, tiny_checkpoint, "star-tiny", tracking_uri=uri, tags=tags) == registered
    found = client.get_model_version("star-tiny", registered).tags
    assert (found[CHECKPOINT_TAG], found["star.plan_key"], found["star.note"]) == (tiny_checkpoint, "k", "first")


@pytest.fixture(scope="module")
def folder(tiny_checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model"
    save_model(tiny_checkpoint, path)
    return path


def test_the_folder_holds_plain_files_and_says_what_it_is(folder):
    data = folder / "data" / "data"
    names = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and "code" not in p.parts}
    assert names >= {
        "MLmodel",
        "requirements.txt",
        *(f"data/data/{n}" for n in ("state.pt", "recipe.json", "classes.json")),
    }
    assert not [name for name in names if name.endswith((".pkl", ".pickle"))]
    assert not list(folder.rglob("__pycache__"))
    assert json.loads((data / "classes.json").read_text())[2] == "Turning something"
    assert json.loads((data / "recipe.json").read_text())["model"]["depth"] == 10
    assert len(json.loads((data / "passport.json").read_text())["passport"]) == 64
    # torch's own format: nothing in it names anything but tensors and dictionaries.
    with zipfile.ZipFile(data / "state.pt") as archive:
        stream = archive.read(next(n for n in archive.namelist() if n.endswith("data.pkl")))
    called = {str(arg) for op, arg, _ in pickletools.genops(stream) if op.name in ("GLOBAL", "STACK_GLOBAL")}
    assert all(name.startswith(("torch", "collections OrderedDict")) for name in called)


def test_the_signature_takes_paths_and_frames_of_paths(folder, tiny_videos):
    model = mlflow.pyfunc.load_model(str(folder))
    path = str(tiny_videos / "train-0.mp4")
    as_list, as_frame = model.predict([path]), model.predict(pd.DataFrame({"path": [path]}))
    assert as_list.to_dict() == as_frame.to_dict()
    assert list(as_list.columns) == model.metadata.signature.outputs.input_names()
    with pytest.raises(UserError, match="columns a, b"):
        VideoModel(load(str(folder / "data" / "data"))).predict(pd.DataFrame({"a": [path], "b": [path]}))
    with pytest.raises(UserError, match="cannot be decoded"):
        model.predict(["/nowhere/at/all.mp4"])


def test_a_model_needs_a_checkpoint(tmp_path):
    with pytest.raises(UserError, match="no checkpoint"):
        save_model(str(tmp_path), tmp_path / "model")


def test_mirrored_crops_of_directions_make_no_model(make_checkpoint, tmp_path):
    """Through the registration and through what MLflow calls to load a model."""
    recipe = Recipe(
        name="tiny",
        clip=ClipConfig(frames=8, size=32, short_side=32),
        view=ViewConfig(crops=10),
        model=ModelConfig(depth=10, width=8, classes=3, frames=8),
    )
    classes = ("Pushing left", "Pushing right", "Jumping")
    bad = make_checkpoint(recipe=to_dict(recipe), classes=classes)
    with pytest.raises(UserError, match="Mirrored test crops"):
        save_model(bad, tmp_path / "model")
    with pytest.raises(UserError, match="Mirrored test crops"):
        _load_pyfunc(bad)
    fine = make_checkpoint(recipe=to_dict(recipe))
    save_model(fine, tmp_path / "fine")
    assert _load_pyfunc(fine) is not None


def test_the_digest_sees_every_weight():
    import torch

    weights = {"a": torch.zeros(2, 3), "b": torch.ones(1)}
    assert weights_digest(weights) == weights_digest(dict(reversed(weights.items())))
    for changed in ({"a": torch.zeros(3, 2)}, {"b": torch.ones(1).double()}, {"b": torch.full((1,), 1.0000001)}):
        assert weights_digest(weights | changed) != weights_digest(weights)


def test_a_fine_tuned_network_says_what_it_has_learnt_from(tracking, tiny_checkpoint, make_checkpoint):
    uri, run_id = tracking
    recipe = read(tiny_checkpoint).recipe | {"edits": {"base": "runs/base", "batches": ["batches/b", "s3://x/a/"]}}
    number = register_model(run_id, make_checkpoint(recipe=recipe, step=4), "star-edits", tracking_uri=uri)
    tags = MlflowClient(tracking_uri=uri).get_model_version("star-edits", number).tags
    assert (tags["star.base"], tags["star.batches"]) == ("runs/base", "a,b")
    other = register_model(run_id, make_checkpoint("baseline"), "star-edits", tracking_uri=uri)
    assert "star.base" not in MlflowClient(tracking_uri=uri).get_model_version("star-edits", other).tags
