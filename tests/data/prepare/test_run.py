import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.data.prepare.ingest import IngestConfig, Ingested
from pipeline.data.prepare.run import PrepareConfig, in_process, prepare
from pipeline.data.prepare.shard_task import Tally, prepare_shard
from pipeline.data.records import Listing, VideoRecord
from pipeline.data.store import catalog
from pipeline.data.store.catalog import compare_passports
from pipeline.data.store.prepared import PreparedDataset
from pipeline.data.store.shards import decode_frames, read_video
from pipeline.data.video.guard import Guard

CONFIG = PrepareConfig(shard_videos=4)


@pytest.fixture(scope="module")
def originals(tmp_path_factory, make_video):
    """Ten videos of three containers; the eighth is no video."""
    folder = tmp_path_factory.mktemp("originals")
    for number in range(10):
        make_video(folder / name_of(number), frames=5 + number, seed=number)
    (folder / name_of(7)).write_text("this is no video")
    return folder


def name_of(number):
    return f"{number}.{('webm', 'avi', 'mp4')[number % 3]}"


def list_videos(source, numbers=range(10)):
    records = tuple(VideoRecord(str(n), name_of(n), n % 3, ("train" if n % 2 else "test",)) for n in numbers)
    return Listing("folder", str(source), ("a", "b", "c"), records)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, originals):
    """A prepared data set that tests copy before they change it."""
    root = tmp_path_factory.mktemp("finished") / "root"
    report = prepare(list_videos(originals), str(root), CONFIG, in_process)
    return root, report


@pytest.fixture
def world(tmp_path, originals, finished):
    """A source and a prepared data set of it, free to change."""
    shutil.copytree(originals, tmp_path / "source")
    shutil.copytree(finished[0], tmp_path / "root")
    return tmp_path / "source", tmp_path / "root"


