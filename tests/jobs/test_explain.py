"""The explanation job from video files to pages."""

import numpy as np
import pytest
from mlflow import MlflowClient

from jobs.cli import guarded
from jobs.explain import main

# MLflow uses an option that SQLAlchemy 2.1 has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*noload:DeprecationWarning")


def test_every_video_gets_its_folder(tiny_checkpoint, tiny_videos, tmp_path, capsys):
    videos = [str(tiny_videos / f"validation-{i}.mp4") for i in (3, 4)]
    arguments = [*videos, "--checkpoint", tiny_checkpoint, "--out", str(tmp_path), "--label", "Turning something"]
    assert guarded(main, [*arguments, "--stretch"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert (tmp_path / "validation-3" / "index.html").exists()
    files = {path.name for path in (tmp_path / "validation-4").iterdir()}
    assert files == {
        "index.html",
        *(f"{k}-{n}.{e}" for n in (1, 2, 3) for k, e in (("strip", "png"), ("clip", "webp"), ("arrays", "npz"))),
    }
    page = (tmp_path / "validation-4" / "index.html").read_text()
    assert "Turning something" in page
    with np.load(tmp_path / "validation-4" / "arrays-3.npz") as arrays:
        assert arrays["idx"].tolist() == list(range(12, 20))


def test_strips_and_pages_are_logged_to_the_run_of_the_training(make_checkpoint, tiny_videos, tmp_path, monkeypatch):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    client = MlflowClient(tracking_uri=uri)
    run_id = client.create_run(client.create_experiment("e", artifact_location=str(tmp_path / "a"))).info.run_id
    video, out = str(tiny_videos / "validation-4.mp4"), tmp_path / "out"
    arguments = [video, "--checkpoint", make_checkpoint(mlflow_run_id=run_id), "--out", str(out)]
    assert guarded(main, [*arguments, "--no-mlflow"]) == 0
    assert client.list_artifacts(run_id) == []
    assert guarded(main, arguments) == 0
    path = "explanation/tiny-step3/validation-4"
    names = ["index.html", "strip-1.png", "strip-2.png", "strip-3.png"]
    assert [a.path for a in client.list_artifacts(run_id, path)] == [f"{path}/{name}" for name in names]
    for name in names:
        logged = tmp_path / "a" / run_id / "artifacts" / path / name
        assert logged.read_bytes() == (out / "validation-4" / name).read_bytes()


def test_an_absent_mlflow_stops_nothing(make_checkpoint, tiny_videos, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nobody listens there
    videos = [str(tiny_videos / f"validation-{i}.mp4") for i in (3, 4)]
    arguments = ["--checkpoint", make_checkpoint(mlflow_run_id="0" * 32), "--out", str(tmp_path), "--centre"]
    assert guarded(main, [*videos, *arguments]) == 0
    assert (tmp_path / "validation-4" / "index.html").exists()
    printed = capsys.readouterr()
    assert printed.err.count("was not logged to MLflow") == 1
    assert "MLflow run" not in printed.out


def test_the_centre_alone_to_a_uri(tiny_checkpoint, tiny_videos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    video, out = str(tiny_videos / "validation-4.mp4"), tmp_path / "out"
    assert guarded(main, [video, "--checkpoint", tiny_checkpoint, "--out", out.as_uri(), "--centre"]) == 0
    assert (out / "validation-4" / "strip-1.png").exists()
    assert not (out / "validation-4" / "strip-2.png").exists()
    assert list(tmp_path.iterdir()) == [out]


def test_a_wrong_request_is_one_line_and_status_2(tiny_checkpoint, make_checkpoint, tiny_videos, tmp_path, capsys):
    video = str(tiny_videos / "validation-4.mp4")
    for arguments, words in (
        ([video, "--checkpoint", str(tmp_path)], "no such training"),
        ([str(tmp_path / "absent.mp4"), "--checkpoint", tiny_checkpoint], "cannot be decoded"),
        ([video, "--checkpoint", tiny_checkpoint, "--label", "Dancing"], "no such class"),
        ([video, "--checkpoint", make_checkpoint("baseline")], "no attention to show"),
    ):
        assert guarded(main, [*arguments, "--out", str(tmp_path / "out")]) == 2
        assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
