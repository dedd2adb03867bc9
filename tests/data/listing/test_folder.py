"""Own videos: class folders, split folders, a CSV, and what is refused."""

from pathlib import Path

import pytest

from pipeline.core.errors import UserError
from pipeline.data.listing.sources import load_listing
from pipeline.data.records import HIDDEN_LABEL


def touch(root: Path, *paths: str) -> str:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return str(root)


def rows(listing):
    return [(r.id, r.path, r.label, r.split) for r in listing.records]


def test_one_folder_a_class(tmp_path):
    listing = load_listing("folder", touch(tmp_path, "walk/b.mp4", "run/a.avi", "run/notes.txt", "run/.DS_Store"))
    assert listing.classes == ("run", "walk")
    assert rows(listing) == [
        ("run/a", "run/a.avi", 0, ("train",)),
        ("run/notes", "run/notes.txt", 0, ("train",)),
        ("walk/b", "walk/b.mp4", 1, ("train",)),
    ]


def test_split_folders_around_class_folders(tmp_path):
    listing = load_listing("folder", touch(tmp_path, "train/walk/b.mp4", "val/run/a.avi", "test/run/c.webm"))
    assert listing.classes == ("run", "walk")
    assert [(i, s) for i, _, _, s in rows(listing)] == [
        ("test/run/c", ("test",)),
        ("train/walk/b", ("train",)),
        ("val/run/a", ("validation",)),
    ]


def test_csv_with_hidden_labels_and_quoted_names(tmp_path):
    (tmp_path / "videos.csv").write_text(
        'path,label,split\nx/a.mp4,"run, fast",train\n"b,1.avi",walk,val\nc.webm,,test\n'
    )
    listing = load_listing("folder", str(tmp_path))
    assert listing.classes == ("run, fast", "walk")
    assert rows(listing) == [
        ("x/a", "x/a.mp4", 0, ("train",)),
        ("b,1", "b,1.avi", 1, ("validation",)),
        ("c", "c.webm", HIDDEN_LABEL, ("test",)),
    ]
    elsewhere = load_listing("folder", "/nowhere", metadata=str(tmp_path / "videos.csv"))
    assert elsewhere.records == listing.records


def test_classes_file_sets_the_order(tmp_path):
    root = touch(tmp_path, "walk/b.mp4", "run/a.avi")
    (tmp_path / "classes.txt").write_text("walk\nrun\njump\n")
    assert load_listing("folder", root).classes == ("walk", "run", "jump")
    (tmp_path / "classes.txt").write_text("walk\n")
    with pytest.raises(UserError, match=r"classes\.txt does not name.*run"):
        load_listing("folder", root)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label,split\n", "Line 1 of .*header"),
        ("path,label,split\na.mp4,run\n", "Line 2 of .*videos.csv"),
        ("path,label,split\na.mp4,run,train\nb.mp4,run,dev\n", "Line 3 of .*videos.csv"),
        ("path,label,split\na.mp4,run,train\na.avi,run,train\n", "listed twice.*Received: a"),
        ("path,label,split\n", "list nothing"),
    ],
)
def test_csv_mistakes_are_named(tmp_path, text, message):
    (tmp_path / "videos.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        load_listing("folder", str(tmp_path))


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["train/run/a.mp4", "walk/b.mp4"], "mixes split folders"),
        (["a.mp4", "run/b.mp4"], "outside the class folders"),
        (["run/.hidden"], "list nothing"),
        (["run/a.mp4", "run/a.avi"], "listed twice"),
    ],
)
def test_tree_mistakes_are_named(tmp_path, paths, message):
    with pytest.raises(UserError, match=message):
        load_listing("folder", touch(tmp_path, *paths))


def test_an_absent_csv_given_by_name_is_refused(tmp_path):
    with pytest.raises(UserError, match="not found"):
        load_listing("folder", str(tmp_path), metadata=str(tmp_path / "list.csv"))
