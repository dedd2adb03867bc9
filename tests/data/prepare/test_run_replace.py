"""What a run refuses to begin or to replace, and what it leaves alone."""

from dataclasses import replace

import pytest

from pipeline.core.errors import UserError
from pipeline.data.prepare.run import PrepareConfig, in_process, prepare

CONFIG = PrepareConfig(shard_videos=4)


def test_a_slip_does_not_replace_another_data_set(world, list_videos, state, refuse):
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


def test_half_of_the_videos_make_the_same_data_set(world, list_videos):
    source, root = world
    assert prepare(list_videos(source, range(5)), str(root), CONFIG, in_process).counts.listed == 5


def test_a_manifest_that_nobody_can_read_is_made_anew(world, finished, list_videos, contents, refuse):
    source, root = world
    (root / "manifest.json").write_text("{half of a manif")
    assert prepare(list_videos(source), str(root), CONFIG, refuse).published
    assert contents(root) == contents(finished[0])


def test_files_of_others_stay(world, list_videos, refuse):
    source, root = world
    (root / "shards/notes.txt").write_text("mine")
    prepare(list_videos(source, range(8)), str(root), CONFIG, refuse)
    assert (root / "shards/notes.txt").read_text() == "mine"


def test_missing_files_stop_the_run_unless_they_may_be_missing(world, name_of, list_videos, state, refuse):
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


def test_a_broken_link_is_a_missing_file(world, name_of, list_videos, refuse):
    source, root = world
    (source / name_of(3)).unlink()
    (source / name_of(3)).symlink_to(source / "nowhere.webm")
    with pytest.raises(UserError, match=r"1 of 10 listed videos are not below"):
        prepare(list_videos(source), str(root), CONFIG, refuse)


def test_ids_occur_once_and_there_are_some(originals, tmp_path, list_videos, refuse):
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
