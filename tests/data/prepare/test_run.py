"""Preparing videos: every listed one is readable or quarantined, whatever happens to the process that reads it."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.data.prepare.ingest import Ingested
from pipeline.data.prepare.run import PrepareConfig, in_process, prepare
from pipeline.data.prepare.shard_task import Tally, prepare_shard
from pipeline.data.store import catalog
from pipeline.data.store.prepared import PreparedDataset
from pipeline.data.store.shards import decode_frames, read_video
from pipeline.data.video.guard import Guard

CONFIG = PrepareConfig(shard_videos=4)


def test_every_listed_video_is_readable_or_quarantined(finished, originals, oracle, name_of):
    root, report = finished
    assert (report.counts.listed, report.counts.readable, report.counts.quarantined) == (10, 9, 1)
    assert report.counts.by_reason == {"not_a_video": 1}
    assert (report.shards_done, report.shards_kept, report.published) == (3, 0, True)
    dataset = PreparedDataset.open(str(root))
    assert catalog.count(dataset.rows) == report.counts
    assert (dataset.name, dataset.classes, dataset.passport) == ("folder", ("a", "b", "c"), report.passport)
    assert [video.id for video in dataset.videos("train")] == ["1", "3", "5", "9"]
    assert [video.id for video in dataset.videos("test")] == ["0", "2", "4", "6", "8"]
    for video in (*dataset.videos("train"), *dataset.videos("test")):
        stored = read_video(dataset.root, video.shard, video.row)
        original_VHWC = oracle(originals / name_of(int(video.id)))
        assert (stored.id, stored.label, video.label) == (video.id, int(video.id) % 3, int(video.id) % 3)
        assert video.frames == len(stored.jpeg_V) == len(original_VHWC) == 5 + int(video.id)
        stored_VHWC = decode_frames(stored, range(video.frames))
        for index in range(video.frames):
            far_V = [np.mean((stored_VHWC[index].astype(float) - other_HWC) ** 2) for other_HWC in original_VHWC]
            assert int(np.argmin(far_V)) == index


def test_the_quarantine_says_which_and_why(finished, name_of):
    (row,) = catalog.from_parquet((finished[0] / "quarantine.parquet").read_bytes())
    assert (row.id, row.path, row.status, row.reason) == ("7", name_of(7), "quarantined", "not_a_video")
    assert row.bytes == len("this is no video")
    assert row.detail


def test_the_same_bytes_anywhere(world, finished, list_videos, contents):
    source, _ = world
    other = source.parent / "other"
    prepare(list_videos(source), str(other), CONFIG, in_process)
    assert contents(other) == contents(finished[0])


def test_a_video_that_hangs_the_decoder_is_a_row(world, name_of, list_videos, refuse):
    source, root = world
    (source / name_of(8)).unlink()
    os.mkfifo(source / name_of(8))
    config = replace(CONFIG, limit_s=3.0)
    report = prepare(list_videos(source), str(root), config, in_process)
    assert report.counts.by_reason == {"not_a_video": 1, "timeout": 1}
    assert not prepare(list_videos(source), str(root), config, refuse).published
    again = []
    retry = replace(config, retry=("timeout",))
    prepare(list_videos(source), str(root), retry, lambda tasks, _: again.extend(task.index for task in tasks))
    assert again == [2]


def test_a_catalog_of_another_state_is_refused(world):
    _, root = world
    rows = catalog.from_parquet((root / "catalog.parquet").read_bytes())
    (root / "catalog.parquet").write_bytes(catalog.to_parquet([replace(rows[0], row=1), *rows[1:]]))
    with pytest.raises(UserError, match=r"do not belong together.*run jobs/prepare_data\.py again"):
        PreparedDataset.open(str(root))


def test_a_manifest_of_something_else_is_refused(world):
    _, root = world
    (root / "manifest.json").write_text('{"format": 99}')
    with pytest.raises(UserError, match=r"another format. Received: format 99\. Allowed: format 1"):
        PreparedDataset.open(str(root))
    (root / "manifest.json").write_text("{half of a manif")
    with pytest.raises(UserError, match="manifest of a prepared data set is damaged"):
        PreparedDataset.open(str(root))


def test_splits_and_folds_that_are_not_there_are_named(finished):
    dataset = PreparedDataset.open(str(finished[0]))
    with pytest.raises(UserError, match=r"no such split. Received: validation\. Allowed: test, train"):
        dataset.videos("validation")
    with pytest.raises(UserError, match=r"no such fold. Received: 2\. Allowed: 1 to 1"):
        dataset.videos("train", fold=2)


def test_each_fold_has_its_own_splits(originals, tmp_path, list_videos):
    listing = list_videos(originals, [0, 1, 2])
    folds = (("train", "test"), ("test", "unused"), ("train", "train"))
    records = tuple(replace(record, split=split) for record, split in zip(listing.records, folds, strict=True))
    prepare(replace(listing, records=records), str(tmp_path), CONFIG, in_process)
    dataset = PreparedDataset.open(str(tmp_path))
    assert [video.id for video in dataset.videos("train", fold=1)] == ["0", "2"]
    assert [video.id for video in dataset.videos("train", fold=2)] == ["2"]
    assert [video.id for video in dataset.videos("unused", fold=2)] == ["1"]


class DyingOnce(Guard):
    """A guard whose child is killed before a video, three times, as the kernel does when memory runs out."""

    deaths = 0

    def call(self, function, *arguments):
        if self.pid and self.deaths < 3:
            self.deaths += 1
            os.kill(self.pid, signal.SIGKILL)
        return super().call(function, *arguments)


def test_a_child_that_dies_of_something_else_does_not_cost_a_video(
    originals, finished, tmp_path, list_videos, contents
):
    def engine(tasks, tell):
        with DyingOnce(60.0) as guard:
            for task in tasks:
                prepare_shard(task, guard, lambda *_: None)
            assert guard.deaths == 3

    report = prepare(list_videos(originals), str(tmp_path), CONFIG, engine)
    assert report.counts == finished[1].counts
    assert contents(tmp_path) == contents(finished[0])


def test_everything_may_lie_on_an_object_store(originals, finished, list_videos, contents, refuse):
    for path in originals.iterdir():
        storage.publish_bytes(f"mock:///videos/{path.name}", path.read_bytes())

    def remote_in_this_process(tasks, tell):
        """The file system in memory has no content in a child process, so the guard calls the function here."""
        with Here(60.0) as guard:
            for task in tasks:
                prepare_shard(task, guard, lambda *_: None)

    root = "mock:///prepared"
    report = prepare(list_videos("mock:///videos"), root, CONFIG, remote_in_this_process)
    assert report.passport == finished[1].passport
    dataset = PreparedDataset.open(root)
    assert catalog.count(dataset.rows) == finished[1].counts
    for path, content in contents(finished[0]).items():
        assert storage.read_bytes(storage.join(root, path)) == content
    assert not prepare(list_videos("mock:///videos"), root, CONFIG, refuse).published


class Here(Guard):
    """A guard without a child."""

    def call(self, function, *arguments) -> Ingested:
        return function(*arguments)


def test_progress_counts_a_shard_that_is_done_twice_once():
    tally = Tally()
    for shard, done, bad in ((0, 1, 0), (0, 2, 1), (1, 1, 0), (0, 1, 0), (0, 2, 1)):
        tally.add(shard, done, bad)
    assert tally.totals() == (3, 1)


def test_the_manifest_names_its_shards_and_their_hashes(finished):
    root, report = finished
    manifest = json.loads((root / "manifest.json").read_text())
    assert manifest["counts"]["readable"] == sum(shard["videos"] for shard in manifest["shards"])
    for shard in manifest["shards"]:
        path = Path(root) / shard["path"]
        assert path.stat().st_size == shard["bytes"]
        assert storage.sha256_file(str(path)) == shard["sha256"]
    (made_with,) = manifest["made_with"]
    assert set(made_with) == {"av", "decord", "numpy", "opencv-contrib-python-headless", "pyarrow"}
    assert manifest["codec"] == {"format": "jpeg", "quality": 95, "sampling": "4:4:4"}
    assert manifest["passport"] == report.passport
