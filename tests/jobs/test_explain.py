"""The explanation job from video files to pages."""

import numpy as np

from jobs.cli import guarded
from jobs.explain import main


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
