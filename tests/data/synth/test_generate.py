"""Synthetic data sets: the real parsers and decoders read them, truth holds, bytes repeat, faults are known."""

import csv
import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import UserError
from pipeline.data.listing.sources import load_listing
from pipeline.data.records import HIDDEN_LABEL
from pipeline.data.synth.config import SynthConfig
from pipeline.data.synth.faults import KINDS
from pipeline.data.synth.generate import MARKER, TRUTH, UNFINISHED, SynthRequest, make, read_request, scene_of
from pipeline.data.synth.layouts import LAYOUTS, plan
from pipeline.data.synth.render import render_frame
from pipeline.data.video.decode import DecodeError, decode_video

SMALL = SynthConfig(train=12, validation=6, test=2, classes=4, frames=(8, 14), widths=(64,), heights=(64, 80))


def hashes(folder):
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()
    }


def truth(folder):
    return {row["id"]: row for row in pq.read_table(folder / TRUTH).to_pylist()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One small data set of each layout."""
    folders = {}
    for layout in LAYOUTS:
        folders[layout] = tmp_path_factory.mktemp(layout) / "synth"
        assert make(folders[layout], SynthRequest(layout, SMALL, seed=4), workers=1)
    return folders


def test_bytes_do_not_depend_on_the_number_of_processes(made, tmp_path):
    make(tmp_path / "again", SynthRequest("ssv2", SMALL, seed=4), workers=2)
    assert hashes(tmp_path / "again") == hashes(made["ssv2"])


def test_another_seed_gives_other_videos(made, tmp_path):
    make(tmp_path / "other", SynthRequest("ssv2", SMALL, seed=5))
    ours, other = hashes(made["ssv2"]), hashes(tmp_path / "other")
    videos = [name for name in ours if name.endswith(".webm")]
    assert len(videos) == 20
    assert all(ours[name] != other.get(name) for name in videos)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_real_parser_reads_what_the_truth_says(made, layout):
    listing = load_listing(layout, str(made[layout]))
    rows = truth(made[layout])
    assert [r.path for r in listing.records if not (Path(listing.root) / r.path).exists()] == []
    assert {r.id for r in listing.records} == set(rows)
    assert len(listing.classes) == 4
    for record in listing.records:
        row = rows[record.id]
        assert listing.classes[row["label"]] == row["class_name"]
        assert record.label == (
            HIDDEN_LABEL if row["split"] == ["test"] and layout not in ("ucf101", "hmdb51") else row["label"]
        )
        assert list(record.split) == row["split"]


@pytest.mark.parametrize("layout", ["ssv2", "ucf101", "hmdb51", "folder"])
def test_decoded_videos_have_the_length_rate_and_size_of_the_truth(made, layout):
    rows = truth(made[layout])
    assert {row["path"].rsplit(".", 1)[-1] for row in rows.values()} == {
        "ssv2": {"webm"},
        "ucf101": {"avi"},
        "hmdb51": {"avi"},
        "folder": {"avi", "mp4", "webm"},
    }[layout]
    for row in rows.values():
        video = decode_video(str(made[layout] / row["path"]))
        assert video.frames_VHWC.shape == (row["frames"], row["height"], row["width"], 3)
        assert video.fps == pytest.approx(row["fps"], rel=0.01)
        assert len(row["active"]) == len(row["x"]) == len(row["y"]) == row["frames"]


def test_frame_folders_have_the_length_of_the_truth(made):
    for row in truth(made["ssv1"]).values():
        assert len(list((made["ssv1"] / row["path"]).glob("*.jpg"))) == row["frames"]


def test_the_truth_shows_where_the_object_is(made):
    """Oracle: where a decoded frame differs most from a rendering without the object, there the truth puts it."""
    request = read_request(made["ssv2"])
    for planned in plan(request.config, request.layout, request.seed)[:6]:
        row, scene = truth(made["ssv2"])[planned.id], scene_of(request, planned)
        frames = decode_video(str(made["ssv2"] / planned.path)).frames_VHWC
        frame = len(frames) // 2
        without = dataclasses.replace(scene, things=scene.things[:-1])
        strength = np.abs(frames[frame].astype(float) - render_frame(without, frame)).sum(-1) > 100
        y, x = np.mgrid[: row["height"], : row["width"]]
        span = np.array([row["width"], row["height"]]) + scene.things[-1].radius
        away = np.abs(np.stack([x[strength] - row["x"][frame], y[strength] - row["y"][frame]], axis=1))
        assert strength.sum() > 20
        assert np.median(np.minimum(away, span - away).max(axis=1)) < scene.things[-1].radius


def test_the_truth_holds_the_object_in_boxes_at_both_edges_if_need_be(made):
    """Oracle: the pixels that the object changes, in every frame of some videos."""
    request = read_request(made["ssv2"])
    copies = 0
    for planned in plan(request.config, request.layout, request.seed)[:6]:
        row, scene = truth(made["ssv2"])[planned.id], scene_of(request, planned)
        # Without distractors, which may have the object's colour.
        alone, without = (dataclasses.replace(scene, things=things) for things in (scene.things[-1:], ()))
        height, width = row["height"], row["width"]
        assert len(row["boxes"]) == row["frames"]
        for frame, boxes in enumerate(row["boxes"]):
            changed = (render_frame(alone, frame) != render_frame(without, frame)).any(axis=-1)
            y, x = np.mgrid[:height, :width]
            inside = np.zeros_like(changed)
            for left, top, right, bottom in boxes:
                assert 0 <= left < right <= 1
                assert 0 <= top < bottom <= 1
                # Drawn with smooth edges, so that a pixel around it changes too.
                box = (x >= left * width - 2) & (x <= right * width + 1) & (y >= top * height - 2)
                box &= y <= bottom * height + 1
                inside |= box
                if min((right - left) * width, (bottom - top) * height) <= 2:
                    continue  # what little of it is in the frame may change nothing
                rows, columns = np.flatnonzero((changed & box).any(1)), np.flatnonzero((changed & box).any(0))
                assert abs(columns[0] - left * width) <= 2
                assert abs(columns[-1] + 1 - right * width) <= 2
                assert abs(rows[0] - top * height) <= 2
                assert abs(rows[-1] + 1 - bottom * height) <= 2
            outside = np.argwhere(changed & ~inside)
            # Nothing but the edge of a copy of which not a whole pixel is in the frame.
            assert all(min(r, c, height - 1 - r, width - 1 - c) <= 1 for r, c in outside)
            copies += len(boxes) - 1
    assert copies > 0


@pytest.mark.parametrize("layout", ["ucf101", "hmdb51"])
def test_every_fold_has_training_and_test_videos_of_every_class(made, layout):
    listing = load_listing(layout, str(made[layout]))
    for fold in range(3):
        for split in ("train", "test"):
            assert {r.label for r in listing.records if r.split[fold] == split} == {0, 1, 2, 3}


def test_a_finished_data_set_is_left_alone_and_others_are_refused(made, tmp_path):
    folder = tmp_path / "synth"
    request = SynthRequest("folder", dataclasses.replace(SMALL, train=2, validation=2, test=0, classes=2))
    assert make(folder, request)
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    assert not make(folder, request)
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before
    with pytest.raises(UserError, match="holds something else"):
        make(folder, dataclasses.replace(request, seed=1))
    with pytest.raises(UserError, match="holds something else"):
        make(folder / TRUTH, request)
    # What a killed run leaves behind: the start marker and some files.
    whole = hashes(folder)
    (folder / MARKER).rename(folder / UNFINISHED)
    (folder / TRUTH).unlink()
    with pytest.raises(UserError, match="holds something else"):
        make(folder, dataclasses.replace(request, seed=1))
    assert make(folder, request)
    assert hashes(folder) == whole


def test_a_data_set_from_before_a_dial_was_added_is_known(tmp_path):
    request = SynthRequest("ssv2", SMALL, seed=4)
    make(tmp_path / "old", request)
    marker = tmp_path / "old" / MARKER
    arguments = json.loads(marker.read_text())
    assert arguments["config"].pop("decoy") == 0.0
    marker.write_text(json.dumps(arguments))
    assert not make(tmp_path / "old", request)
    assert read_request(tmp_path / "old") == request


def test_a_request_is_read_back_only_from_a_finished_data_set(made, tmp_path):
    assert read_request(made["hmdb51"]) == SynthRequest("hmdb51", SMALL, seed=4)
    with pytest.raises(UserError, match="No finished"):
        read_request(tmp_path)


@pytest.mark.parametrize("layout", ["ssv2", "ucf101", "folder"])
def test_planted_faults_are_recorded_and_a_decoder_agrees(tmp_path, layout):
    folder = tmp_path / "synth"
    config = dataclasses.replace(SMALL, train=36)
    make(folder, SynthRequest(layout, config, seed=2, faults=2 if layout == "folder" else 1))
    with (folder / "faults.csv").open() as file:
        planted = list(csv.DictReader(file))
    rows = truth(folder)
    assert sorted({row["kind"] for row in planted}) == sorted(KINDS)
    assert {row["id"]: row["kind"] for row in planted} == {i: r["fault"] for i, r in rows.items() if r["fault"]}
    for row in planted:
        try:
            length = len(decode_video(str(folder / row["path"])).frames_VHWC)
            found = "one_frame" if length == 1 else f"{length} frames"
        except DecodeError as error:
            found = error.reason
        assert found == row["expected"], row
    listing = load_listing(layout, str(folder))
    assert [r.path for r in listing.records if not (Path(listing.root) / r.path).exists()] == []
    sound = [row for row in rows.values() if not row["fault"]]
    assert all(len(decode_video(str(folder / r["path"])).frames_VHWC) == r["frames"] for r in sound[:8])


def test_faults_need_video_files_and_enough_of_them(tmp_path):
    for request in (
        SynthRequest("ssv2", SMALL, faults=2),
        SynthRequest("ssv1", SMALL, faults=1),
        SynthRequest("ssv2", SMALL, faults=-1),
    ):
        with pytest.raises(UserError, match="cannot be planted"):
            make(tmp_path / "synth", request)
    assert not (tmp_path / "synth").exists()
