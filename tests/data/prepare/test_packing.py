"""Shards stay while their videos do, and a killed packing goes on to the same places; no video is needed for that."""

import random

import pytest

from pipeline.data.prepare.ingest import IngestConfig
from pipeline.data.prepare.packing import Packing, signatures_of
from pipeline.data.prepare.shard_task import ABSENT
from pipeline.data.records import Listing, VideoRecord

EACH = 3


def list_ids(ids, root="/videos"):
    records = tuple(VideoRecord(str(n), f"{n}.webm", 0, ("train",)) for n in ids)
    return Listing("folder", root, ("a",), records)


def sidecar_of(task):
    """What the task would leave behind."""
    rows = [{"id": record.id, "reason": ""} for record in task.records]
    path = f"shards/{task.index:05d}-{'-'.join(record.id for record in task.records)}.arrow"
    signatures = [list(signature) for signature in task.signatures]
    return {"key": task.key, "signatures": signatures, "rows": rows, "shard": {"path": path, "bytes": 1}}


def pack(ids, dates, sidecars):
    """Return the shards kept and those to be made, given the sidecars that are there."""
    signatures = {str(n): (7, dates.get(n, 0)) for n in ids}
    packing = Packing(list_ids(ids), "/root", signatures, shard_videos=EACH, ingest=IngestConfig(), limit_s=1.0)
    files = {sidecar["shard"]["path"].rpartition("/")[2]: 1 for sidecar in sidecars.values()}
    return packing.tasks(dict(sorted(sidecars.items())), files)


def finish(kept, new):
    """Return the sidecars after a preparation that came to its end."""
    return {task.index: sidecar_of(task) for task in (*kept, *new)}


def cut(sidecars):
    return {index: " ".join(row["id"] for row in sidecar["rows"]) for index, sidecar in sorted(sidecars.items())}


def test_a_first_preparation_cuts_the_list_in_order():
    kept, new = pack(range(8), {}, {})
    assert kept == ()
    assert cut(finish((), new)) == {0: "0 1 2", 1: "3 4 5", 2: "6 7"}


def test_a_new_video_costs_one_shard_wherever_it_is_listed():
    before = finish(*pack(range(8), {}, {}))
    kept, new = pack([90, *range(8)], {}, before)
    assert cut(finish(kept, ())) == {0: "0 1 2", 1: "3 4 5"}
    assert cut(finish((), new)) == {2: "90 6 7"}
    kept, new = pack([0, 90, 91, *range(1, 8)], {}, before)
    assert cut(finish((), new)) == {2: "90 91 6", 3: "7"}


def test_a_short_shard_that_would_come_out_the_same_is_kept():
    before = finish(*pack(range(8), {}, {}))
    kept, new = pack(range(8), {4: 1}, before)
    assert cut(finish(kept, ())) == {0: "0 1 2", 2: "6 7"}
    assert cut(finish((), new)) == {1: "3 4 5"}


def test_another_order_of_the_list_costs_nothing():
    before = finish(*pack(range(8), {}, {}))
    assert pack([*range(7, -1, -1)], {}, before)[1] == ()


def test_growing_little_by_little_leaves_one_short_shard():
    sidecars = {}
    for count in range(1, 30):
        sidecars = finish(*pack(range(count), {}, sidecars))
    assert [len(sidecar["rows"]) for sidecar in sidecars.values()] == [3] * 9 + [2]


@pytest.mark.parametrize("seed", range(60))
def test_killed_anywhere_it_ends_where_an_undisturbed_run_ends(seed):
    """Random histories of additions, removals and changes; then kills after random sets of finished shards."""
    rng = random.Random(seed)
    ids, dates, sidecars = list(range(rng.randrange(1, 15))), {}, {}
    for fresh in range(100, 106):
        sidecars = finish(*pack(ids, dates, sidecars))
        assert sorted(" ".join(cut(sidecars).values()).split()) == sorted(map(str, ids))
        ids = [n for n in ids if rng.random() < 0.85] or [0]
        for extra in range(rng.randrange(6)):
            ids.insert(rng.randrange(len(ids) + 1), 10 * fresh + extra)
        dates |= {n: fresh for n in ids if rng.random() < 0.1}
    expected = cut(finish(*pack(ids, dates, sidecars)))
    for _ in range(20):
        state = dict(sidecars)
        for _ in range(rng.randrange(1, 4)):
            _, new = pack(ids, dates, state)
            state |= {task.index: sidecar_of(task) for task in new if rng.random() < 0.5}
        assert cut(finish(*pack(ids, dates, state))) == expected


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_what_is_not_there_has_no_signature(tmp_path, scheme):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "2.avi").write_bytes(b"12345")
    (tmp_path / "frames").mkdir()
    paths = ["y/3.avi", "x/2.avi", "frames", "x/0#%.avi"]
    records = tuple(VideoRecord(path, path, 0, ("train",)) for path in paths)
    found = signatures_of(Listing("folder", f"{scheme}{tmp_path}", ("a",), records))
    assert [path for path in paths if found[path] == ABSENT] == ["y/3.avi", "x/0#%.avi"]
    assert found["x/2.avi"] == (5, (tmp_path / "x" / "2.avi").stat().st_mtime_ns)
