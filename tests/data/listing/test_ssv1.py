"""Something-Something V1: CSV files, sorted class order, and real files of the sister data set in the same layout."""

from pathlib import Path

import pytest

from pipeline.core.errors import UserError
from pipeline.data.listing.sources import load_listing
from pipeline.data.records import HIDDEN_LABEL

JESTER = Path(__file__).parents[3].parent / "shared" / "metadata" / "jester_v1_layout"
PREFIX = "something-something-v1-"
FILES = {
    "labels": "Turning something upside down\nHolding something\n",
    "train": "1;Holding something\n2;Turning something upside down\n",
    "validation": "3;Holding something\n",
    "test": "4\n",
}


def write(folder: Path, **parts: str) -> str:
    for part, text in (FILES | parts).items():
        (folder / f"{PREFIX}{part}.csv").write_text(text)
    return str(folder)


def test_classes_are_sorted_and_paths_are_frame_folders(tmp_path):
    listing = load_listing("ssv1", write(tmp_path))
    assert listing.classes == ("Holding something", "Turning something upside down")
    assert [(r.id, r.path, r.label, r.split) for r in listing.records] == [
        ("1", "1", 0, ("train",)),
        ("2", "2", 1, ("train",)),
        ("3", "3", 0, ("validation",)),
        ("4", "4", HIDDEN_LABEL, ("test",)),
    ]


@pytest.mark.skipif(not JESTER.exists(), reason="needs the files in ../shared/metadata/jester_v1_layout")
def test_real_files_of_the_same_layout(tmp_path):
    lines = (JESTER / "jester-v1-validation.csv").read_text().splitlines(keepends=True)
    root = write(
        tmp_path,
        labels=(JESTER / "jester-v1-labels.csv").read_text(),
        train="".join(lines[:10_000]),
        validation="".join(lines[10_000:]),
        test=(JESTER / "jester-v1-test.csv").read_text(),
    )
    listing = load_listing("ssv1", root)
    expected = dict(line.strip().split(";") for line in lines)
    assert {r.id: listing.classes[r.label] for r in listing.records if r.label != HIDDEN_LABEL} == expected
    assert len(listing.classes) == 27
    assert sum(r.split == ("test",) for r in listing.records) == 14_743


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"train": "1;Holding something\n2 Holding something\n"}, r"Line 2 of .*train.csv"),
        ({"validation": "3;Eating something\n"}, r"Line 1 of .*validation.csv"),
        ({"test": "4\n5;Holding something\n"}, r"Line 2 of .*test.csv"),
        ({"test": "1\n"}, "listed twice.*Received: 1"),
        ({"labels": "Holding something\nHolding something\nTurning something upside down\n"}, "class .* named twice"),
    ],
)
def test_mistakes_are_named(tmp_path, parts, message):
    with pytest.raises(UserError, match=message):
        load_listing("ssv1", write(tmp_path, **parts))
