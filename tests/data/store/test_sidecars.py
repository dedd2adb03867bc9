"""What counts in a shards' folder, what is kept, and what is deleted."""

import os
import time

import pytest

from pipeline.core import storage
from pipeline.data.store.sidecars import (
    SHARDS,
    finished_sidecars,
    is_current,
    is_intact,
    number_of,
    prune,
    publish_shard,
    read_sidecars,
    sidecar_of,
    sizes_of,
    spool,
    sweep,
    versions_in,
)

FRAMES = "594cfd2607d4f09e1ce6241203e418cacfed545063792bc5eab7afaadbf0c4e0"
"""By sha256sum, of the six letters."""


def make(root, number, content, key="k", tool="1"):
    """Publish a shard and its sidecar, as a task does."""
    with spool() as file:
        file.write(content)
        shard = publish_shard(root, number, file)
    storage.write_json(sidecar_of(root, number), {"key": key, "shard": shard, "made_with": {"tool": tool}})
    return shard


@pytest.fixture(params=["", "mock:///NAME", "mock:///NAME?region=x"], ids=["local", "remote", "with a query"])
def root(request, tmp_path):
    """On a disk, on an object store, and on one whose URI says how to reach it."""
    return request.param.replace("NAME", tmp_path.name) or str(tmp_path)


def test_a_shard_is_named_by_its_number_and_its_content(root):
    shard = make(root, 42, b"frames")
    assert shard == {"path": f"shards/00042-{FRAMES[:12]}.arrow", "sha256": FRAMES, "bytes": 6}
    assert number_of(shard["path"]) == 42
    assert storage.read_bytes(storage.join(root, shard["path"])) == b"frames"


def test_sidecars_come_by_number_without_the_broken_and_without_what_a_person_put_there(root):
    for number in (100000, 2, 10):
        make(root, number, b"%d" % number)
    storage.publish_bytes(sidecar_of(root, 3), b"{half of a sidec")
    storage.publish_bytes(storage.join(root, SHARDS, "notes.json"), b"{}")
    found = read_sidecars(root, sizes_of(root))
    assert list(found) == [2, 10, 100000]
    assert [sidecar["shard"]["bytes"] for sidecar in found.values()] == [1, 2, 6]


def test_a_shard_counts_while_its_key_is_the_same_and_its_file_is_whole(root):
    shard = make(root, 0, b"frames")
    sidecar, sizes = read_sidecars(root, sizes_of(root))[0], sizes_of(root)
    assert is_current(sidecar, "k", sizes)
    assert is_intact(root, sidecar)
    assert not is_current(None, "k", sizes)
    assert not is_current(sidecar, "another", sizes)
    storage.publish_bytes(storage.join(root, shard["path"]), b"fRames")
    assert is_current(sidecar, "k", sizes_of(root)), "a size says nothing of the content"
    assert not is_intact(root, sidecar)
    storage.publish_bytes(storage.join(root, shard["path"]), b"frame")
    assert not is_current(sidecar, "k", sizes_of(root))
    storage.delete(storage.join(root, shard["path"]))
    assert not is_current(sidecar, "k", sizes_of(root))
    assert not is_intact(root, sidecar)


def test_a_run_has_the_sidecars_of_its_tasks_and_no_others(root):
    for number in range(3):
        make(root, number, b"%d" % number)
    assert list(finished_sidecars(root, sizes_of(root), {0, 2})) == [0, 2]
    with pytest.raises(AssertionError, match="every task has published its sidecar"):
        finished_sidecars(root, sizes_of(root), {0, 3})


def test_pruning_deletes_earlier_states_and_nothing_of_a_person(root):
    earlier, kept = make(root, 1, b"earlier"), make(root, 1, b"now")
    gone = make(root, 7, b"no longer listed")
    storage.publish_bytes(storage.join(root, SHARDS, "copy of 00007.arrow"), b"mine")
    names = list(sizes_of(root))
    prune(root, names, finished_sidecars(root, names, [1]))
    left = {kept["path"].rpartition("/")[2], "00001.json", "copy of 00007.arrow"}
    assert set(sizes_of(root)) == left
    assert not {earlier["path"].rpartition("/")[2], gone["path"].rpartition("/")[2]} & left


def test_what_a_killed_writer_left_goes_when_it_is_old(tmp_path):
    make(str(tmp_path), 0, b"frames")
    old, young = (tmp_path / SHARDS / f"{storage.TEMPORARY}{name}" for name in ("old", "young"))
    for path in (old, young):
        path.write_bytes(b"half")
    two_hours_ago = time.time() - 7200
    for path in (old, tmp_path / SHARDS / "00000.json"):
        os.utime(path, (two_hours_ago, two_hours_ago))
    sweep(str(tmp_path))
    assert not old.exists()
    assert young.exists()
    assert (tmp_path / SHARDS / "00000.json").exists()


def test_versions_are_told_once_each_whichever_shard_comes_first():
    one, two = {"a": "1", "b": "1"}, {"b": "1", "a": "2"}
    sidecars = [{"made_with": values} for values in (two, one, dict(reversed(one.items())))]
    assert versions_in(dict(enumerate(sidecars))) == [one, two]
    assert versions_in(dict(enumerate(reversed(sidecars)))) == [one, two]
