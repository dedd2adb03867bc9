"""What a second run does again: what changed, and nothing else."""

import os
from dataclasses import replace

import pytest

from pipeline.data.prepare.ingest import IngestConfig
from pipeline.data.prepare.run import PrepareConfig, in_process, prepare
from pipeline.data.store import catalog
from pipeline.data.store.catalog import compare_passports
from pipeline.data.store.prepared import PreparedDataset
from pipeline.data.store.shards import read_video

CONFIG = PrepareConfig(shard_videos=4)


def test_a_second_run_touches_nothing(finished, originals, list_videos, state, refuse):
    root, first = finished
    before = state(root)
    report = prepare(list_videos(originals), str(root), CONFIG, refuse)
    assert state(root) == before
    assert (report.published, report.shards_done, report.shards_kept) == (False, 0, 3)
    assert (report.counts, report.passport) == (first.counts, first.passport)


def test_new_videos_cost_only_their_shards(world, make_video, name_of, list_videos, state, contents, counting):
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


def test_a_new_video_in_the_middle_of_the_list_costs_one_shard(
    world, make_video, name_of, list_videos, refuse, counting
):
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


def test_another_order_of_the_list_costs_no_video(world, finished, list_videos, refuse):
    source, root = world
    report = prepare(list_videos(source, range(9, -1, -1)), str(root), CONFIG, refuse)
    assert (report.published, report.shards_done, report.passport) == (True, 0, finished[1].passport)
    assert [row.id for row in PreparedDataset.open(str(root)).rows] == [str(n) for n in range(9, -1, -1)]


def test_videos_that_are_listed_no_more_leave(world, list_videos, refuse):
    source, root = world
    report = prepare(list_videos(source, range(8)), str(root), CONFIG, refuse)
    assert report.counts.listed == 8
    assert sorted(path.name[:5] for path in (root / "shards").iterdir()) == [*["00000"] * 2, *["00001"] * 2]
    assert catalog.count(PreparedDataset.open(str(root)).rows) == report.counts


def test_a_changed_source_is_done_again(world, make_video, finished, name_of, list_videos, counting):
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
def test_another_request_is_done_again(world, change, list_videos, counting):
    source, root = world
    done = []
    prepare(list_videos(source), str(root), replace(CONFIG, **change), counting(done))
    assert done == ([0, 1] if "shard_videos" in change else [0, 1, 2])
    assert len(list((root / "shards").glob("*.arrow"))) == len(done)
    assert len(PreparedDataset.open(str(root)).rows) == 10


def test_how_shards_are_cut_does_not_change_the_passport(world, finished, list_videos):
    source, root = world
    report = prepare(list_videos(source), str(root), replace(CONFIG, shard_videos=10), in_process)
    assert report.passport == finished[1].passport


def test_verify_finds_what_sizes_and_dates_do_not_show(
    world, make_video, finished, name_of, list_videos, state, refuse
):
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


def test_what_a_killed_run_left_is_whole_or_absent(world, finished, list_videos, contents, counting):
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