def state(root):
    """Path to (content, inode, mtime) of every file."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(p.relative_to(root)): (p.read_bytes(), p.stat().st_ino, p.stat().st_mtime_ns) for p in files}


def contents(root):
    """Path to content of what readers see; sidecars hold dates of the source."""
    return {path: values[0] for path, values in state(root).items() if not path.endswith(".json") or "manifest" in path}


def refuse(tasks, tell):
    raise AssertionError(f"there should be no work, but shards {[task.index for task in tasks]} are to do")


def counting(done):
    """The engine of one process, which also notes the shards that it was given."""

    def engine(tasks, tell):
        done.extend(task.index for task in tasks)
        in_process(tasks, tell)

    return engine


def test_every_listed_video_is_readable_or_quarantined(finished, originals, oracle):
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


def test_the_quarantine_says_which_and_why(finished):
    (row,) = catalog.from_parquet((finished[0] / "quarantine.parquet").read_bytes())
    assert (row.id, row.path, row.status, row.reason) == ("7", name_of(7), "quarantined", "not_a_video")
    assert row.bytes == len("this is no video")
    assert row.detail


def test_a_second_run_touches_nothing(finished, originals):
    root, first = finished
    before = state(root)
    report = prepare(list_videos(originals), str(root), CONFIG, refuse)
    assert state(root) == before
    assert (report.published, report.shards_done, report.shards_kept) == (False, 0, 3)
    assert (report.counts, report.passport) == (first.counts, first.passport)


def test_the_same_bytes_anywhere(world, finished):
    source, _ = world
    other = source.parent / "other"
    prepare(list_videos(source), str(other), CONFIG, in_process)
    assert contents(other) == contents(finished[0])


def test_new_videos_cost_only_their_shards(world, make_video):
    source, root = world
    for number in (10, 11, 12):
        make_video(source / name_of(number), frames=6, seed=number)
    before, done = state(root), []
    report = prepare(list_videos(source, range(13)), str(root), CONFIG, counting(done))
    assert done == [2, 3]
    assert report.counts.listed == 13
    after = state(root)
    kept = [path for path in before if "00000" in path or "00001" in path]
    assert {path: after[path] for path in kept} == {path: before[path] for path in kept}
    assert len([path for path in after if path.endswith(".arrow")]) == 4
    fresh = source.parent / "fresh"
    prepare(list_videos(source, range(13)), str(fresh), CONFIG, in_process)
    assert contents(root) == contents(fresh)


def test_a_new_video_in_the_middle_of_the_list_costs_one_shard(world, make_video):
    source, root = world
    make_video(source / name_of(10), frames=6, seed=10)
    listing, done = list_videos(source, [0, 10, *range(1, 10)]), []
    report = prepare(listing, str(root), CONFIG, counting(done))
    assert (done, report.shards_done, report.shards_kept) == ([2], 1, 2)
    dataset = PreparedDataset.open(str(root))
    assert [row.id for row in dataset.rows] == [record.id for record in listing.records]
    for video in (*dataset.videos("train"), *dataset.videos("test")):
        assert read_video(dataset.root, video.shard, video.row).id == video.id
    fresh = prepare(listing, str(source.parent / "fresh"), CONFIG, in_process)
    assert (fresh.passport, fresh.counts) == (report.passport, report.counts)
    assert not prepare(listing, str(root), CONFIG, refuse).published


def test_another_order_of_the_list_costs_no_video(world, finished):
    source, root = world
    report = prepare(list_videos(source, range(9, -1, -1)), str(root), CONFIG, refuse)
    assert (report.published, report.shards_done, report.passport) == (True, 0, finished[1].passport)
    assert [row.id for row in PreparedDataset.open(str(root)).rows] == [str(n) for n in range(9, -1, -1)]


def test_videos_that_are_listed_no_more_leave(world):
    source, root = world
    report = prepare(list_videos(source, range(8)), str(root), CONFIG, refuse)
    assert report.counts.listed == 8
    assert sorted(path.name[:5] for path in (root / "shards").iterdir()) == [*["00000"] * 2, *["00001"] * 2]
    assert catalog.count(PreparedDataset.open(str(root)).rows) == report.counts


def test_a_changed_source_is_done_again(world, make_video, finished):
    source, root = world
    make_video(source / name_of(5), frames=22, seed=99)
    done = []
    report = prepare(list_videos(source), str(root), CONFIG, counting(done))
    assert (done, report.shards_done) == ([1], 1)
    before, after = PreparedDataset.open(str(finished[0])), PreparedDataset.open(str(root))
    lines = compare_passports(before.identity, after.identity, before.rows, after.rows)
    assert lines[0] == "frames differs in 1 of 10 videos: 5 (10 -> 22)"
    assert {line.split()[0] for line in lines} == {"frames", "bytes", "sha256"}
    assert len(list((root / "shards").glob("00001-*.arrow"))) == 1


@pytest.mark.parametrize(
    "change", [{"ingest": IngestConfig(short_side=24)}, {"ingest": IngestConfig(min_frames=6)}, {"shard_videos": 5}]
)
def test_another_request_is_done_again(world, change):
    source, root = world
    done = []
    prepare(list_videos(source), str(root), replace(CONFIG, **change), counting(done))
    assert done == ([0, 1] if "shard_videos" in change else [0, 1, 2])
    assert len(list((root / "shards").glob("*.arrow"))) == len(done)
    assert len(PreparedDataset.open(str(root)).rows) == 10


def test_how_shards_are_cut_does_not_change_the_passport(world, finished):
    source, root = world
    report = prepare(list_videos(source), str(root), replace(CONFIG, shard_videos=10), in_process)
    assert report.passport == finished[1].passport


def test_verify_finds_what_sizes_and_dates_do_not_show(world, make_video, finished):
    source, root = world
    shard = next((root / "shards").glob("00000-*.arrow"))
    damaged = bytearray(shard.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    shard.write_bytes(damaged)
    changed = source / name_of(9)
    before = changed.stat()
    changed.write_bytes(changed.read_bytes()[:-1] + b"x")
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
    listing = list_videos(source)
    assert not prepare(listing, str(root), CONFIG, refuse).published
    report = prepare(listing, str(root), replace(CONFIG, verify=True), in_process)
    assert (report.shards_done, report.shards_kept) == (1, 2)  # shard 0 is what it was; shard 2 has a new source
    assert shard.read_bytes() == next((finished[0] / "shards").glob("00000-*.arrow")).read_bytes()
    quiet = state(root)
    assert not prepare(listing, str(root), replace(CONFIG, verify=True), in_process).published
    assert state(root) == quiet


def test_missing_files_stop_the_run_unless_they_may_be_missing(world):
    source, root = world
    for number in (2, 6):
        (source / name_of(number)).unlink()
    before = state(root)
    with pytest.raises(UserError, match=r"2 of 10 listed videos are not below .*2\.mp4, 6\.webm.*--quarantine-missing"):
        prepare(list_videos(source), str(root), CONFIG, refuse)
    assert state(root) == before
    report = prepare(list_videos(source), str(root), replace(CONFIG, quarantine_missing=True), in_process)
    assert report.counts.by_reason == {"missing": 2, "not_a_video": 1}
    assert [row.id for row in report.quarantined] == ["2", "6", "7"]


def test_a_video_that_hangs_the_decoder_is_a_row(world):
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


def test_what_a_killed_run_left_is_whole_or_absent(world, finished):
    """Every prefix of a run's publications is a place where it can be killed."""
    source, root = world
    for part in ("manifest.json", "catalog.parquet", "shards/00001.json"):
        (root / part).unlink()
    next((root / "shards").glob("00002-*.arrow")).unlink()
    (root / "shards/00000.json").write_text('{"key": "half of a side')
    done = []
    prepare(list_videos(source), str(root), CONFIG, counting(done))
    assert done == [0, 1, 2]
    assert contents(root) == contents(finished[0])


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


def test_each_fold_has_its_own_splits(originals, tmp_path):
    listing = list_videos(originals, [0, 1, 2])
    folds = (("train", "test"), ("test", "unused"), ("train", "train"))
    records = tuple(replace(record, split=split) for record, split in zip(listing.records, folds, strict=True))
    prepare(replace(listing, records=records), str(tmp_path), CONFIG, in_process)
    dataset = PreparedDataset.open(str(tmp_path))
    assert [video.id for video in dataset.videos("train", fold=1)] == ["0", "2"]
    assert [video.id for video in dataset.videos("train", fold=2)] == ["2"]
    assert [video.id for video in dataset.videos("unused", fold=2)] == ["1"]


def test_a_slip_does_not_replace_another_data_set(world):
    source, root = world
    before, listing = state(root), list_videos(source)
    others = {
        "folder, 3 classes, 10 videos, to be replaced by ucf101,": replace(listing, name="ucf101"),
        "4 classes, 10 videos; 10 of the 10 are still listed, and class 'd' is in": replace(
            listing, classes=("a", "b", "c", "d")
        ),
        "3 classes, 10 videos; 10 of the 10 are still listed. Allowed": replace(listing, classes=("b", "a", "c")),
        "3 classes, 4 videos; 4 of the 10 are still listed. Allowed": list_videos(source, range(4)),
    }
    for words, other in others.items():
        with pytest.raises(UserError, match="holds another prepared data set") as error:
            prepare(other, str(root), CONFIG, refuse)
        assert words in str(error.value)
        assert "--replace" in str(error.value)
        assert state(root) == before
    report = prepare(list_videos(source, range(4)), str(root), replace(CONFIG, replace=True), refuse)
    assert report.counts.listed == 4
    assert not prepare(list_videos(source, range(4)), str(root), CONFIG, refuse).published


def test_half_of_the_videos_make_the_same_data_set(world):
    source, root = world
    assert prepare(list_videos(source, range(5)), str(root), CONFIG, in_process).counts.listed == 5


def test_a_manifest_that_nobody_can_read_is_made_anew(world, finished):
    source, root = world
    (root / "manifest.json").write_text("{half of a manif")
    assert prepare(list_videos(source), str(root), CONFIG, refuse).published
    assert contents(root) == contents(finished[0])


def test_files_of_others_stay(world):
    source, root = world
    (root / "shards/notes.txt").write_text("mine")
    prepare(list_videos(source, range(8)), str(root), CONFIG, refuse)
    assert (root / "shards/notes.txt").read_text() == "mine"


class DyingOnce(Guard):
    """A guard whose child is killed before a video, three times, as the kernel does when memory runs out."""

    deaths = 0

    def call(self, function, *arguments):
        if self.pid and self.deaths < 3:
            self.deaths += 1
            os.kill(self.pid, signal.SIGKILL)
        return super().call(function, *arguments)


def test_a_child_that_dies_of_something_else_does_not_cost_a_video(originals, finished, tmp_path):
    def engine(tasks, tell):
        with DyingOnce(60.0) as guard:
            for task in tasks:
                prepare_shard(task, guard, lambda *_: None)
            assert guard.deaths == 3

    report = prepare(list_videos(originals), str(tmp_path), CONFIG, engine)
    assert report.counts == finished[1].counts
    assert contents(tmp_path) == contents(finished[0])


def test_a_broken_link_is_a_missing_file(world):
    source, root = world
    (source / name_of(3)).unlink()
    (source / name_of(3)).symlink_to(source / "nowhere.webm")
    with pytest.raises(UserError, match=r"1 of 10 listed videos are not below"):
        prepare(list_videos(source), str(root), CONFIG, refuse)


def test_ids_occur_once_and_there_are_some(originals, tmp_path):
    twice = list_videos(originals, [1, 2, 1])
    with pytest.raises(UserError, match=r"listed twice. Received: 1\."):
        prepare(twice, str(tmp_path), CONFIG, refuse)
    with pytest.raises(UserError, match="lists no video"):
        prepare(replace(twice, records=()), str(tmp_path), CONFIG, refuse)


def test_a_request_that_cannot_be_meant_is_refused():
    with pytest.raises(UserError, match="reasons to retry among empty, truncated"):
        PrepareConfig(retry=("bad luck",))
    with pytest.raises(UserError, match="positive numbers"):
        PrepareConfig(shard_videos=0)


def test_everything_may_lie_on_an_object_store(originals, finished):
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
